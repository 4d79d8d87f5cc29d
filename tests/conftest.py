"""One tiny finished run that several tests share."""

import shutil

import pytest
from command import TINY, curate


@pytest.fixture(scope="session")
def tiny_made(tmp_path_factory):
    """The result of ``curate run tests/tiny.yaml``, and the folder of runs it is in; read only."""
    runs = tmp_path_factory.mktemp("runs")
    return curate("run", TINY, "--runs", runs, "--workers", "1", "--device", "cpu"), runs


@pytest.fixture
def tiny_runs(tiny_made, tmp_path):
    """A folder of runs that holds a copy of the tiny run, to do with as a test likes."""
    runs = tmp_path / "runs"
    shutil.copytree(tiny_made[1], runs)
    return runs
