"""Alignments on disk: a file a shard, whoever measures in whichever order; older runs are read."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

import curate
from curate.runs import alignments, units
from curate.runs.run import Run
from curate.runtime.files import file_sha256, write_table
from curate.scores.plan import Plan
from curate.stages import align

pytestmark = pytest.mark.numeric


@pytest.fixture
def run(tiny_runs):
    return Run.open(tiny_runs / "tiny")


def encoders(run):
    return Plan.read(run.path / "plan.parquet").encoders


def apart(run):
    """Lay a run's alignments out as an older curate did: a file and a record for each encoder."""
    names = encoders(run)
    stored = align.on_shards(run, names)("00000")
    for name, table in alignments.read(run, names, "00000").items():
        parts_of = f"align/{name}/00000"
        unit = units.align(run, parts_of, name, _digest(run), more=False)
        assert unit.key == stored.keys[name]
        path = run.path / "alignment" / name / "00000.parquet"
        write_table(path, table)
        unit.complete([path], "cpu", keep=False, n=table.num_rows)
    (run.path / "alignment" / "00000.parquet").unlink()
    run.record_path("align/00000").unlink()
    shutil.rmtree(run.path.parent / ".store" / "align")
    return stored


def _digest(run):
    return run.record("shard")["outputs"]["shards/00000.tar"]["sha256"]


def test_a_shard_has_one_file_and_one_record_for_all_encoders(run):
    files = [p.relative_to(run.path).as_posix() for p in run.path.glob("alignment/**/*.parquet")]
    assert files == ["alignment/00000.parquet"]
    record = run.record("align/00000")
    assert list(record["parts"]["columns"]) == list(encoders(run)) == ["fold0", "fold1"]
    table = pq.read_table(run.path / files[0])
    assert table.column_names == ["uid", "n_views"] + [
        f"{e}/{column}" for e in ("fold0", "fold1") for column in ("align", "se", "leave_one_out")
    ]
    one = alignments.read(run, ["fold1"], "00000", uid=table["uid"][3].as_py())["fold1"]
    assert one["align"].to_pylist() == [table["fold1/align"][3].as_py()]
    assert curate.verify(run.path, full=True).ok


def test_encoders_that_come_one_by_one_make_the_file_that_they_make_together(run):
    stored = align.on_shards(run, encoders(run))("00000")
    path = run.path / "alignment" / "00000.parquet"
    whole, found = file_sha256(path), alignments.read(run, encoders(run), "00000")
    run.record_path("align/00000").unlink()
    assert stored.missing() == ["fold0", "fold1"]
    stored.add({"fold1": found["fold1"]}, "cpu")
    assert stored.missing() == ["fold0"] and file_sha256(path) != whole
    # Another attempt at what is there, and one at what is not.
    stored.add({"fold1": found["fold0"]}, "cpu")
    assert alignments.read(run, ["fold1"], "00000")["fold1"].equals(found["fold1"])
    stored.add(found, "cpu")
    assert stored.missing() == [] and file_sha256(path) == whole
    assert stored.unit.intact()


def test_only_encoders_that_come_later_are_measured(run, monkeypatch):
    before, measured = alignments.read(run, encoders(run), "00000"), []

    def watched(encoders, *more, **named):
        measured.extend(encoders)
        return align_images(encoders, *more, **named)

    align_images = align.align_images
    monkeypatch.setattr(align, "align_images", watched)
    longer = run.extended(repeats=2)
    curate.score(longer, device="cpu")
    new = encoders(longer)
    assert new[:2] == ("fold0", "fold1") and sorted(measured) == sorted(new[2:])
    after = alignments.read(longer, new, "00000")
    assert all(after[e].equals(before[e]) for e in before)
    assert len([*run.path.glob("alignment/**/*.parquet")]) == 1
    assert curate.verify(run.path, full=True).ok


def test_an_older_run_is_read_as_it_is_and_goes_on(run, monkeypatch):
    scores = file_sha256(run.path / "scores.parquet")
    stored = apart(run)
    assert stored.missing() == [] and len([*stored.records()]) == 2
    run.record_path("score").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(align, "align_images", None)  # nothing is measured
        curate.score(run, device="cpu")
    assert file_sha256(run.path / "scores.parquet") == scores
    # What is damaged is measured again, and lies then where it would lie today.
    (run.path / "alignment/fold1/00000.parquet").write_bytes(b"damaged")
    run.record_path("score").unlink()
    curate.score(run, device="cpu")
    files = {p.relative_to(run.path).as_posix() for p in run.path.glob("alignment/**/*.parquet")}
    assert files == {"alignment/fold0/00000.parquet", "alignment/00000.parquet"}
    assert file_sha256(run.path / "scores.parquet") == scores
    assert curate.verify(run.path, full=True).ok


def test_other_settings_of_an_older_run_leave_nothing_that_is_stale(run):
    apart(run)
    before = run.scores()
    turned = run.taking(run.recipe.model_copy(update={"score": _more(run)}), {})
    curate.score(turned, device="cpu")
    files = [p.relative_to(run.path).as_posix() for p in run.path.glob("alignment/**/*.parquet")]
    assert files == ["alignment/00000.parquet"]
    changed = turned.scores()["memorization"].to_numpy() != before["memorization"].to_numpy()
    assert np.any(changed)


def _more(run):
    return run.recipe.score.model_copy(update={"views": run.recipe.score.views + 1})
