"""Budget: how many bytes of decoded pixels all threads together may hold at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Budget:
    """Room that threads share. Who asks for more than there is gets it alone."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.held = 0
        self._free = threading.Condition()
        self._mine = threading.local()

    @contextlib.contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Hold ``size`` bytes while the block runs; wait until there is room.

        Within the block the same thread is given more without waiting: it would wait for itself.
        """
        if getattr(self._mine, "inside", False):
            yield
            return
        with self._free:
            self._free.wait_for(lambda: not self.held or self.held + size <= self.size)
            self.held += size
        self._mine.inside = True
        try:
            yield
        finally:
            self._mine.inside = False
            with self._free:
                self.held -= size
                self._free.notify_all()
