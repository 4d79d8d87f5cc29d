"""How many samples a selection keeps, and what tables of others are taken for."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from curate.errors import DataError, UsageError
from curate.selection.config import SelectConfig
from curate.selection.selection import check_unscored, describe, kept_count, read_scores


@pytest.mark.parametrize(
    ("strategy", "count", "fraction", "kept"),
    [
        ("top", 1, None, 1),
        ("top", 10, None, 10),
        ("bottom", 3, None, 3),
        ("random", None, 1.0, 10),
        ("top", None, 0.25, 2),
        ("drop-top", 1, None, 9),
        ("drop-top", None, 0.3, 7),
    ],
)
def test_sizes_are_what_is_kept_or_dropped(strategy, count, fraction, kept):
    assert kept_count(SelectConfig(strategy=strategy, count=count, fraction=fraction), 10) == kept


@pytest.mark.parametrize("strategy", ["top", "drop-top", "random"])
def test_there_are_only_so_many(strategy):
    with pytest.raises(UsageError, match="10 are scored"):
        kept_count(SelectConfig(strategy=strategy, count=11), 10)


def test_dropping_everything_or_selecting_from_nothing_is_refused():
    with pytest.raises(UsageError, match="choose 1 to 9"):
        kept_count(SelectConfig(strategy="drop-top", fraction=1.0), 10)
    with pytest.raises(DataError, match="nothing to select by"):
        kept_count(SelectConfig(count=1), 0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "exactly one of count and fraction"),
        ({"count": 1, "fraction": 0.5}, "exactly one of count and fraction"),
        ({"count": 0}, "count: .* greater than or equal to 1, not 0"),
        ({"count": -1}, "count: .* not -1"),
        ({"fraction": 0.0}, "fraction: .* greater than 0, not 0"),
        ({"fraction": 1.5}, "fraction: .* not 1.5"),
        ({"count": 1, "unscored": "drp"}, "Did you mean 'drop'"),
        ({"count": 1, "strategy": "topp"}, "Did you mean 'top'"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, says):
    with pytest.raises(UsageError, match=says):
        SelectConfig.of(**settings)


def test_unscored_samples_must_be_spoken_of_where_there_are_any():
    check_unscored(0, 10, None)
    check_unscored(3, 10, "keep")
    with pytest.raises(UsageError, match="3 of 10 samples are unscored"):
        check_unscored(3, 10, None)


def test_selections_are_described_by_what_they_keep():
    assert describe("top", 3, 10) == "the 3 most memorized of 10 scored"
    assert describe("drop-top", 7, 10) == "all but the 3 most memorized of 10 scored"
    assert describe("top", 3, 10, by="el2n") == "the 3 highest by el2n of 10 scored"
    assert describe("bottom", 3, 10, by="el2n", action=True) == "keep the 3 lowest by el2n"
    assert describe("new", 3, 10) == "3 of 10 scored, by new"


def test_selections_are_described_by_what_is_done():
    assert describe("bottom", 1237, 1437, action=True) == "keep the 1,237 least memorized"
    assert describe("drop-top", 7, 10, action=True) == "drop the 3 most memorized"
    assert describe("random", 3, 10, action=True) == "3 at random"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tables_keep_what_a_manifest_needs(tmp_path, ending):
    table = pa.table(
        {
            "memorization": ["not", "this", "one"],
            "uid": ["a", "b", "c"],
            "mine": [1.5, np.inf, -2.0],
            "se": [0.1, 0.2, None],
            "label": [1, 2, 3],
            "other": ["x", "y", "z"],
        }
    )
    path = tmp_path / f"scores.{ending}"
    (pyarrow.csv.write_csv if ending == "csv" else pq.write_table)(table, path)
    found = read_scores(path, "mine")
    assert found.to_pydict() == {
        "uid": ["a", "b", "c"],
        "memorization": [1.5, None, -2.0],
        "se": [0.1, 0.2, None],
        "label": [1, 2, 3],
    }


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"uid": ["a", "a"], "m": [1, 2]}, "repeats or lacks a uid"),
        ({"uid": ["a", None], "m": [1, 2]}, "repeats or lacks a uid"),
        ({"id": ["a", "b"], "m": [1, 2]}, "no column 'uid'; it has: id, m"),
        ({"uid": ["a", "b"], "x": [1, 2]}, "no column 'm'"),
        ({"uid": ["a", "b"], "m": ["1", "two"]}, "'m' of .* is not a number"),
        ({"uid": ["a", "b"], "m": [1, 2], "se": ["low", "high"]}, "'se' of .* is not a number"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(tmp_path, columns, text):
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    with pytest.raises(DataError, match=text):
        read_scores(tmp_path / "scores.parquet", "m")


def test_files_that_are_no_tables_are_refused(tmp_path):
    for name in ("x.parquet", "x.csv"):
        (tmp_path / name).write_bytes(b"\x00\xff" * 10)
        with pytest.raises(DataError, match=name):
            read_scores(tmp_path / name, "m")
