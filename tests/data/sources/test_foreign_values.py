"""Whatever a foreign file holds, its reader gives samples or an error of ours, never another."""

import io
import json
import tarfile
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from curate.data.sources import open_source
from curate.encoders.backbone import load_encoder
from curate.errors import CurateError
from curate.inspection.spaces import read_embeddings
from curate.runs import recipe, recipe_files
from curate.selection.selection import read_scores
from tests.rendered import mixed

IMAGE = next(iter(mixed(1)))[1]
OFTEN = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
ODD = st.sampled_from(
    [None, True, -1, 2**63, 2**64, 10**400, 1.5, float("inf"), float("nan"), "", "\ud83d", "--5",
     "007", "x" * 3000, "a\nb", "\0", [], [1], ["a"], [[1]], {}, {"a": 1}, {"bytes": None},
     {"bytes": "x", "path": 3}, [None], "../x", "/etc/passwd"]
)  # fmt: skip
JSON = ODD | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside),
    max_leaves=5,
)
COLUMNS = {
    "null": pa.nulls(2),
    "bool": pa.array([True, None]),
    "int8": pa.array([-1, 5], pa.int8()),
    "uint64": pa.array([2**64 - 1, 0], pa.uint64()),
    "half": pa.array([1.0, 2.5], pa.float32()),
    "nan": pa.array([float("nan"), float("inf")]),
    "decimal": pa.array([1, 2]).cast(pa.decimal128(30, 2)),
    "string": pa.array(["a", None]),
    "long string": pa.array(["x" * 3000, None]),
    "long path": pa.array([{"bytes": None, "path": "x" * 3000}, {"bytes": None, "path": "y"}]),
    "view": pa.array(["a", ""], pa.string_view()),
    "large": pa.array(["a", "b"], pa.large_string()),
    "binary": pa.array([b"\xff", IMAGE]),
    "binary view": pa.array([IMAGE, b""], pa.binary_view()),
    "fixed": pa.array([b"ab", b"cd"], pa.binary(2)),
    "date": pa.array([0, 99999999], pa.int32()).cast(pa.date32()),
    "time": pa.array([0, 2**62]).cast(pa.timestamp("s", "Mars/Olympus")),
    "span": pa.array([1, 2], pa.duration("ns")),
    "list": pa.array([[1], [1, 2]]),
    "texts": pa.array([["a"], []]),
    "lists": pa.array([[[1]], None]),
    "fixed list": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
    "struct": pa.array([{"bytes": IMAGE, "path": "x"}, {"bytes": None, "path": "/etc/passwd"}]),
    "other struct": pa.array([{"a": 1}, None]),
    "nested bytes": pa.array([{"bytes": [1]}, {"bytes": None}]),
    "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int8())),
    "dictionary": pa.array(["a", None]).dictionary_encode(),
    "dictionary of lists": pa.DictionaryArray.from_arrays(pa.array([0, 0]), pa.array([[1]])),
    "run ends": pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array([7])),
}
"""A column of two rows of every Arrow kind."""


def holds(read):
    """Read; an error of ours is an answer, too."""
    try:
        return read()
    except CurateError as error:
        assert len(str(error)) < 2000
        return None


def entries(source, **options):
    found = holds(lambda: list(open_source(source, **options).entries()))
    assert found is None or all(type(entry.data) is bytes for entry in found)
    return found


def stored(path, columns):
    try:
        pq.write_table(pa.table(columns), path)
    except (pa.ArrowException, TypeError):
        pytest.skip("parquet cannot hold this")


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("name", ["label", "image", "note"])
def test_parquet_of_every_arrow_kind(tmp_path, kind, name):
    columns = {"image": pa.array([IMAGE, IMAGE]), "label": pa.array([0, 1]), name: COLUMNS[kind]}
    stored(tmp_path / "train.parquet", columns)
    found = entries(f"hf:{tmp_path}")
    named = entries(f"hf:{tmp_path}", label="label", image="image")
    for samples in (found, named) if name == "note" else ():
        # A column that nobody reads does no harm, whatever it holds.
        assert [(entry.data, entry.label) for entry in samples] == [(IMAGE, 0), (IMAGE, 1)]
    columns = {"file_name": pa.array(["a.jpg", "b.jpg"]), "label": pa.array([0, 1])}
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.jpg").write_bytes(IMAGE)
    for column in (name, "file_name"):
        stored(tmp_path / "m" / "metadata.parquet", columns | {column: COLUMNS[kind]})
        entries(f"folder:{tmp_path / 'm'}")


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("name", ["uid", "memorization", "se", "label", "key", "shard"])
def test_scores_of_every_arrow_kind(tmp_path, kind, name):
    columns = {"uid": pa.array(["a", "b"]), "memorization": pa.array([1.0, 2.0])}
    stored(tmp_path / "s.parquet", columns | {name: COLUMNS[kind]})
    found = holds(lambda: read_scores(tmp_path / "s.parquet", "memorization"))
    assert found is None or found.num_rows == 2


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("name", ["uid", "embedding", "other"])
def test_embeddings_of_every_arrow_kind(tmp_path, kind, name):
    columns = {"uid": pa.array(["a", "b"]), "embedding": pa.array([[1.0], [2.0]])}
    stored(tmp_path / "e.parquet", columns | {name: COLUMNS[kind]})

    uids = pa.chunked_array([["a", "b"]])
    found = holds(
        lambda: read_embeddings(tmp_path / "e.parquet", "uid", uids, {"uid": pa.array(["a", "b"])})
    )
    assert found is None or len(found) == 2


