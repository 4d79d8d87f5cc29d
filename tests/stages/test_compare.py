"""A comparison keeps which test images were right, and may rank anew for every seed."""

import numpy as np
import pyarrow.parquet as pq
import pytest

import curate
from curate.errors import UsageError
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
    arm = run.path / "records" / "compare" / comparison.path.name / f"{strategy}-10-s{seed}.json"
    return read_json(arm)["parts"]["samples"]


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
