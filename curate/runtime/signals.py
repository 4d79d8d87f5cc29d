"""Stopping: a signal is obeyed at once, or at the end of what must not be cut in the middle."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

PATIENCE = 1.0
"""Seconds after which a signal is answered that is not obeyed yet."""


class Stopped(BaseException):
    """SIGINT or SIGTERM arrived; not an Exception, so that nothing swallows it.

    Attributes:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Held:
    """Work that is stopped between its steps only; ``wanted`` tells it to.

    Attributes:
        what: What is finished first, for people.
        wanted: The signal that came; None before one did.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.wanted: int | None = None


_holding: list[Held] = []


def obey(number: int) -> None:
    """Stop this process's work on behalf of signal ``number``; what is held is asked to end.

    Raises:
        Stopped: If nothing is held.
    """
    if not _holding:
        raise Stopped(number)
    for work in _holding:
        work.wanted = number


def answer() -> None:
    """Say what is being finished where a signal is not obeyed within ``PATIENCE``.

    A handler in Python has to wait for a long computation in another language, and workers for the
    end of their steps; a thread does not. To be called once, by the main thread.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def wait() -> None:
        while os.read(reader, 1)[0] not in (signal.SIGINT, signal.SIGTERM):
            pass
        time.sleep(PATIENCE)
        what = _holding[-1].what if _holding else "what is being computed"
        # Not print: the main thread may be in the middle of it.
        os.write(2, f"stopping: {what} is finished first.\n".encode())

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Keep Ctrl-C from processes that are started in a block, until they ``leave_it``.

    It reaches the whole group, and Python would answer it with a traceback while it imports.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_it() -> None:
    """Leave Ctrl-C to the process that started this one (``starting``), which decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextlib.contextmanager
def held(what: str) -> Iterator[Held]:
    """Hold signals back while a block runs, which looks at ``wanted`` now and then.

    Args:
        what: What is finished first, for people.

    Raises:
        Stopped: At the end of the block, if a signal came.
    """
    work = Held(what)
    _holding.append(work)
    try:
        yield work
    finally:
        _holding.remove(work)
    if work.wanted is not None:
        raise Stopped(work.wanted)
