"""Which samples each arm of a comparison trains on."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

import curate
from curate.errors import DataError, UsageError
from curate.evaluation.arms import wanted
from curate.evaluation.config import CompareConfig
from curate.runs.dataset import own_uids
from curate.runs.run import Run
from curate.runtime.progress import silent
from curate.stages.choosing import Chooser
from curate.stages.contest import Contest, Field
from curate.stages.context import Context

pytestmark = pytest.mark.numeric


@pytest.fixture
def run(tiny_runs):
    return Run.open(tiny_runs / "tiny")


def contest(run, *names, **settings):
    scored = run.scores(("memorization", "label"))
    field = Field(
        own_uids(run).sort().to_numpy(zero_copy_only=False),
        scored,
        Chooser(run, Context.of(run, None, "cpu", 1, silent), scored["uid"]),
    )
    ranking = scored["memorization"].to_numpy()
    config = CompareConfig(seeds=2, **settings)
    made = Contest.of(field, [wanted(name) for name in names], config)
    return replace(made, rankings=(ranking, ranking))


def test_every_arm_of_every_size_and_seed_keeps_what_it_says(run):
    names = ("all", "top", "bottom", "el2n", "k-center", "random-matched", "random")
    arms = list(contest(run, *names, remove=(20, 50)).arms())
    assert len(arms) == 2 * 2 * len(names)
    kept = {(a.name, a.remove, a.seed): set(a.samples) for a in arms}
    for (name, remove, seed), samples in kept.items():
        assert len(samples) == (80 if name == "all" else 80 - remove)
        if name in ("all", "top", "bottom", "el2n"):
            assert samples == kept[name, remove, 0]
        elif name != "k-center":
            assert seed == 0 or samples != kept[name, remove, 0]
    el2n = pq.read_table(run.path / "measures.parquet").sort_by([("el2n", "descending")])
    assert kept["el2n", 50, 0] == set(el2n["uid"].to_pylist()[:30])


def test_a_manifest_stands_beside_random_ones_of_its_own_size(run):
    path = curate.select(run, strategy="top", count=30).path
    arms = list(contest(run, str(path), "top", "random", remove=(20, 50)).arms())
    sizes = {(a.name, a.remove) for a in arms}
    assert sizes == {*((n, r) for n in ("top", "random") for r in (20, 50)), (str(path), 50)}
    alone = list(contest(run, str(path), "random", remove=(20,)).arms())
    assert {(a.name, a.remove) for a in alone} == {
        ("random", 20), (str(path), 50), ("random", 50)
    }  # fmt: skip
    mine = next(a for a in alone if a.name == str(path))
    top = next(a for a in arms if (a.name, a.remove) == ("top", 50))
    assert sorted(mine.samples) == sorted(top.samples)


def test_what_cannot_be_compared_is_refused(run, tmp_path):
    with pytest.raises(DataError, match="no expected of any sample"):
        contest(run, "expected", remove=(20,))
    every = curate.select(run, strategy="top", count=80).path
    with pytest.raises(UsageError, match="drops 0 of 80 samples"):
        contest(run, str(every), remove=(20,))
    half = tmp_path / "half.csv"
    half.write_text(f"uid,n\n{run.scores(('uid',))['uid'][0]},1\n")
    with pytest.raises(DataError, match="79 of 80 samples have no"):
        contest(run, f"{half}:n", remove=(20,))


def test_what_arms_go_by_is_in_their_digests(run):
    path = curate.select(run, strategy="top", count=30).path
    plain = contest(run, "top", remove=(20,)).digests()
    more = contest(run, "top", "el2n", str(path), remove=(20,), space="fold1").digests()
    assert plain == {} and set(more) == {"of el2n", f"of {path}", "of space"}
    assert len(set(more.values())) == 3
    assert np.all([isinstance(value, str) for value in more.values()])
