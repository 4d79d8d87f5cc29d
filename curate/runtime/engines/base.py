"""What an engine is, what it is given, and how a unit is done on whatever machine."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from curate.errors import CurateError
from curate.runtime import options, signals
from curate.runtime.progress import Progress, Together

log = logging.getLogger("curate")

GRACE = 60.0
"""Seconds that a worker has to store what it is at when it is stopped."""
EVERY = 1.0
"""Seconds between two reports of a unit that another machine works on."""


@dataclass(frozen=True)
class Unit:
    """One unit of work: a module-level function and its arguments.

    The function also gets ``progress``. It must be idempotent, leave its result on disk, and bear
    that it is done twice, at the same time as well (``runs.attempts``).

    Attributes:
        name: For people, and one of its kind in a stage.
        function: What is called.
        arguments: By name.
        key: What shapes the result, as digits; units of equal name and key make the same.
        cpus: Threads that it computes with.
        gpus: Cards that it computes on: 0 or 1.
        typed: Whether a command asked for it, which its errors speak to.
    """

    name: str
    function: Callable[..., None]
    arguments: dict[str, Any] = field(default_factory=dict)
    key: str = ""
    cpus: int = 1
    gpus: int = 0
    typed: bool = field(default_factory=options.are_typed)

    def anywhere(self) -> Unit:
        """Return the unit with paths that lead to the same files from whatever folder."""
        arguments = {
            name: value.absolute() if isinstance(value, Path) else value
            for name, value in self.arguments.items()
        }
        return replace(self, arguments=arguments)


class Engine(Protocol):
    """Where and how units are done. What they make depends on neither."""

    def run(self, units: Sequence[Unit], report: Together, folder: Path) -> None:
        """Do units, in whatever order, and return when all are done.

        Args:
            units: What to do.
            report: Takes in what they report.
            folder: Seen by every machine that works on them; an engine keeps there what it needs.

        Raises:
            CurateError: The first error of a unit, as itself; the others are stopped.
            ResourceError: If the engine is not there, or a worker was lost more often than it may.
            Stopped: If a signal came; what the units were at is stored.
        """


def attempt(unit: Unit, tell: Callable[[int, int], None]) -> Exception | None:
    """Do a unit in this process, far from who asked for it.

    Args:
        unit: What to do.
        tell: Gets steps done and steps in all, every second at most.

    Returns:
        Its error, as one that can be sent; None for none.
    """
    try:
        with options.typed(unit.typed):
            unit.function(**unit.arguments, progress=rarely(tell))
    except Exception as error:
        return portable(unit.name, error)
    return None


@contextlib.contextmanager
def obeying(*numbers: int, when: Callable[[int], bool] = lambda number: True) -> Iterator[None]:
    """Obey some signals while a block runs, and leave them to who had them after that.

    Args:
        numbers: The signals.
        when: Whether one is obeyed; else it is as if it had not come.

    Raises:
        Stopped: If one came that is obeyed.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        if when(number):
            signals.obey(number)

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def rarely(tell: Callable[[int, int], None]) -> Progress:
    """Return a callback for progress that is passed on once in ``EVERY`` seconds, and at the end.

    What cannot be passed on is left out: nobody waits for it.
    """
    told = float("-inf")

    def progress(what: str, done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= EVERY or done == total:
            told = now
            try:
                tell(done, total)
            except Exception as error:
                log.debug("progress is not passed on: %s", error)

    return progress


def portable(name: str, error: Exception) -> Exception:
    """Return the error of a unit as one of its kind that can be sent to another process."""
    if isinstance(error, CurateError):
        return type(error)(str(error))
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror, error.filename)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return MemoryError(f"in {name}")
    return RuntimeError(f"{name}: {error}\n{traceback.format_exc()}")


def main_thread() -> bool:
    """Return whether this is the thread that gets the process' signals."""
    return threading.current_thread() is threading.main_thread()
