"""Marks: one line a decision, and what is not as it was written marks nothing."""

import random

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
