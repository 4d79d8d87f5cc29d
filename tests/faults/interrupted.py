"""A stage that is interrupted and typed again: what it may leave, and what it has to make."""

import json
import shutil
import signal
import tarfile

import pyarrow.parquet as pq
from safetensors import safe_open

from curate.runtime.files import file_sha256
from tests.faults.drilling import copied, differing, snapshot


def moving(name):
    """Whether a file changes while a stage goes on, and is thus neither the old nor the new one."""
    return name.endswith("/run.json") or "/cache/states/" in name or name.endswith(".unfinished")


def part_of(name):
    """Whether a file is still being written, which its name says."""
    return any(p.startswith(".") and p.endswith((".tmp", ".part")) for p in name.split("/"))


def broken(path):
    """Return why a file under its final name cannot be used, or None."""
    try:
        if path.suffix == ".parquet":
            pq.read_table(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".jsonl":
            [json.loads(line) for line in path.read_text().splitlines()]
        elif path.suffix == ".tar":
            with tarfile.open(path) as archive:
                archive.getmembers()
        elif path.suffix == ".safetensors":
            with safe_open(path, "pt") as tensors:
                [tensors.get_tensor(key) for key in tensors.keys()]  # noqa: SIM118
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def partial(folder, undisturbed):
    """Return what stands under a final name and is neither what was there nor what is to be."""
    found = []
    for name, digest in snapshot(folder).items():
        if part_of(name):
            continue
        known = (undisturbed.start.get(name), undisturbed.after.get(name))
        why = broken(folder / name)
        if why or not (moving(name) or digest in known):
            found.append(f"{name} ({why or 'neither old nor new'})")
    return found


def unrecorded(folder):
    """Return the files whose size or digest is not what the record of their unit says."""
    wrong = []
    for path in folder.glob("runs/*/records/**/*.json"):
        run = folder.joinpath(*path.relative_to(folder).parts[:2])
        for name, made in json.loads(path.read_text())["outputs"].items():
            file = run / name
            if (file.stat().st_size, file_sha256(file)) != (made["bytes"], made["sha256"]):
                wrong.append(name)
    return wrong


def drill(
    zygote,
    undisturbed,
    work,
    interrupt,
    *,
    expected=(-signal.SIGKILL,),
    second=None,
    look=None,
):
    """Interrupt a stage, type it again, and return (how the first ended, what went wrong).

    Args:
        zygote: What types it.
        undisturbed: The stage.
        work: New folder to do it in.
        interrupt: What the zygote is told besides.
        expected: Exit codes of the interrupted command, besides 0.
        second: What is typed again, if that is something else.
        look: Called with the folder after the interruption.
    """
    request = undisturbed.request
    copied(undisturbed.before, work)
    first = zygote.type(work, *undisturbed.arguments, **request, **interrupt)
    wrong = partial(work, undisturbed)
    if wrong:
        return first, f"partial files after it: {wrong}"
    if first.code not in (0, *expected):
        return first, f"the first command: {first}"
    if look:
        look(work)
    last = zygote.type(work, *(second or undisturbed.arguments), **request)
    if last.code != 0 and not _already_there(last):
        return first, f"the second command: {last}"
    gone = differing(snapshot(work), undisturbed.after)
    if gone:
        return first, f"differs from an undisturbed one: {gone}"
    if unrecorded(work):
        return first, f"not what its record says: {unrecorded(work)}"
    shutil.rmtree(work)
    return first, None


def _already_there(last):
    """Whether a command that made its result, and was killed after its last step, finds it."""
    return last.code == 2 and ("is already there" in last.err or "is not empty" in last.err)
