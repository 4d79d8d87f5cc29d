"""One tiny finished run that several tests share, and the table of faults at the end."""

import shutil

import pytest

from tests.command import TINY, curate
from tests.faults.recording import RECORDER, machine


def pytest_addoption(parser):
    """Add the options of tests/faults; here, so that they are known wherever pytest begins."""
    parser.addoption("--drills", type=int, default=20, help="drills of each stage in tests/faults")
    parser.addoption("--write-table", metavar="PAGE", help="page to put the table of faults into")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Add what a worker of pytest-xdist counted to the table of faults."""
    RECORDER.add(getattr(node, "workeroutput", {}).get("faults", {}))


def pytest_sessionfinish(session):
    """Hand what was counted to the process that began this one."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["faults"] = RECORDER.plain()


def pytest_terminal_summary(terminalreporter, config):
    """Print the tables of faults, and write them where they are wanted."""
    tables = RECORDER.tables()
    for name, table in tables.items():
        terminalreporter.section(f"faults: {name}")
        terminalreporter.write_line(table)
    page = config.getoption("write_table")
    if page and tables:
        command = f"python -m pytest tests/faults --drills {config.getoption('drills')}"
        RECORDER.write(page, f"`{command}` on {machine()}:")


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
