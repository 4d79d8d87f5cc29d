"""Units of work on this machine: in this process, or in several that are reused."""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import ResourceError
from curate.runtime import signals
from curate.runtime.engines.base import GRACE, Unit, portable
from curate.runtime.options import option
from curate.runtime.progress import Progress, Together


@dataclass(frozen=True)
class Local:
    """Processes of this machine.

    Attributes:
        workers: How many at a time. One unit, or one worker, is this process.
        begin: What a worker process does first, such as taking a card: each one of them, in turn.
            Nothing is done by it here.
    """

    workers: int = 1
    begin: Sequence[Callable[[], object]] = ()

    def run(self, units: Sequence[Unit], report: Together, folder: Path) -> None:
        """Do units; with one worker here, in order. Nothing is kept in ``folder``.

        Raises:
            CurateError: The first error of a unit; the other processes are stopped.
            ResourceError: If a process was killed.
        """
        workers = min(self.workers, len(units))
        if workers <= 1:
            for unit in units:
                unit.function(**unit.arguments, progress=_named(unit.name, report))
                report.finish(unit.name)
            return
        context = mp.get_context("spawn")
        # Queues that buffer here: a pipe is full after 64 KiB of units, before any worker reads.
        tasks: Any = context.Queue()
        events: Any = context.Queue()
        for unit in units:
            tasks.put(unit)
        for _ in range(workers):
            tasks.put(None)
        begin = self.begin
        processes = [
            context.Process(
                target=_work,
                args=(tasks, events, os.getpid(), begin[i % len(begin)] if begin else None),
                daemon=True,
            )
            for i in range(workers)
        ]
        try:
            with signals.starting():
                for process in processes:
                    process.start()
            _follow(processes, events, len(units), report)
        finally:
            tasks.cancel_join_thread()
            _end([process for process in processes if process.pid is not None])


def _named(name: str, report: Together) -> Progress:
    """Return a callback for what one unit reports."""

    def progress(what: str, done: int, total: int) -> None:
        report.tell(name, done, total)

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


def _follow(processes: list[Any], events: Any, left: int, report: Together) -> None:
    """Pass progress on until every unit has finished or one has failed."""
    while left:
        try:
            kind, content = events.get(timeout=0.5)
        except queue.Empty:
            dead = [p.exitcode for p in processes if p.exitcode not in (None, 0)]
            if dead and dead[0] == -signal.SIGKILL:
                raise ResourceError(
                    "a worker process was killed, probably for want of memory; lower "
                    f"{option(workers=...)} or train.batch_size, and type the same command again."
                ) from None
            if dead:
                raise RuntimeError(f"a worker process ended with code {dead[0]}") from None
            continue
        if kind == "progress":
            report.tell(*content)
        elif kind == "error":
            raise content
        else:
            report.finish(content)
            left -= 1


def _work(tasks: Any, events: Any, parent: int, begin: Callable[[], object] | None = None) -> None:
    """Do units until there are none; a unit's error ends the worker."""
    signals.leave_it()
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
    threading.Thread(target=die_with, args=(parent,), daemon=True).start()
    if begin is not None:
        begin()
    while (unit := tasks.get()) is not None:
        if _arrived:  # it came while a library was imported that swallows everything
            raise signals.Stopped(_arrived[0])

        def progress(what: str, done: int, total: int, name: str = unit.name) -> None:
            events.put(("progress", (name, done, total)))

        try:
            unit.function(**unit.arguments, progress=progress)
        except Exception as error:
            events.put(("error", portable(unit.name, error)))
            return
        events.put(("done", unit.name))


_arrived: list[int] = []
"""The signal that this worker was sent."""


def _stop(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    _arrived.append(number)
    signals.obey(number)


def die_with(parent: int) -> None:
    """End this worker when its parent is gone, so that no orphan works on an unlocked run."""
    while os.getppid() == parent:
        time.sleep(0.5)
    with contextlib.suppress(ProcessLookupError):
        os.kill(os.getpid(), signal.SIGKILL)
