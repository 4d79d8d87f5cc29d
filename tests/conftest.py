"""One tiny finished run that several tests share."""

import shutil

import pytest
from command import TINY, curate


def pytest_addoption(parser):
    """Add the options of tests/faults; here, so that they are known wherever pytest begins."""
    parser.addoption("--drills", type=int, default=20, help="drills of each stage in tests/faults")
    parser.addoption("--write-table", metavar="PAGE", help="page to put the table of faults into")


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
