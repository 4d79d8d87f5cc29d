"""One process at a time holds a run; a dead one is not obeyed, another machine's can be taken."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from curate.errors import InUseError
from curate.runs.lock import in_use, locked
from curate.runs.run import set_aside
from curate.runtime.files import read_json, write_json

HOLD = """
import socket, sys
from pathlib import Path
from curate.runs.lock import locked
if len(sys.argv) > 2:
    socket.sethostname(sys.argv[2])
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
ELSEWHERE = ("unshare", "--uts", "--pid", "--fork", "--kill-child")
"""What another machine is made of here: its own name, and its own numbers of processes."""


def has_other_machines():
    try:
        return subprocess.run([*ELSEWHERE, "true"], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


other_machine = pytest.mark.skipif(not has_other_machines(), reason="needs root, and unshare")


def holder(path, *host):
    command = [*(ELSEWHERE if host else ()), sys.executable, "-c", HOLD, str(path), *host]
    made = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert made.stdout.readline() == b"held\n"
    return made


def end(process):
    process.stdin.close()
    assert process.wait(30) == 0
    process.stdout.close()


def test_a_second_process_is_refused_and_a_dead_owner_is_not_obeyed(tmp_path):
    write_json(tmp_path / "r" / "run.json", {})
    path = tmp_path / "r"
    first = holder(path)
    since = r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\); wait for it, or stop it\.$"
    with pytest.raises(InUseError, match=rf"in use \(process {first.pid} on .* {since}"):
        locked(path).__enter__()
    assert in_use(path)
    with pytest.raises(InUseError):
        set_aside(path)
    first.kill()
    first.wait()
    first.stdin.close()
    first.stdout.close()
    assert (path / ".owner.json").exists() and not in_use(path)
    with locked(path):
        assert read_json(path / ".owner.json")["pid"] == os.getpid()
    assert not (path / ".owner.json").exists()


@other_machine
def test_the_lock_of_another_machine_is_told_and_can_be_taken(tmp_path):
    first = holder(tmp_path, "node7")
    with pytest.raises(InUseError, match="on node7 since") as refused:
        locked(tmp_path).__enter__()
    named = re.search(r"If it is dead for good, delete (\S+) and type", str(refused.value))
    Path(named[1]).unlink()
    with locked(tmp_path):
        mine = read_json(tmp_path / ".owner.json")
        assert mine["pid"] == os.getpid()
        # It was not dead after all: what it ends with says nothing of who holds the run now.
        end(first)
        assert read_json(tmp_path / ".owner.json") == mine
        with pytest.raises(InUseError, match=f"process {os.getpid()} on"):
            locked(tmp_path).__enter__()


def test_an_owner_that_cannot_be_read_is_not_named(tmp_path):
    first = holder(tmp_path)
    (tmp_path / ".owner.json").write_text("{")
    with pytest.raises(InUseError, match="in use; wait for it"):
        locked(tmp_path).__enter__()
    first.kill()
    first.wait()
    first.stdin.close()
    first.stdout.close()
