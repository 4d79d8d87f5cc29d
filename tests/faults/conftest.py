"""What drills share: the table of faults, the zygotes, and the stages as they go undisturbed."""

import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from tests.faults.drilling import Zygotes
from tests.faults.line import Line
from tests.faults.recording import RECORDER
from tests.rendered import mixed


def pytest_collection_modifyitems(items):
    """Keep drills in one process, and leave them out where there is no fork, RLIMIT and /proc."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("faults"))
            if not sys.platform.startswith("linux"):
                item.add_marker(pytest.mark.skip(reason="drills need Linux"))


@pytest.fixture(scope="session")
def drills(request):
    """How many drills of each stage."""
    return request.config.getoption("drills")


@pytest.fixture
def faults():
    """The table of faults; the test fails if something was lost, undetected or run."""
    RECORDER.bad = []
    yield RECORDER
    assert not RECORDER.bad, "\n".join(RECORDER.bad)


@pytest.fixture(scope="session")
def home():
    """A folder for what drills make; not pytest's, which only its owner may enter."""
    path = Path(tempfile.mkdtemp(prefix="drills-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def zygotes(request):
    """Processes that type commands."""
    made = Zygotes()
    reporter = request.config.pluginmanager.getplugin("terminalreporter")
    if reporter and request.config.getoption("drills") > 20:
        made.tell = lambda text: reporter.write_line(text)
    yield made
    made.close()


@pytest.fixture(scope="session")
def images(home):
    """A folder of 40 labelled images of mixed formats; read only."""
    folder = home / "images"
    for i, (name, data) in enumerate(mixed(40)):
        path = folder / "abc"[i % 3] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture(scope="session")
def line(zygotes, home, images):
    """The stages as they go undisturbed."""
    return Line(zygotes, home / "line", images)


@pytest.fixture
def place(home, request):
    """A new folder for the drills of one test, removed after it."""
    path = Path(tempfile.mkdtemp(prefix=f"{request.node.originalname}-", dir=home))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
