"""A finished run takes more encoders or more views: the end is that of a run made so at once."""

import hashlib
import json

import pyarrow.parquet as pq
import pytest

import curate
from curate.errors import DataError, MismatchError
from curate.runs import recipe
from curate.runs.run import Run
from curate.scores.config import FoldsPlan, HalvesPlan, PairPlan, PartsPlan, SubsetsPlan
from curate.scores.plan import build_plan
from tests.command import TINY
from tests.command import curate as typed

pytestmark = pytest.mark.numeric


def _made(run: Run) -> dict[str, bytes]:
    """Return everything that is made of images and encoders, without what records times."""
    wanted = [*run.path.rglob("*.parquet"), *run.path.rglob("*.safetensors")]
    return {
        str(path.relative_to(run.path)): path.read_bytes()
        for path in sorted([*wanted, run.path / "scores.json"])
    }


@pytest.mark.parametrize("more", [{"plan.repeats": 2}, {"score.views": 5}])
def test_an_extended_run_is_what_it_would_have_been_from_the_start(tmp_path, more):
    small = curate.open_run(str(TINY), runs=tmp_path / "a")
    curate.score(small, device="cpu")
    trained = {path: path.stat().st_mtime_ns for path in small.path.rglob("*.safetensors")}
    extended = curate.open_run(str(TINY), runs=tmp_path / "a", overrides=more)
    with pytest.raises(DataError, match="older than its settings"):
        extended.scores()
    curate.score(extended, device="cpu")
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    at_once = curate.open_run(str(TINY), runs=tmp_path / "b", overrides=more)
    curate.score(at_once, device="cpu")
    assert _made(extended) == _made(at_once)
    facts, other = extended.facts(), at_once.facts()
    for name in ("recipe", "recipe_fingerprint", "overrides", "recipe_sha256"):
        assert facts[name] == other[name], name
    # Named again without the override, it is the same run, and nothing is left to do.
    again = curate.open_run(str(TINY), runs=tmp_path / "a")
    assert curate.score(again, device="cpu").already


def test_fewer_repeats_or_another_seed_are_refused(tmp_path):
    runs = tmp_path / "runs"
    run = curate.open_run(str(TINY), runs=runs, overrides={"plan.repeats": 2})
    before = json.loads((run.path / "run.json").read_text())
    with pytest.raises(MismatchError, match=r"plan\.seed: 0 -> 1"):
        curate.open_run(str(TINY), runs=runs, overrides={"plan.repeats": 3, "plan.seed": 1})
    assert json.loads((run.path / "run.json").read_text()) == before


def test_more_repeats_train_more_encoders_from_the_command_line(tmp_path):
    where = ["--runs", tmp_path, "--device", "cpu", "--workers", "1", "--json"]
    assert typed("score", TINY, *where).code == 0
    encoders = tmp_path / "tiny" / "encoders"
    n = len(list(encoders.iterdir()))
    found = typed("score", TINY, *where, "--set", "plan.repeats=2")
    assert found.code == 0, found.err
    assert len(json.loads(found.out)["encoders"]) == len(list(encoders.iterdir())) == 2 * n
    assert pq.read_table(tmp_path / "tiny" / "plan.parquet").num_columns == 2 + 2 * n


def test_a_greater_effort_extends_what_a_smaller_one_began(tmp_path, monkeypatch):
    monkeypatch.setitem(recipe.EFFORTS["thorough"]["plan"], "repeats", 4)
    where = ["--runs", tmp_path, "--device", "cpu", "--workers", "1", "--json"]
    assert typed("score", TINY, *where, "--effort", "quick").code == 0
    encoders = tmp_path / "tiny" / "encoders"
    trained = {path: path.stat().st_mtime_ns for path in encoders.rglob("*.safetensors")}
    assert len(trained) == 12
    found = typed("score", TINY, *where, "--effort", "thorough")
    assert found.code == 0, found.err
    assert len(json.loads(found.out)["encoders"]) == 16
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    fewer = typed("score", TINY, *where, "--effort", "quick")
    assert fewer.code == 0 and len(json.loads(fewer.out)["encoders"]) == 12
    assert {path: path.stat().st_mtime_ns for path in trained} == trained


@pytest.mark.parametrize(
    "config",
    [
        PairPlan(kind="pair", shared=0.5, candidates=0.2, independent=0.2, extra=0.1),
        HalvesPlan(kind="halves"),
        FoldsPlan(kind="folds", folds=3),
        PartsPlan(kind="parts", parts=4),
        SubsetsPlan(kind="subsets", subsets=5),
    ],
)
def test_further_repeats_leave_the_earlier_ones_as_they_are(config):
    uids = [hashlib.sha256(b"%d" % i).hexdigest()[:32] for i in range(200)]
    few = build_plan(config.model_copy(update={"repeats": 2}), uids)
    many = build_plan(config.model_copy(update={"repeats": 4}), uids)
    n = len(few.encoders)
    assert many.encoders[:n] == few.encoders
    assert many.group.tolist() == few.group.tolist()
    assert many.inclusion[:, :n].tolist() == few.inclusion.tolist()
