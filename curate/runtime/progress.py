"""Progress: long work reports (what, done, total); whoever called decides how to show it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Progress callback: (what, done, total); called often, shown rarely."""


def silent(what: str, done: int, total: int) -> None:
    """Show no progress."""
