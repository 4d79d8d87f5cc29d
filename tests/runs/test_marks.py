"""Marks: one line a decision, and what is not as it was written marks nothing."""

import random
import subprocess
import sys

import pytest

from curate.runs.marks import Marks


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
        # Only the end of the line is missing, if nothing else is.
        assert marks.read() == {"a": "keep"} | ({"b": "drop"} if cut == len(both) - 1 else {})
        marks.put(["c"], "unsure")
        found = marks.read()
        # Only the end of the line was missing, if anything.
        assert found.pop("b", "drop") == "drop" and found == {"a": "keep", "c": "unsure"}


def test_a_flipped_bit_costs_its_line_alone_and_is_said(tmp_path, caplog):
    marks = Marks(tmp_path / "marks.jsonl")
    marks.put(["a", "b", "c"], "keep")
    marks.put(["b"], "drop")
    whole, drawn = marks.path.read_bytes(), random.Random("marks")
    expected = {"a": "keep", "b": "drop", "c": "keep"}
    for _ in range(200):
        data = bytearray(whole)
        bit = drawn.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        marks.path.write_bytes(data)
        found, damaged = marks.parse()
        assert damaged or found == expected, bit
        caplog.clear()
        assert Marks(marks.path).read() == found
        named = [f"line {number} is damaged" in caplog.text for number in damaged]
        assert all(named) and (damaged or not caplog.text)
        # A line that is damaged takes no other with it; a line end is part of two lines.
        lines = {line for line in whole.split(b"\n") if line} - set(bytes(data).split(b"\n"))
        assert len(lines) <= 2 and set(found) <= set(expected)


def test_damaged_lines_are_said_once(tmp_path, caplog):
    marks = Marks(tmp_path / "marks.jsonl")
    marks.path.write_text('{"uid": "a", "mark": "keep"}\n\xff\n')
    assert marks.read() == marks.read() == {}
    assert caplog.text.count("line 1 is damaged") == caplog.text.count("line 2 is damaged") == 1


@pytest.mark.parametrize("room", [0, 7, 60, 500])
def test_marks_that_do_not_fit_on_the_disk_are_all_refused(tmp_path, room):
    marks = Marks(tmp_path / "marks.jsonl")
    marks.put(["a"], "keep")
    before = marks.path.read_bytes()
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from curate.errors import ResourceError\n"
        "from curate.runs.marks import Marks\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + room},) * 2)\n"
        "try:\n"
        "    Marks(Path(sys.argv[1])).put(map(str, range(50)), 'drop')\n"
        "except ResourceError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, marks.path], capture_output=True, text=True)
    assert done.stdout.startswith("cannot write "), done.stderr
    assert marks.path.read_bytes() == before


def test_lines_of_any_json_are_no_marks(tmp_path):
    marks = Marks(tmp_path / "marks.jsonl")
    marks.put(["a"], "keep")
    odd = b'{"uid": [1], "mark": "keep"}\n{"uid": {}, "mark": ["keep"]}\n7\n' + b"[" * 9999 + b"\n"
    marks.path.write_bytes(odd + marks.path.read_bytes())
    assert marks.read() == {"a": "keep"}
