"""Numbers and lists of anybody's, by uid or by path."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from curate.errors import DataError, UsageError
from curate.scores.measures import MEASURES, column
from curate.scores.table import SCORE_SCHEMA
from curate.selection.columns import TABLES, column_of, file_of, listed, numbers_of
from curate.stages.inspect import INSPECT_SCHEMA

UIDS = pa.array(["a", "b", "c"])
PATHS = pa.array(["x/1.png", "x/2.png", None])


def test_the_columns_are_those_of_the_tables():
    assert set(TABLES["measures"]) == {column(kind) for kind in MEASURES}
    for name, schema in (("scores", SCORE_SCHEMA), ("inspect", INSPECT_SCHEMA)):
        kinds = [schema.field(column).type for column in TABLES[name] if column != "prior"]
        assert all(pa.types.is_floating(k) or pa.types.is_integer(k) for k in kinds)


def test_a_column_is_known_by_its_name_with_either_dash_or_is_of_a_file():
    assert column_of("knn-outlierness") == column_of("knn_outlierness") == "knn_outlierness"
    assert file_of(column_of("a/b.csv:my loss")) == (Path("a/b.csv"), "my loss")
    with pytest.raises(UsageError, match="Did you mean 'el2n'"):
        column_of("el2m")
    with pytest.raises(UsageError, match="unknown column"):
        column_of("a/b.csv")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize(("name", "rows"), [("uid", ["c", "a"]), ("path", [None, "x/1.png"])])
def test_numbers_find_their_samples(tmp_path, ending, name, rows):
    path = tmp_path / f"mine.{ending}"
    table = pa.table({"n": [1.5, 2], name: rows})
    (pyarrow.csv.write_csv if ending == "csv" else pq.write_table)(table, path)
    found = numbers_of(path, "n", UIDS, PATHS)
    np.testing.assert_array_equal(found, [2, np.nan, 1.5 if name == "uid" else np.nan])


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"id": ["a"], "n": [1]}, "no column 'uid' or 'path'; it has: id, n"),
        ({"uid": ["a"], "m": [1]}, "no column 'n'; it has: uid, m"),
        ({"uid": ["a", "a"], "n": [1, 2]}, "repeats a uid"),
        ({"uid": ["z"], "n": [1]}, "none of these samples"),
        ({"uid": ["a"], "n": ["much"]}, "cannot read numbers 'n'"),
    ],
)
def test_files_that_say_nothing_are_named(tmp_path, columns, says):
    pq.write_table(pa.table(columns), tmp_path / "f.parquet")
    with pytest.raises(DataError, match=says):
        numbers_of(tmp_path / "f.parquet", "n", UIDS, PATHS)
    (tmp_path / "f.csv").write_bytes(b"\xff\x00")
    with pytest.raises(DataError, match=r"f\.csv"):
        numbers_of(tmp_path / "f.csv", "n", UIDS, PATHS)


def test_a_list_has_uids_and_paths(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("x/2.png\n\n  c \r\n")
    assert listed(path, UIDS, PATHS).tolist() == [False, True, True]
    path.write_text("a\nnone\nnor\n")
    with pytest.raises(DataError, match=r"line 2: .* 'none' \(2 of 3 lines name none\)"):
        listed(path, UIDS, PATHS)
    path.write_text("\n")
    with pytest.raises(DataError, match="empty"):
        listed(path, UIDS, PATHS)
    with pytest.raises(DataError, match="cannot read the list"):
        listed(tmp_path / "nowhere", UIDS, PATHS)
