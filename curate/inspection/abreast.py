"""Blocks abreast: many small steps on several threads, each of which computes on its own core.

Where every small step is split over the cores, each waits for the last of them, which on a machine
that does other work takes many times as long as the step. Threads that take whole blocks wait for
nothing, and what a block gives does not depend on how many of them there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch

from curate.inspection.neighbours import faiss_library, searcher

In = TypeVar("In")
Out = TypeVar("Out")


class Run(Protocol):
    """A function that does work on many items."""

    def __call__(self, work: Callable[[In], Out], items: Iterable[In], /) -> Iterator[Out]:
        """Yield ``work(item)`` of items in their order, which are taken a few ahead."""


@contextmanager
def abreast(device: str) -> Iterator[Run]:
    """Open as many threads as torch has.

    Until they are closed, torch and FAISS compute on one core in each of them and in the caller's.
    Where the caller stops early, blocks that were begun are finished first, and no other begins.

    Args:
        device: A card takes one block after another, and so does an index on it, whatever is set.

    Raises:
        ResourceError: If FAISS is not installed.
    """
    faiss = faiss_library()
    if device != "cpu" or searcher() != "faiss-cpu":
        yield map
        return

    def alone() -> None:
        # Both hold for the thread that says so; torch also keeps it for threads to come.
        torch.set_num_threads(1)
        faiss.omp_set_num_threads(1)

    number, of_faiss = torch.get_num_threads(), faiss.omp_get_max_threads()
    alone()
    try:
        if number == 1:
            yield map
            return
        with ThreadPoolExecutor(number, "abreast", alone) as pool:
            yield _ahead(pool, 2 * number)
    finally:
        torch.set_num_threads(number)
        faiss.omp_set_num_threads(of_faiss)


def _ahead(pool: ThreadPoolExecutor, most: int) -> Run:
    def run(work: Callable[[In], Out], items: Iterable[In]) -> Iterator[Out]:
        waiting: deque[Future[Out]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > most:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    return run
