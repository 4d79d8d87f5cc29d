"""Units of work that the tests of engines do; a module, so that other processes find them."""

import os
import signal
import time
from pathlib import Path

from curate.runtime import signals
from curate.runtime.progress import Together, silent


def run(engine, units, folder, report=silent):
    """Have an engine do units, as a stage does."""
    engine.run(units, Together("work", "units", len(units), report), Path(folder))


def until(there, seconds=60.0):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


def write(path, text, progress):
    progress("work", 0, 2)
    path.write_text(f"{text} {os.getpid()}")
    progress("work", 2, 2)


def fail(error, progress):
    raise error


def die(path, times, how, progress):
    """End this process by a signal, as often as is asked for."""
    (path / f"{os.getpid()}").touch()
    if len(list(path.iterdir())) <= times:
        os.kill(os.getpid(), how)
        time.sleep(30)


def hold(path, progress):
    """Work until it is stopped, and say by what."""
    with signals.held("a step") as work:
        progress("held", 0, 1)
        (path / "begun").touch()
        while work.wanted is None:
            time.sleep(0.02)
        (path / "stored").write_text(signal.Signals(work.wanted).name)


def in_two(path, progress):
    """Be stopped in the middle, and go on from there the second time."""
    if (path / "stored").exists():
        (path / "done").touch()
    else:
        hold(path, progress)
