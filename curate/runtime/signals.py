"""Stopping: a signal is obeyed at once, or at the end of what must not be cut in the middle."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class Stopped(BaseException):
    """SIGINT or SIGTERM arrived; not an Exception, so that nothing swallows it.

    Attributes:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Held:
    """Work that is stopped between its steps only; ``wanted`` tells it to."""

    wanted: int | None = None


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


@contextlib.contextmanager
def held() -> Iterator[Held]:
    """Hold signals back while a block runs, which looks at ``wanted`` now and then.

    Raises:
        Stopped: At the end of the block, if a signal came.
    """
    work = Held()
    _holding.append(work)
    try:
        yield work
    finally:
        _holding.remove(work)
    if work.wanted is not None:
        raise Stopped(work.wanted)
