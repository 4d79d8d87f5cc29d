"""Columns of images and labels are found by names and types, in files that need not be alike."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.data import tables
from curate.data.tables import Declared
from curate.errors import DataError, UsageError

STORED = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def chosen(*fields, declared=(), image=None, label=None):
    schema = pa.schema(list(fields))
    found = tables.choose(schema, dict(declared), "t", image=image, label=label)
    return found.image, found.label, found.extras


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ([("image", STORED), ("label", pa.int64())], ("image", "label", ())),
        ([("label", pa.int64()), ("img", pa.binary())], ("img", "label", ())),
        ([("depth", STORED), ("image", pa.large_binary())], ("image", None, ())),
        ([("only", pa.binary_view()), ("n", pa.int8())], ("only", None, ("n",))),
        ([("mask", STORED), ("photo", STORED)], ("photo", None, ())),
        ([("image", STORED), ("y", pa.float64())], ("image", None, ("y",))),
        ([("image", STORED), ("y", pa.list_(pa.string()))], ("image", "y", ())),
        ([("image", STORED), ("Class", pa.string())], ("image", "Class", ())),
        ([("Image", STORED), ("raw", pa.binary())], ("Image", None, ())),
        ([("image", STORED), ("text", pa.string_view()), ("x", STORED)],
         ("image", None, ("text",))),
    ],
)  # fmt: skip
def test_columns_are_found(fields, want):
    assert chosen(*fields) == want


@pytest.mark.parametrize(
    ("fields", "options", "error"),
    [
        ([("x", pa.int8())], {}, "t has no column of images; it has x"),
        ([("a", STORED), ("b", STORED)], {}, "images in 2 columns, a, b; say which: image='a'"),
        ([("image", STORED), ("image", pa.int8())], {}, "two columns called 'image'"),
        ([("image", STORED)], {"image": "imgae"}, "image: unknown column of t 'imgae'"),
        ([("image", STORED), ("n", pa.int8())], {"image": "n"}, "is of type int8, and holds no"),
        ([("image", STORED), ("label", STORED)], {}, "of t is of type struct.*label='none'"),
        ([("image", STORED), ("label", pa.date32())], {}, "'label' of t is of type date32"),
        ([("image", STORED), ("t", pa.binary())], {"label": "t"}, "'t' of t is of type binary"),
    ],
)  # fmt: skip
def test_columns_that_cannot_be_told_are_refused(fields, options, error):
    with pytest.raises((DataError, UsageError), match=error):
        chosen(*fields, **options)


def test_what_datasets_declared_comes_first():
    fields = [("left", STORED), ("right", STORED), ("y", pa.float64())]
    declared = {"right": Declared(image=True), "y": Declared(names=("a", "b"))}
    assert chosen(*fields[1:], declared=declared.items())[:2] == ("right", "y")


def write(path, **columns):
    pq.write_table(pa.table(columns), path)


def test_files_are_one_table_though_they_differ(tmp_path):
    write(tmp_path / "a", image=[b"1", b"2"], n=pa.array([1, 2], pa.int32()), x=pa.nulls(2))
    write(
        tmp_path / "b", x=["u", "v"], n=[3.0, 4.0], image=pa.array([b"3", b"4"], pa.binary_view())
    )
    write(tmp_path / "c", image=[b"5"])
    table = tables.open_parquet(tmp_path, ["a", "b", "c"])
    assert table.rows == 5 and table.schema.field("x").type == pa.string()
    rows = list(table.batches(["image", "n", "x"]))
    assert [value for batch in rows for value in batch["image"]] == [b"1", b"2", b"3", b"4", b"5"]
    assert [batch.get("n") for batch in rows] == [[1, 2], [3.0, 4.0], None]
    columns = tables.choose(table.schema, table.declared, "t", image=None, label="n")
    with pytest.raises(DataError, match=r"c has no column 'n', and others have"):
        tables.check_columns(table, columns)


@pytest.mark.parametrize("cut", [0, 3, 40, 200])
def test_a_file_that_is_cut_is_named(tmp_path, cut):
    write(tmp_path / "a", image=[b"1" * 500])
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(data[:cut])
    with pytest.raises(DataError, match=r"cannot read .*/a: "):
        tables.open_parquet(tmp_path, ["a"])


def test_damage_within_a_file_is_named_with_its_row(tmp_path):
    write(tmp_path / "a", image=[bytes([i]) * 300 for i in range(200)])
    data = bytearray((tmp_path / "a").read_bytes())
    data[100:2000] = bytes(1900)
    (tmp_path / "a").write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"/a is damaged after row [0-9,]+: "):
        list(tables.open_parquet(tmp_path, ["a"]).batches(["image"]))


def test_columns_in_the_names_of_folders(tmp_path):
    for place in ("label=a%20b/k=1", "label=__HIVE_DEFAULT_PARTITION__/k=2"):
        (tmp_path / place).mkdir(parents=True)
        write(tmp_path / place / "x", image=[b"1"])
    files = ["label=a%20b/k=1/x", "label=__HIVE_DEFAULT_PARTITION__/k=2/x"]
    table = tables.open_parquet(tmp_path, files)
    found = [batch["label"] for batch in table.batches(["image", "label"])]
    assert found == [["a b"], [None]]


def test_values_that_arrow_cannot_give_are_none():
    odd = pa.array([0, 2**62]).cast(pa.timestamp("s", "Mars/Olympus"))
    assert tables.values_of(odd) == [None, None]
    assert tables.values_of(pa.chunked_array([["a"], [None]])) == ["a", None]


@pytest.mark.parametrize(
    ("values", "names"),
    [(["b", "a", None], ("a", "b")), ([True, False], ("false", "true")), ([1.0, 2.0], ())],
)
def test_names_of_classes_are_those_that_stand_there(values, names):
    def batches(wanted):
        yield {wanted[0]: values}

    assert tables.names_of(batches, "y", Declared(), "t", typed=False) == names
    assert tables.names_of(batches, "y", Declared(names=("z",)), "t", typed=False) == ("z",)
    assert tables.names_of(batches, "y", Declared(), "t", typed=True) == ()


def test_a_value_that_is_no_label_is_named_with_its_row():
    with pytest.raises(
        DataError, match=r"column 'y' of t, row 2: 1.5 is no whole number.*label='none'"
    ):
        tables.names_of(lambda names: iter([{"y": [1, 2, 1.5]}]), "y", Declared(), "t", typed=False)
