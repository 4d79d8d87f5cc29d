"""Attempts at a unit do not meet: one wins, whole, and its name is in the record."""

import os
import re
import subprocess
import sys

from curate.runs import units
from curate.runs.attempts import FOLDER, attempting
from curate.runs.recipe import load_recipe
from curate.runs.run import Run
from curate.runtime.files import write_text
from tests.command import TINY


def unit_of(tmp_path):
    run = Run.create(tmp_path / "runs" / "tiny", load_recipe(str(TINY)), {})
    return units.Unit(run, "train/f", {"made": "here"})


def fill(attempt, text):
    for name in ("weights.safetensors", "config.json"):
        write_text(attempt.folder / "encoders" / "f" / name, text)


def test_of_two_attempts_at_a_time_the_first_that_is_whole_wins(tmp_path):
    unit = unit_of(tmp_path)
    place = unit.run.path / "encoders" / "f"
    with attempting(unit) as slow:
        write_text(slow.folder / "encoders" / "f" / "config.json", "slow")
        with attempting(unit) as fast:
            fill(fast, "fast")
            assert not place.exists()
            assert fast.complete("cpu", seconds=1)
        fill(slow, "slow")
        assert not slow.complete("cpu", seconds=9)
    assert {path.name: path.read_text() for path in place.iterdir()} == {
        "weights.safetensors": "fast",
        "config.json": "fast",
    }
    record = unit.intact()
    assert record["attempt"] == fast.name and record["seconds"] == 1
    assert re.fullmatch(rf".+\.[0-9a-f]{{8}}-{os.getpid()}-[0-9a-f]{{8}}", fast.name)
    assert [path.name for path in (unit.run.path / FOLDER).iterdir()] == [".lock"]


def test_an_attempt_that_ends_in_an_error_leaves_nothing(tmp_path):
    unit = unit_of(tmp_path)
    try:
        with attempting(unit) as attempt:
            fill(attempt, "half")
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert unit.done() is None and not attempt.folder.exists()
    assert not (unit.run.path / "encoders").exists()


KILLED = """
import os, sys
from pathlib import Path
from curate.runs import units
from curate.runs.attempts import attempting
from curate.runs.run import Run
from curate.runtime.files import write_text
unit = units.Unit(Run.open(Path(sys.argv[1])), "train/f", {"made": "here"})
with attempting(unit) as attempt:
    write_text(attempt.folder / "encoders/f/config.json", "half")
    os._exit(9)
"""


def test_what_a_killed_attempt_leaves_is_swept_up_and_a_live_one_is_not(tmp_path):
    unit = unit_of(tmp_path)
    ended = subprocess.run([sys.executable, "-c", KILLED, str(unit.run.path)], check=False)
    assert ended.returncode == 9
    assert len(list((unit.run.path / FOLDER).iterdir())) == 1
    with attempting(unit) as live:
        fill(live, "live")
        with unit.run.lock():
            left = [path.name for path in (unit.run.path / FOLDER).iterdir()]
        assert left == [live.folder.name]
        assert live.complete()
    assert unit.intact()["attempt"] == live.name
