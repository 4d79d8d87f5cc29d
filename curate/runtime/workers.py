"""Units of work on this machine: in this process, or in several that are reused."""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from curate.errors import CurateError, ResourceError
from curate.runtime import signals
from curate.runtime.progress import Progress, Together, silent

GRACE = 60.0
"""Seconds that a worker has to store what it is at when it is stopped."""


@dataclass(frozen=True)
class Unit:
    """One unit of work: a module-level function and its arguments.

    The function also gets ``report``. It must be idempotent and leave its result on disk.
    """

    name: str
    function: Callable[..., None]
    arguments: dict[str, Any] = field(default_factory=dict)


def run_units(
    units: Sequence[Unit],
    workers: int,
    progress: Progress = silent,
    *,
    what: str = "work",
    of: str = "units",
    begin: Sequence[Callable[[], object]] = (),
) -> None:
    """Run units, at most ``workers`` at a time; what a unit makes does not depend on their number.

    Args:
        units: What to do. With one worker they run here, in order.
        workers: Processes to use.
        progress: Progress callback; gets what the units report, together.
        what: What the work is called in it, such as ``train``.
        of: What each unit makes, in the plural.
        begin: What a worker process does first, such as taking a card: each one of them, in turn.
            Nothing is done by it here.

    Raises:
        CurateError: The first error of a unit; the other processes are stopped.
        ResourceError: If a process was killed.
    """
    workers = min(workers, len(units))
    together = Together(what, of, len(units), progress)
    if workers <= 1:
        for unit in units:
            unit.function(**unit.arguments, progress=_named(unit.name, together))
            together.finish(unit.name)
        return
    context = mp.get_context("spawn")
    # Queues that buffer here: a pipe is full after 64 KiB of units, before any worker reads.
    tasks: Any = context.Queue()
    events: Any = context.Queue()
    for unit in units:
        tasks.put(unit)
    for _ in range(workers):
        tasks.put(None)
    processes = [
        context.Process(
            target=_work,
            args=(tasks, events, os.getpid(), begin[i % len(begin)] if begin else None),
            daemon=True,
        )
        for i in range(workers)
    ]
    try:
        for process in processes:
            process.start()
        _follow(processes, events, len(units), together)
    finally:
        tasks.cancel_join_thread()
        _end([process for process in processes if process.pid is not None])


def _named(name: str, together: Together) -> Progress:
    """Return a callback for what one unit reports."""

    def progress(what: str, done: int, total: int) -> None:
        together.tell(name, done, total)

    return progress


def _end(processes: list[Any]) -> None:
    """Stop workers that still work, and give them time to store how far they are."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + GRACE
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.exitcode is None:
            process.kill()
            process.join()


def _follow(processes: list[Any], events: Any, left: int, together: Together) -> None:
    """Pass progress on until every unit has finished or one has failed."""
    while left:
        try:
            kind, content = events.get(timeout=0.5)
        except queue.Empty:
            dead = [p.exitcode for p in processes if p.exitcode not in (None, 0)]
            if dead and dead[0] == -signal.SIGKILL:
                raise ResourceError(
                    "a worker process was killed, probably for want of memory; lower --workers or "
                    "train.batch_size, and type the same command again."
                ) from None
            if dead:
                raise RuntimeError(f"a worker process ended with code {dead[0]}") from None
            continue
        if kind == "progress":
            together.tell(*content)
        elif kind == "error":
            raise content
        else:
            together.finish(content)
            left -= 1


def _work(tasks: Any, events: Any, parent: int, begin: Callable[[], object] | None = None) -> None:
    """Do units until there are none; a unit's error ends the worker."""
    # Ctrl-C reaches the whole group; the parent decides, and stops the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        signal.signal(signal.SIGTERM, _stop)
        try:
            _go_on(tasks, events, parent, begin)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    except signals.Stopped:  # it may come within the lines above, too
        # Nobody reads any more what is still on its way.
        events.cancel_join_thread()


def _go_on(tasks: Any, events: Any, parent: int, begin: Callable[[], object] | None) -> None:
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    if begin is not None:
        begin()
    while (unit := tasks.get()) is not None:

        def progress(what: str, done: int, total: int, name: str = unit.name) -> None:
            events.put(("progress", (name, done, total)))

        try:
            unit.function(**unit.arguments, progress=progress)
        except Exception as error:
            events.put(("error", _portable(unit.name, error)))
            return
        events.put(("done", unit.name))


def _stop(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    signals.obey(number)


def _portable(name: str, error: Exception) -> Exception:
    """Return an error as one of its kind that can be sent to another process."""
    if isinstance(error, CurateError):
        return type(error)(str(error))
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror, error.filename)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return MemoryError(f"in {name}")
    return RuntimeError(f"{name}: {error}\n{traceback.format_exc()}")


def _die_with(parent: int) -> None:
    """End this worker when its parent is gone, so that no orphan works on an unlocked run."""
    while os.getppid() == parent:
        time.sleep(0.5)
    with contextlib.suppress(ProcessLookupError):
        os.kill(os.getpid(), signal.SIGKILL)
