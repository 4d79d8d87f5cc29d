"""Results are frozen, and JSON has their fields in their order."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import DataError
from curate.runtime.results import Result


@dataclass(frozen=True)
class Inner(Result):
    n: int
    path: Path


@dataclass(frozen=True)
class Outer(Result):
    name: str
    parts: tuple[Inner, ...]
    share: np.float64
    rows: pa.Table
    more: dict


def test_a_result_is_json_all_the_way_down():
    made = Outer(
        "x", (Inner(1, Path("a/b")),), np.float64(0.5), pa.table({"u": [1]}), {"k": (1, 2)}
    )
    assert json.dumps(made.to_json()) == (
        '{"name": "x", "parts": [{"n": 1, "path": "a/b"}], "share": 0.5, "rows": [{"u": 1}], '
        '"more": {"k": [1, 2]}}'
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.name = "y"


@dataclass(frozen=True)
class Stored(Result):
    parts: tuple[Inner, ...]
    named: dict[str, Inner | None]
    class_: str | None = None


def test_what_json_holds_is_read_back():
    made = Stored((Inner(1, Path("a")),), {"b": Inner(2, Path("c")), "d": None}, "x")
    content = json.loads(json.dumps(made.to_json()))
    assert content["class"] == "x"
    assert Stored.from_json({**content, "of a later version": 1}) == made
    del content["class"]
    assert Stored.from_json(content) == dataclasses.replace(made, class_=None)


@pytest.mark.parametrize("content", ["{}", '{"n": 1}', '{"n": 1, "path": 3}', "[1]", "", '{"n": 1'])
def test_a_file_that_lacks_a_field_is_bad_data_and_named(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(DataError, match=r"x\.json"):
        Inner.load(tmp_path / "x.json")
    (tmp_path / "x.json").write_text('{"n": 1, "more": 2}')
    assert Inner.load(tmp_path / "x.json", path=tmp_path) == Inner(1, tmp_path)
