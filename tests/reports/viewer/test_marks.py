"""Marks on disk: the last one counts, and a cut line costs itself alone."""

from curate.reports.viewer.marks import Marks


def test_marks_are_kept_and_the_last_counts(tmp_path):
    marks = Marks(tmp_path / "marks.jsonl")
    marks.put(["a", "b"], "keep")
    marks.put(["a"], "drop")
    marks.put(["b"], None)
    marks.put(["c"], "unsure")
    assert Marks(marks.path).read() == {"a": "drop", "c": "unsure"}


def test_a_line_cut_anywhere_costs_that_mark_alone(tmp_path):
    marks = Marks(tmp_path / "marks.jsonl")
    marks.put(["a"], "keep")
    whole = marks.path.read_bytes()
    marks.put(["b"], "drop")
    both = marks.path.read_bytes()
    for cut in range(len(whole), len(both)):
        marks.path.write_bytes(both[:cut])
        assert marks.read() == {"a": "keep"}
        marks.put(["c"], "unsure")
        found = marks.read()
        # Only the end of the line was missing, if anything.
        assert found.pop("b", "drop") == "drop" and found == {"a": "keep", "c": "unsure"}
