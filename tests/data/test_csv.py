"""A csv of others is read as Python's csv reads it, line breaks in values and all."""

import csv
import io
import random

import pyarrow as pa
import pytest

from curate.data.csv import read_csv
from curate.errors import DataError

PIECES = ["a", "1", "x,y", 'he said "so"', "two\nlines", "\r\n", "é", " ", "'", "\t", "\u2028"]


@pytest.mark.parametrize("seed", range(8))
def test_values_come_back_whatever_is_in_them(tmp_path, seed):
    draw = random.Random(seed)
    rows = [["".join(draw.choices(PIECES, k=4)) + "." for _ in range(3)] for _ in range(50)]
    text = io.StringIO()
    csv.writer(text).writerows([["one", "two", "three"], *rows])
    path = tmp_path / "t.csv"
    path.write_text(text.getvalue(), newline="")
    found = read_csv(path, texts=("one", "two", "three")).to_pydict()
    assert [list(row) for row in zip(*found.values(), strict=True)] == rows


@pytest.mark.parametrize("long", [2**20 - 40, 2**20, 3 * 2**20 + 7])
def test_a_value_may_be_longer_than_what_is_read_at_once(tmp_path, long):
    value = "line\n" * (long // 5)
    path = tmp_path / "t.csv"
    path.write_text(f'a,b\n1,"{value}"\n2,x\n')
    assert read_csv(path)["b"].to_pylist() == [value, "x"]


def test_only_named_columns_stay_as_they_stand(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("label,n\n007,007\n1,2\n")
    found = read_csv(path, texts=("label", "gone"))
    assert found.to_pydict() == {"label": ["007", "1"], "n": [7, 2]}


@pytest.mark.parametrize("text", ["a,b\n1\n", "a,b\n1,2,3\n", ""])
def test_what_is_no_csv_is_an_error_of_arrow(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(pa.ArrowException):
        read_csv(path)


def test_two_columns_of_one_name_are_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,a\n1,2,3\n")
    with pytest.raises(DataError, match=r"t.csv has two columns called 'a'; rename one"):
        read_csv(path)