@pytest.mark.parametrize(
    "text", ["uid,uid,memorization\na,b,1\n", "uid\n", "", "\xff", "uid,memorization\na,x\n"]
)
def test_scores_in_a_csv(tmp_path, text):
    (tmp_path / "s.csv").write_text(text, encoding="latin-1")
    assert holds(lambda: read_scores(tmp_path / "s.csv", "memorization")) is None


@OFTEN
@example("x" * 3000, None, None)
@example("x" * 3000, {}, None)
@given(JSON, JSON, JSON)
def test_lines_of_json(name, label, more):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.jpg").write_bytes(IMAGE)
        for row in ({"file_name": name, "label": label}, {"file_name": "a.jpg", "label": label,
                                                           "more": more}, label):  # fmt: skip
            (Path(folder) / "metadata.jsonl").write_text(json.dumps(row) + "\n")
            found = entries(f"folder:{folder}")
            assert found is None or len(found) <= 1


@OFTEN
@given(st.text(max_size=60), st.text(max_size=20))
def test_csvs(text, label):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.jpg").write_bytes(IMAGE)
        for content in (text, f"file_name,label\na.jpg,{label}\n"):
            (Path(folder) / "metadata.csv").write_bytes(content.encode("utf-8", "surrogatepass"))
            found = entries(f"folder:{folder}")
            assert found is None or len(found) <= 1


@OFTEN
@given(JSON, JSON, st.binary(max_size=30), st.text(max_size=30))
def test_members_of_tars(label, content, cls, pax):
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(Path(folder) / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
            pieces = {
                "1.jpg": IMAGE,
                "1.json": json.dumps({"label": label, "x": content}).encode(),
                "2.jpg": IMAGE,
                "2.cls": cls,
                "3.jpg": IMAGE,
                "3.json": json.dumps(content).encode(),
            }
            for name, data in pieces.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                info.pax_headers = {"comment": pax, "mtime": pax}
                try:
                    archive.addfile(info, io.BytesIO(data))
                except UnicodeEncodeError:
                    info.pax_headers = {}
                    archive.addfile(info, io.BytesIO(data))
        for options in ({}, {"label": "x"}, {"label": "none"}, {"image": "jpg"}):
            entries(f"wds:{folder}", **options)


@OFTEN
@example("x" * 3000, "backbone")
@given(JSON, st.sampled_from(["backbone", "size", "channels", "patch", "encoder", "all"]))
def test_configs_of_encoders(value, key):
    good = {"backbone": "convnet", "size": 8, "channels": 1, "patch": None}
    config = {"encoder": {**good, key: value}}
    if key in ("encoder", "all"):
        config = {"encoder": value} if key == "encoder" else value
    with tempfile.TemporaryDirectory() as folder:
        save_file({"x": torch.zeros(1)}, Path(folder) / "weights.safetensors")
        (Path(folder) / "config.json").write_text(json.dumps(config))
        assert holds(lambda: load_encoder(Path(folder))) is None


KEYS = st.sampled_from(["name", "data", "data.source", "plan", "plan.kind", "train.lr", "views",
                        "encoder.method", "data.size", "probe.sources", "x"])  # fmt: skip


@OFTEN
@example("x" * 3000, "data.source")
@example("x" * 3000, "encoder.method")
@given(JSON, KEYS)
def test_recipes_of_every_json_kind(value, key):
    content = recipe_files.composed(recipe_files.find("digits"))
    holds(lambda: recipe.build(content, {key: value}, where="a test"))


@OFTEN
@given(st.text(max_size=40), KEYS)
def test_values_of_set(text, key):
    content = recipe_files.composed(recipe_files.find("digits"))
    holds(lambda: recipe.build(content, {key: text}, where="a test"))


@OFTEN
@given(st.text(max_size=60))
def test_files_of_recipes(text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        holds(lambda: recipe.load_recipe(str(path)))
