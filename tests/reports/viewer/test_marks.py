"""Marks on disk: the last one counts, and a cut line costs itself alone."""

import subprocess
import sys

import pytest

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


def test_a_damaged_byte_costs_the_marks_of_its_lines_alone(tmp_path):
    marks = Marks(tmp_path / "marks.jsonl")
    marks.put(["a", "b", "c"], "keep")
    whole = marks.path.read_bytes()
    for place in range(len(whole)):
        for byte in (0x00, 0xFF, 0x0A, whole[place] ^ 0x20):
            marks.path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
            # A line break that is damaged joins two lines.
            assert sum(marks.read().get(uid) == "keep" for uid in "abc") >= 1
    odd = b'{"uid": [1], "mark": "keep"}\n{"uid": {}, "mark": ["keep"]}\n7\n[[[\n'
    marks.path.write_bytes(odd + whole)
    assert {uid: mark for uid, mark in marks.read().items() if uid in "abc"} == dict.fromkeys(
        "abc", "keep"
    )


@pytest.mark.parametrize("room", [0, 7, 60, 500])
def test_marks_that_do_not_fit_on_the_disk_are_all_refused(tmp_path, room):
    marks = Marks(tmp_path / "marks.jsonl")
    marks.put(["a"], "keep")
    before = marks.path.read_bytes()
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from curate.errors import ResourceError\n"
        "from curate.reports.viewer.marks import Marks\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + room},) * 2)\n"
        "try:\n"
        "    Marks(Path(sys.argv[1])).put(map(str, range(50)), 'drop')\n"
        "except ResourceError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, marks.path], capture_output=True, text=True)
    assert done.stdout.startswith("cannot write "), done.stderr
    assert marks.path.read_bytes() == before
