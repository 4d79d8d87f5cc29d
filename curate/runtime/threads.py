"""Threads: of torch for a while, and many items on as many as there are cores, in their order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

GROUP = 32
GROUP_BYTES = 2**22
"""A thread takes this many items or bytes at a time: handing over a small image costs as much as
decoding it."""


def cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def torch_threads(number: int, device: str) -> Iterator[None]:
    """Have torch compute with ``number`` threads while a block runs, if ``device`` is a CPU.

    Afterwards it computes with as many as before: a unit of work may run within a longer process,
    whose other work it is not to slow down.
    """
    import torch

    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_order(
    work: Callable[[In], Out], items: Iterable[In], *, size: Callable[[In], int]
) -> Iterator[Out]:
    """Yield ``work(item)`` in the order of ``items``, a few ahead, on as many threads as cores.

    Pillow decodes outside the interpreter's lock, so threads are enough. The caller's is one of
    them: it would only wait, and a thread more than there are cores is in the way of the others.

    Args:
        work: What to do with an item; an error that it raises is raised here.
        items: Consumed as results are taken.
        size: Bytes that an item holds.
    """

    def together(group: list[In]) -> list[Out]:
        return [work(item) for item in group]

    waiting: deque[tuple[Future[list[Out]], list[In]]] = deque()

    def first() -> list[Out]:
        while not waiting[0][0].done():
            for place, (future, group) in enumerate(waiting):
                if future.cancel():  # that nobody has begun
                    waiting[place] = (_done(together, group), group)
                    break
            else:
                break
        return waiting.popleft()[0].result()

    with ThreadPoolExecutor(max(1, cores() - 1)) as pool:
        try:
            for group in _groups(items, size):
                waiting.append((pool.submit(together, group), group))
                if len(waiting) > 2 * cores():
                    yield from first()
            while waiting:
                yield from first()
        finally:
            for future, _ in waiting:
                future.cancel()


def _done(work: Callable[[list[In]], list[Out]], group: list[In]) -> Future[list[Out]]:
    """Do it here and now; an error keeps its place in the order, too."""
    future: Future[list[Out]] = Future()
    try:
        future.set_result(work(group))
    except Exception as error:
        future.set_exception(error)
    return future


def _groups(items: Iterable[In], size: Callable[[In], int]) -> Iterator[list[In]]:
    group: list[In] = []
    held = 0
    for item in items:
        group.append(item)
        held += size(item)
        if len(group) == GROUP or held >= GROUP_BYTES:
            yield group
            group, held = [], 0
    if group:
        yield group
