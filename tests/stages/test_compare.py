"""A comparison keeps which test images were right, and may rank anew for every seed."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import curate
from curate.errors import UsageError
from curate.evaluation.probing import measure_probes
from curate.runs.run import Run
from curate.runtime.files import read_json
from curate.scores.plan import Plan
from curate.selection.strategies import choose
from curate.stages import align, score
from curate.stages.context import Context
from tests.command import TINY

pytestmark = pytest.mark.numeric

SMALL = {"data.limit": 40, "train.epochs": 1, "compare": {}}


def made(tmp_path, repeats):
    recipe = curate.load_recipe(str(TINY), SMALL | {"plan.repeats": repeats})
    run = curate.open_run(recipe, runs=tmp_path)
    curate.score(run, device="cpu")
    return run


def samples(run, comparison, strategy, seed):
    """Return the digest of what an arm was trained on."""
    row = next(r for r in comparison.results if (r["strategy"], r["seed"]) == (strategy, seed))
    key = row["encoder"].rpartition("/")[2]
    return read_json(run.path / "records" / "compare" / "arms" / f"{key}.json")["parts"]["samples"]


def test_the_table_of_answers_says_again_what_the_comparison_says(tmp_path):
    run = made(tmp_path, 1)
    comparison = curate.compare(run, remove=[10], seeds=2, device="cpu")
    table = pq.read_table(comparison.path / "comparison.parquet")
    for gap in comparison.differences:
        top, other = (
            np.array([table[f"{arm}-10-s{seed}-{gap.kind}"].to_pylist() for seed in range(2)])
            for arm in ("top", "random")
        )
        assert gap.n_test == table.num_rows
        assert gap.mean == pytest.approx(top.mean() - other.mean())
    assert comparison.holds_for == "this selection"
    assert samples(run, comparison, "top", 0) == samples(run, comparison, "top", 1)
    assert samples(run, comparison, "random", 0) != samples(run, comparison, "random", 1)
    record = read_json(run.path / "records" / "compare" / f"{comparison.path.name}.json")
    assert any(name.endswith("comparison.parquet") for name in record["outputs"])


def test_a_redraw_selects_for_every_seed_by_repeats_of_its_own(tmp_path):
    run = made(tmp_path, 3)
    comparison = curate.compare(run, remove=[10], seeds=2, redraw=True, device="cpu")
    assert comparison.holds_for == "selections ranked anew, each by 1 to 2 of 3 repeats"
    assert comparison.settings["redraw"] is True
    assert samples(run, comparison, "top", 0) != samples(run, comparison, "top", 1)
    again = curate.compare(run, remove=[10], seeds=2, device="cpu")
    assert again.path != comparison.path and again.holds_for == "this selection"


def test_all_repeats_reestimate_the_scores_and_some_do_not(tmp_path):
    run = made(tmp_path, 3)
    found = align.align(run, Context.of(run, None, "cpu", 1, lambda *_: None))
    table = run.scores().sort_by("uid")
    uids = Plan.read(run.path / "plan.parquet").uids.astype(str)
    assert table["uid"].to_pylist() == uids.tolist()
    whole = score.reestimated(run, found, range(3))
    assert whole == pytest.approx(table["memorization"].to_numpy(), abs=1e-9)
    alone = [score.reestimated(run, found, [repeat]) for repeat in range(3)]
    assert np.mean(alone, axis=0) == pytest.approx(whole, abs=0.02 * np.ptp(whole))
    kept = [choose("top", m, uids.astype(object), 30, 0) for m in (whole, *alone)]
    assert all((kept[0] != other).any() for other in kept[1:])


def test_more_seeds_than_repeats_cannot_rank_anew(tmp_path):
    run = made(tmp_path, 2)
    with pytest.raises(UsageError, match=r"--set plan\.repeats=3"):
        curate.compare(run, remove=[10], seeds=3, redraw=True, device="cpu")


@pytest.fixture
def tiny(tiny_runs):
    return Run.open(tiny_runs / "tiny")


def encoders(run):
    return {
        path.name: path.stat().st_mtime_ns for path in (run.path / "comparisons/encoders").iterdir()
    }


def test_arms_of_one_selection_are_trained_once_also_in_another_comparison(tiny):
    before = encoders(tiny)
    first = curate.compare(tiny, remove=[20], strategies=["bottom", "drop-top"], seeds=2)
    assert first.same == (("bottom", "drop-top"),)
    # Random ones were trained when the run was made; two seeds of one selection are new.
    made = encoders(tiny)
    assert len(made) == len(before) + 2
    gaps = {d.strategy: d.mean for d in first.differences if d.kind == "knn"}
    assert gaps["bottom"] == gaps["drop-top"]
    more = curate.compare(tiny, remove=[20], strategies=["all", "top", "bottom"], seeds=2)
    after = encoders(tiny)
    assert len(after) == len(made) + 2
    assert {name: after[name] for name in made} == made
    # Encoders that were probed before are not probed again.
    again = curate.compare(tiny, remove=[20], strategies=["all", "bottom"], seeds=2)
    assert encoders(tiny) == after
    assert [d for d in more.differences if d.strategy != "top"] == list(again.differences)
    assert len(list((tiny.path / "comparisons" / "probes").iterdir())) == len(after)
    (tests,) = more.tests
    assert (tests.source, tests.n_test, tests.held_out) == ("self", 80, False)
    assert more.costs["top-20"].seconds > 0 and more.costs["top-20"].pays_back_after > 0
    assert more.costs["random-20"].pays_back_after == 0
    assert {a.kept for a in more.arms if a.strategy == "all"} == {80}


EVERY = (
    *("all", "top", "random", "random-matched", "el2n", "k-center", "prototypes", "semdedup"),
    "hierarchical",
)


def test_trainings_that_are_there_are_gone_on_with_and_all_arms_are_in_one_table(tiny):
    asked = {"remove": [25], "strategies": EVERY, "seeds": 2}
    # As if it had been cut short behind the first arms.
    curate.compare(tiny, **asked | {"strategies": EVERY[:3]})
    before = encoders(tiny)
    found = curate.compare(tiny, **asked)
    after = encoders(tiny)
    assert {name: after[name] for name in before} == before
    trained = {row["encoder"] for row in found.results}
    assert len(trained) == len({(samples(tiny, found, s, k), k) for s in EVERY for k in (0, 1)})
    assert {arm.kept for arm in found.arms if arm.strategy != "all"} == {55}
    for kind in ("linear", "knn"):
        rows = {d.strategy: d for d in found.differences if d.kind == kind}
        assert set(rows) == set(EVERY) - {"random"}
        assert all(d.low <= d.mean <= d.high for d in rows.values())


def test_a_comparison_that_was_cut_short_probes_what_is_left(tiny, monkeypatch):
    asked = {"remove": [30], "strategies": ["top"], "seeds": 2}
    looked = []

    def counted(encoder, data, kinds):
        looked.append(data.name)
        if len(looked) == 3:
            raise KeyboardInterrupt
        return measure_probes(encoder, data, kinds)

    monkeypatch.setattr("curate.stages.compare.measure_probes", counted)
    with pytest.raises(KeyboardInterrupt):
        curate.compare(tiny, **asked)
    cut = encoders(tiny)
    made = curate.compare(tiny, **asked)
    # Four encoders: two were probed, the third was cut short, and so two are left.
    assert len(looked) == 5 and encoders(tiny) == cut
    assert len({row["encoder"] for row in made.results}) == 4


def test_a_pool_is_what_one_encoder_was_trained_on(tiny):
    made = curate.compare(tiny, remove=[10], strategies=["top"], seeds=1, pool="fold0")
    assert made.scored == 40
    plan = Plan.read(tiny.path / "plan.parquet")
    pool = set(plan.members("fold0").astype(str))
    for row in made.results:
        config = read_json(tiny.path / row["encoder"] / "config.json")
        assert config["samples"] == 30
    assert len(pool) == 40
    with pytest.raises(UsageError, match="unknown pool 'fold7'"):
        curate.compare(tiny, remove=[10], pool="fold7")


def test_probes_test_on_sources_that_lie_elsewhere(tiny, tmp_path):
    for k in range(2):
        for split, n in (("train", 12), ("test", 6)):
            place = tmp_path / "images" / split / f"class{k}"
            place.mkdir(parents=True)
            for i in range(n):
                pixels = np.random.default_rng(i + 100 * k).integers(0, 256, (8, 8), np.uint8)
                Image.fromarray(pixels // 2 + 127 * k).save(place / f"{split}{i}.png")
    where = f"folder={tmp_path / 'images'}"
    made = curate.compare(tiny, remove=[20], seeds=1, on=["self", where])
    assert [(t.source, t.n_test) for t in made.tests] == [("self", 80), (where, 12)]
    assert made.path.name.startswith("remove-20-top-random-1-seeds-epochs-on-self-folder")
    with pytest.raises(UsageError, match="there is no folder"):
        curate.compare(tiny, remove=[20], seeds=1, on=["folder=nowhere"])
