"""Runs that the tests of several stages share."""

import pytest

import curate
from curate.data.shards import writer
from tests.command import TINY


@pytest.fixture
def in_parts(tmp_path, monkeypatch):
    """The tiny run, with 5 shards of up to 17 samples instead of one."""
    monkeypatch.setattr(writer, "SHARD_SAMPLES", 17)
    run = curate.open_run(str(TINY), runs=tmp_path)
    curate.score(run, device="cpu", workers=1)
    return run
