"""Every strategy against its definition by a plain sort."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from curate.data.sample import content_uid
from curate.errors import DataError, UsageError
from curate.inspection.neighbours import unit
from curate.selection.strategies import STRATEGIES, choose, hash_strings

pytestmark = pytest.mark.numeric


@pytest.fixture
def scored():
    rng = np.random.default_rng(3)
    uids = np.array([content_uid(i.to_bytes(2, "little")) for i in range(500)], dtype=object)
    scores = np.round(rng.normal(size=500), 1)  # many ties
    return scores, rng.permutation(uids)


def by_rank(scores, uids):
    """Positions from rank 1 down: highest first, equal ones by uid."""
    return sorted(range(len(uids)), key=lambda i: (-scores[i], uids[i]))


EXPECTED = {
    "top": lambda order, n: order[:n],
    "drop-top": lambda order, n: order[len(order) - n :],
    "bottom": lambda order, n: order[len(order) - n :],
}


@pytest.mark.parametrize("n", [1, 2, 137, 499, 500])
@pytest.mark.parametrize("strategy", sorted(EXPECTED))
def test_strategies_cut_the_ranking(scored, strategy, n):
    scores, uids = scored
    wanted = np.zeros(500, dtype=bool)
    wanted[EXPECTED[strategy](by_rank(scores, uids), n)] = True
    assert (choose(strategy, scores, uids, n, 0) == wanted).all()


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_a_choice_is_exact_and_does_not_depend_on_the_order(scored, strategy):
    scores, uids = scored
    rng = np.random.default_rng(0)
    given = {
        "labels": rng.integers(-1, 4, 500),
        "points": unit(rng.normal(size=(500, 6)).astype(np.float32)),
        "like": rng.random(500) < 0.3,
    }
    order = rng.permutation(500)
    turned = {name: values[order] for name, values in given.items()}
    for n in (1, 123, 499, 500):
        one = set(uids[choose(strategy, scores, uids, n, 7, **given)])
        other = set(uids[order][choose(strategy, scores[order], uids[order], n, 7, **turned)])
        assert one == other
        assert len(one) == n


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_a_strategy_says_what_it_chooses_by(scored, strategy):
    scores, uids = scored
    rng = np.random.default_rng(0)
    base = {
        "scores": scores,
        "labels": rng.integers(-1, 4, 500),
        "points": unit(rng.normal(size=(500, 6)).astype(np.float32)),
        "like": rng.random(500) < 0.3,
        "seed": 0,
    }
    other = {
        "scores": rng.normal(size=500),
        "labels": rng.integers(-1, 5, 500),
        "points": unit(rng.normal(size=(500, 6)).astype(np.float32)),
        "like": rng.random(500) < 0.3,
        "seed": 1,
    }

    def chosen(scores, seed, **given):
        return choose(strategy, scores, uids, 200, seed, **given).tolist()

    changes = {name for name in base if chosen(**base | {name: other[name]}) != chosen(**base)}
    told = STRATEGIES[strategy]
    assert changes - {"seed"} == told.needs
    # Facility location draws only where there are too many samples to serve them all.
    assert ("seed" in changes) == (told.draws and strategy != "facility-location")


def test_random_draws_are_nested_seeded_and_blind_to_the_scores(scored):
    scores, uids = scored
    small, large = (choose("random", scores, uids, n, 1) for n in (100, 300))
    assert small.sum() == 100
    assert large[small].all()
    assert (choose("random", -scores, uids, 100, 1) == small).all()
    overlap = (
        choose("random", scores, uids, 250, 1) & choose("random", scores, uids, 250, 2)
    ).sum()
    assert 95 < overlap < 155  # 125 expected of independent halves


def test_random_tells_repeats_of_one_image_apart():
    uid = content_uid(b"x")
    uids = np.array([uid, *(f"{uid}-{i}" for i in range(1, 200))], dtype=object)
    keep = choose("random", np.zeros(200), uids, 100, 0)
    first = keep[:100].sum()
    assert 30 < first < 70


def test_hashes_depend_on_the_string_alone():
    texts = np.array(["", "a", "12345678", "123456789", "grün", "x" * 40], dtype=object)
    together = hash_strings(5, pa.array(texts))
    alone = [int(hash_strings(5, pa.array(texts[i : i + 1]))[0]) for i in range(len(texts))]
    assert together.tolist() == alone
    assert len(set(alone)) == len(texts)
    assert (hash_strings(6, pa.array(texts)) != together).all()


def test_hashes_are_uniform():
    texts = pa.array([f"img_{i}" for i in range(20000)])
    counts = np.bincount((hash_strings(1, texts) >> np.uint64(60)).astype(int), minlength=16)
    assert ((counts - 1250) ** 2 / 1250).sum() < 37.7  # chi squared, 15 degrees, p = 0.001


@pytest.mark.parametrize("n", [0, -1, 501])
def test_a_size_that_is_not_there_names_how_many_are(scored, n):
    scores, uids = scored
    with pytest.raises(UsageError, match="500"):
        choose("top", scores, uids, n, 0)


def test_an_unknown_strategy_offers_the_nearest(scored):
    scores, uids = scored
    with pytest.raises(UsageError, match="Did you mean 'bottom'"):
        choose("botom", scores, uids, 3, 0)


def test_a_missing_score_is_refused():
    with pytest.raises(DataError, match="1 samples"):
        choose("top", np.array([1.0, np.nan]), np.array(["a", "b"]), 1, 0)


def test_the_shelf_is_light():
    code = (
        "import sys, curate.selection.strategies;"
        "print({'torch', 'scipy', 'sklearn'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
