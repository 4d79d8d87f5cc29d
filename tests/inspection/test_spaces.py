"""Spaces: what inspect.encoder may name, and embeddings that somebody else made."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from curate.data.canvas import Canvas
from curate.errors import DataError, UsageError
from curate.inspection import spaces
from curate.inspection.config import InspectConfig
from curate.runs.recipe import load_recipe
from curate.runs.run import Run
from curate.runtime.files import write_json
from curate.runtime.progress import silent
from tests.command import TINY, curate

pytestmark = pytest.mark.numeric

UIDS = pa.chunked_array([[f"{i:032x}" for i in (5, 3, 9, 1)]])
ROWS = np.array([3, 1, 0])  # of the index: 1, 3 and 5


def given(path):
    canvas = Canvas(np.zeros((4, 1, 2, 2), np.uint8), np.array(UIDS.to_pylist(), dtype="S32"))
    space = spaces.space_of(InspectConfig(encoder=str(path)), ["fold0"])
    assert space.kind == "file"
    return spaces.embeddings(space, None, canvas, UIDS, ROWS, "cpu", silent)


def test_a_plan_is_asked_first():
    assert spaces.space_of(InspectConfig(encoder=None), ["f", "g"]) == spaces.Space("plan", "f")
    assert spaces.space_of(InspectConfig(encoder="g"), ["f", "g"]) == spaces.Space("plan", "g")
    with pytest.raises(UsageError, match=r"unknown inspect.encoder 'h'.*timm:NAME"):
        spaces.space_of(InspectConfig(encoder="h"), ["f", "g"])


def test_rows_of_an_array_are_those_of_the_index(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(8).reshape(4, 2))
    assert given(tmp_path / "x.npy").tolist() == [[6, 7], [2, 3], [0, 1]]
    assert given(tmp_path / "x.npy").dtype == np.float32


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.list_(pa.float32(), 2)])
def test_rows_of_a_table_are_found_by_their_uid(tmp_path, kind):
    values = pa.array([[1, 1], [3, 3], [5, 5], [8, 8]], kind)
    table = pa.table({"uid": [f"{i:032x}" for i in (1, 3, 5, 8)], "vector": values})
    pq.write_table(table, tmp_path / "x.parquet")
    assert given(tmp_path / "x.parquet").tolist() == [[1, 1], [3, 3], [5, 5]]


def test_an_array_that_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "x.npy"
    with pytest.raises(UsageError, match="there is no file"):
        given(path)
    for array in (np.zeros((3, 2)), np.zeros(4), np.array([["a"]] * 4)):
        np.save(path, array)
        with pytest.raises(DataError, match="4 rows of numbers are needed"):
            given(path)
    np.save(path, np.array([{}] * 4, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot read embeddings"):
        given(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="cannot read embeddings"):
        given(path)


def test_a_table_that_does_not_fit_is_refused(tmp_path):
    path, names = tmp_path / "x.parquet", [f"{i:032x}" for i in (1, 3, 5)]
    for columns, said in (
        ({"name": names, "v": [[1.0]] * 3}, "needs a column 'uid'"),
        ({"uid": names, "v": [1.0] * 3}, "one column of lists"),
        ({"uid": names, "v": [[1.0]] * 3, "w": [[1.0]] * 3}, "one column of lists"),
        ({"uid": names[:2], "v": [[1.0]] * 2}, "lacks 1 samples"),
        ({"uid": names, "v": [[1.0], [1.0, 2.0], [1.0]]}, "different lengths"),
        ({"uid": names, "v": [["a"]] * 3}, "holds no numbers"),
    ):
        pq.write_table(pa.table(columns), path)
        with pytest.raises(DataError, match=said):
            given(path)
    path.write_bytes(b"no table")
    with pytest.raises(DataError, match="cannot read embeddings"):
        given(path)


def test_a_network_that_timm_does_not_have_is_named():
    with pytest.raises(UsageError, match="Did you mean 'resnet18'"):
        spaces.space_of(InspectConfig(encoder="timm:resnet18x"), ["f"])


def test_a_pretrained_network_takes_grey_images_of_any_size(monkeypatch):
    import timm

    made = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, pretrained, **k: made(*a, **k))
    space = spaces.space_of(InspectConfig(encoder="timm:test_resnet"), ["f"])
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, 20, 20), np.uint8)
    canvas = Canvas(pixels, np.array(UIDS.to_pylist(), dtype="S32"))
    torch.manual_seed(0)
    found = spaces.embeddings(space, None, canvas, UIDS, ROWS, "cpu", silent)
    torch.manual_seed(0)
    again = spaces.embeddings(space, None, canvas, UIDS, ROWS[::-1], "cpu", silent)
    assert found.shape[0] == 3
    assert np.ptp(found, axis=0).max() > 0
    np.testing.assert_allclose(found, again[::-1], atol=1e-5)


def inspected(runs):
    """Inspect the tiny run and return what is printed."""
    result = curate("inspect", "tiny", "--runs", runs, "--json", "--device", "cpu")
    assert result.code == 0, result.err
    return json.loads(result.out)


def test_a_run_may_be_inspected_in_each_of_them(tiny_runs, tmp_path):
    own = inspected(tiny_runs)
    uids = pq.read_table(tiny_runs / "tiny" / "shards" / "index.parquet")["uid"]
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(len(uids), 3)))
    for name, kind, dim in (
        (str(tiny_runs / "tiny" / "encoders" / "fold0"), "saved", own["space"]["dim"]),
        (str(tmp_path / "x.npy"), "file", 3),
    ):
        recipe = load_recipe(str(TINY), {"inspect.encoder": name})
        run = Run(tiny_runs / "tiny", recipe)
        write_json(run.path / "run.json", {**run.facts(), "recipe": recipe.resolved()})
        facts = inspected(tiny_runs)
        assert facts["space"] == {"kind": kind, "name": name, "dim": dim}
        same = facts["mean_outlier_score"] == own["mean_outlier_score"]
        assert same == (kind == "saved")
    # The file changed: what was made from it is made anew.
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=(len(uids), 3)))
    assert inspected(tiny_runs)["relations"] != facts["relations"]
