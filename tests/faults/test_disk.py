"""A full disk and a read-only folder: exit 6, what was there before is intact, and it goes on."""

import random
import shutil
import subprocess

import pytest

from tests.faults.drilling import copied, differing, snapshot
from tests.faults.interrupted import partial, unrecorded
from tests.faults.line import STAGES

ROOM = 48 * 2**20
"""Bytes of the file system that is filled up."""


@pytest.fixture
def small_disk(place):
    """A file system of its own; None where this process may not mount one."""
    disk = place / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    yield disk if mounted else None
    if mounted:
        subprocess.run(["umount", str(disk)], check=True)


def fails_and_goes_on(zygote, undisturbed, work, break_, mend, *, arguments=None, **request):
    """Type a command on a broken disk, mend it and type it again.

    Returns:
        (exit code of the first, what went wrong or None).
    """
    request = {**undisturbed.request, **request}
    arguments = arguments or undisturbed.arguments
    copied(undisturbed.before, work)
    break_()
    first = zygote.type(work, *arguments, **request)
    mend()
    if first.code not in (0, 6):
        return first.code, f"the first command: {first}"
    if first.code == 6 and "rror: " not in first.err:
        return first.code, f"no word of it: {first}"
    wrong = partial(work, undisturbed)
    if wrong:
        return first.code, f"partial files: {wrong}"
    if first.code == 6:
        last = zygote.type(work, *arguments, **undisturbed.request)
        if last.code != 0:
            return first.code, f"the second command: {last}"
    gone = differing(snapshot(work), undisturbed.after)
    if gone or unrecorded(work):
        return first.code, f"differs from an undisturbed one: {gone}"
    shutil.rmtree(work)
    return first.code, None


def count(ended, faults, what):
    """Count drills; returns how many were refused."""
    for moment, (code, wrong) in ended:
        if wrong:
            faults.lost("disk", f"{what}, {moment}: {wrong}")
        elif code == 6:
            faults.detected("disk")
        else:
            faults.survived("disk")
    return sum(code == 6 for _, (code, _) in ended)


def largest(undisturbed):
    """Return the sizes of the files that a stage makes."""
    folder, new = undisturbed.folder, undisturbed.after
    made = [n for n in new if undisturbed.start.get(n) != new[n]]
    return sorted((folder / name).stat().st_size for name in made)


# The whole line is its stages; what fills up in one of them is the same.
@pytest.mark.parametrize("name", [name for name in STAGES if name != "run"])
def test_a_file_that_may_not_grow(name, line, zygotes, faults, drills, place):
    """A limit on the size of files stands for a full disk where none can be mounted."""
    undisturbed = line[name]
    sizes = largest(undisturbed)
    drawn = random.Random(f"limit {name}")
    limits = [0, *(drawn.randrange(sizes[-1]) for _ in range(max(1, drills // 20)))]

    def go(zygote, numbered):
        number, limit = numbered
        return fails_and_goes_on(
            zygote,
            undisturbed,
            place / f"{number}",
            lambda: None,
            lambda: None,
            limits={"FSIZE": limit},
        )

    ended = list(zip(limits, zygotes.map(go, enumerate(limits), f"limit {name}"), strict=True))
    assert count(ended, faults, f"{name}, file size") == len(limits)


@pytest.mark.parametrize("name", STAGES)
def test_a_disk_that_is_full(name, line, zygotes, faults, drills, place, small_disk):
    if small_disk is None:
        pytest.skip("a file system cannot be mounted here; the limit on file sizes stands for it")
    undisturbed = line[name]
    needed, drawn = sum(largest(undisturbed)), random.Random(f"full {name}")
    left = [0, *(drawn.randrange(needed) for _ in range(max(1, drills // 20)))]
    filler, refused = small_disk / "filler", []

    def fill(free):
        used = shutil.disk_usage(small_disk)
        with filler.open("wb") as stream:
            stream.write(bytes(max(0, used.free - free)))

    def go(zygote, numbered):
        number, free = numbered
        work = small_disk / f"{number}"
        return fails_and_goes_on(zygote, undisturbed, work, lambda: fill(free), filler.unlink)

    for item in enumerate(left):
        # One after the other: they share the disk.
        refused += [(left[item[0]], zygotes.map(go, [item])[0])]
        for rest in small_disk.iterdir():
            shutil.rmtree(rest) if rest.is_dir() else rest.unlink()
    assert count(refused, faults, f"{name}, full disk")


@pytest.mark.parametrize("name", STAGES)
def test_a_folder_that_is_read_only(name, line, zygotes, faults, place):
    undisturbed, work = line[name], place / "work"

    def modes(mode):
        for path in [work, *(p for p in work.rglob("*") if p.is_dir())]:
            path.chmod(mode)

    def go(zygote, _):
        return fails_and_goes_on(
            zygote, undisturbed, work, lambda: modes(0o555), lambda: modes(0o755), obey_modes=True
        )

    assert count([("read only", zygotes.map(go, [None])[0])], faults, name) == 1
