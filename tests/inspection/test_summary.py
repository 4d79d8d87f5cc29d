"""What ``inspect.json`` holds is what an inspection returns, and where the table is."""

import json

import curate
from curate.runs.run import Run


def test_an_inspection_is_what_its_file_holds(tiny_runs):
    run = Run.open(tiny_runs / "tiny")
    content = curate.inspect(run, device="cpu").to_json()
    assert content.pop("path") == str(run.path / "inspect.parquet")
    assert content == json.loads((run.path / "inspect.json").read_text())
