"""What was marked becomes a manifest, which is said to be old when the marks change."""

import pytest

from curate.errors import UsageError
from curate.reports.viewer.marks import save
from curate.runs.dataset import outdated
from curate.runs.marks import Marks
from curate.runs.run import Run


def test_marks_decide_and_all_others_follow_the_base(tiny_runs):
    run = Run.open(tiny_runs / "tiny")
    base = {row["uid"]: row["decision"] for row in run.manifest("top-0.5").to_pylist()}
    kept = [uid for uid, decision in base.items() if decision == "keep"]
    marks = {kept[0]: "drop", kept[1]: "unsure", "f" * 32: "drop"}
    saved = save(run, marks, name="mine", base="top-0.5")
    assert (saved.kept, saved.by_hand) == (len(kept) - 1, 1)
    made = {row["uid"]: row["decision"] for row in run.manifest("mine").to_pylist()}
    assert made == base | {kept[0]: "drop"}
    with pytest.raises(UsageError, match="not made by hand"):
        save(run, marks, name="top-0.5", base=None)


def test_a_manifest_of_marks_that_changed_since_is_old(tiny_runs):
    run = Run.open(tiny_runs / "tiny")
    marks = Marks(run.path / "marks.jsonl")
    first, second = run.scores(["uid"])["uid"].to_pylist()[:2]
    marks.put([first], "drop")
    save(run, marks.read(), name="mine", base=None)
    assert outdated(run) == []
    marks.put([second], "drop")
    ((name, said),) = outdated(run)
    assert name == "manifests/mine" and "other marks than marks.jsonl" in said
    save(run, marks.read(), name="mine", base=None)
    assert outdated(run) == []
