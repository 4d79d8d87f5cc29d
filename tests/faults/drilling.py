"""What drills share: typing a command in a forked child, and comparing what it left."""

import hashlib
import itertools
import json
import os
import queue
import random
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import curate

HERE = Path(__file__).parent
AT_A_TIME = 2


# Typing a command


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (or minus its signal), and what it printed."""

    code: int | None
    out: str
    err: str
    seconds: float = 0.0
    memory: int | None = None
    pid: int | None = None

    def __str__(self):
        return f"exit {self.code}: {self.err.strip()[-600:]}"


class Zygote:
    """The other end of zygote.py."""

    def __init__(self):
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(curate.__file__).parents[1]),
            # What a drill compares must not hang on how many threads there are.
            **{f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")},
        }
        self._process = subprocess.Popen(
            [sys.executable, HERE / "zygote.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        assert "ready" in self._answer(), "the zygote did not start"

    def type(self, folder, *arguments, **request):
        """Type ``curate ARGUMENTS`` in ``folder``; see zygote.py for what a request can say."""
        told = {"arguments": [str(a) for a in arguments], "cwd": str(folder)}
        return self._ended({**told, **request})

    def go_on(self, number):
        """Send a signal to a command that stopped at an event, and wait for its end."""
        return self._ended({"go_on": number})

    def close(self):
        """End the process."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _ended(self, request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        out, err = answer["out"], answer["err"]
        if answer.get("stopped"):
            return Ended(None, out, err, pid=answer["pid"])
        assert not answer["hung"], f"hung: {request}\n{err}"
        return Ended(answer["code"], out, err, answer["seconds"], answer["memory"])

    def _answer(self):
        line = self._process.stdout.readline()
        assert line, "the zygote died"
        return json.loads(line)


class Zygotes:
    """Several zygotes, and a thread for each."""

    def __init__(self, n=AT_A_TIME):
        with ThreadPoolExecutor(n) as pool:
            self._all = list(pool.map(lambda _: Zygote(), range(n)))
        self._free = queue.SimpleQueue()
        for zygote in self._all:
            self._free.put(zygote)
        self.tell = lambda text: None

    def type(self, folder, *arguments, **request):
        """Type one command."""
        return self.map(lambda zygote, _: zygote.type(folder, *arguments, **request), [None])[0]

    def pair(self):
        """Return two zygotes, for commands at the same time."""
        return self._all[0], self._all[1]

    def map(self, drill, items, what=None):
        """Return ``drill(zygote, item)`` of every item, in order."""
        items = list(items)

        def work(numbered):
            number, item = numbered
            zygote = self._free.get()
            try:
                return drill(zygote, item)
            finally:
                self._free.put(zygote)
                if what and number % 20 == 19:
                    self.tell(f"{what}: {number + 1} of {len(items)}")

        with ThreadPoolExecutor(len(self._all)) as pool:
            return list(pool.map(work, enumerate(items)))

    def close(self):
        """End them."""
        for zygote in self._all:
            zygote.close()


# Moments


@dataclass(frozen=True)
class Moment:
    """When a command is killed: so many seconds after it began, or just before an event."""

    seconds: float | None = None
    event: int | None = None

    def request(self, number):
        """Return what the zygote is told, to send signal ``number``."""
        if self.event is not None:
            return {"die_event": self.event}
        return {"signals": [[self.seconds, int(number)]]}


def times(name, n, seconds):
    """Return ``n`` seeded moments over the time that a command takes undisturbed.

    One is drawn from each of ``n`` equal stretches: a command that is faster the next time is
    still interrupted by the early ones.
    """
    drawn = random.Random(name)
    return [Moment(seconds=(k + drawn.random()) / n * seconds) for k in range(n)]


def events(name, n, count, first=1):
    """Return ``n`` seeded moments, each before another event of ``first`` to ``count``.

    One is drawn from each of ``n`` equal stretches, so that none is left out.
    """
    drawn, n = random.Random(name), min(n, count - first + 1)
    bounds = [first + (count - first + 1) * k // n for k in range(n + 1)]
    return [Moment(event=drawn.randrange(*pair)) for pair in itertools.pairwise(bounds)]


# What is there

UNTIMED = "attempt", "checksum", "command", "images_per_second", "seconds"
"""What two runs of the same may differ in: times, and what was typed."""
CLOCK = re.compile(
    rb'aria-label="Time: .*?</table>'
    rb'|<td data-value="[^"]*" class="n"><bdi>[\d,.]+(?: |\xc2\xa0)(?:s|min|h)</bdi></td>',
    re.DOTALL,
)
"""What a report says of times: a table, and a cell of every encoder."""


def snapshot(folder):
    """Return a digest of every file below ``folder`` by its path, but for times of the clock.

    Left out are locks, and what a killed process was writing outside of a run, which nobody sweeps
    up; within a run the next command does.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        stray = name.endswith(".tmp") and not name.startswith("runs/")
        if path.is_file() and path.name not in (".lock", ".owner.json") and not stray:
            found[name] = hashlib.sha256(_without_times(path)).hexdigest()
    return found


def _without_times(path):
    data = path.read_bytes()
    try:
        if path.name == "log.jsonl":
            return _plain([_untimed(json.loads(line)) for line in data.splitlines()])
        records = "records" in path.parts or path.name in ("run.json", "record.json")
        if path.suffix == ".json" and records:
            return _plain(_untimed(json.loads(data)))
    except ValueError:
        return data
    if path.name == "report.html":
        return CLOCK.sub(b"", data)
    return data


def _plain(content):
    return json.dumps(content, sort_keys=True).encode()


def _untimed(content):
    """Return JSON without times, and without the digests of files that hold times."""
    if isinstance(content, list):
        return [_untimed(item) for item in content]
    if not isinstance(content, dict):
        return content
    return {
        key: None if key.endswith("log.jsonl") else _untimed(value)
        for key, value in content.items()
        if key not in UNTIMED
    }


def differing(here, there):
    """Return the names at which two snapshots differ."""
    return sorted(n for n in {*here, *there} if here.get(n) != there.get(n))


def copied(source, to):
    """Copy a folder of files; those that are links to one file are that in the copy, too."""
    first = {}

    def copy(file, target):
        inode = os.lstat(file).st_ino
        if inode in first and not Path(file).is_symlink():
            os.link(first[inode], target)
        else:
            shutil.copy2(file, target, follow_symlinks=False)
            first[inode] = target

    shutil.copytree(source, to, symlinks=True, copy_function=copy)
    return to
