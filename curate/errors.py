"""Errors a user can cause: one tree, one exit code a class, each message says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CurateError(Exception):
    """Base of every error that curate raises on purpose; its message is shown without traceback."""

    exit_code = 1


class UsageError(CurateError):
    """A command, option, recipe key or name that cannot be understood (exit 2)."""

    exit_code = 2


class DataError(CurateError):
    """Images, labels, shards or tables that are missing or broken (exit 3)."""

    exit_code = 3


class MismatchError(CurateError):
    """Things that do not belong together, such as a manifest and another dataset (exit 4)."""

    exit_code = 4


class InUseError(CurateError):
    """Another process works on the same run (exit 5)."""

    exit_code = 5


class ResourceError(CurateError):
    """No space, no permission, no memory, or a missing optional package (exit 6)."""

    exit_code = 6


class DivergedError(CurateError):
    """A training diverged, or its representations collapsed (exit 7)."""

    exit_code = 7


class UnreliableError(CurateError):
    """A ranking is less reliable than it was required to be (exit 8)."""

    exit_code = 8


def unknown(
    kind: str, name: str, choices: Iterable[str], *, listed_by: str | None = None
) -> UsageError:
    """Return the error for a name that is not registered, offering the nearest one.

    Args:
        kind: What the name stands for, e.g. ``"method"``.
        name: What the user typed.
        choices: Every registered name.
        listed_by: The command that lists them, where they are too many for a message.
    """
    known = sorted(choices)
    name = name if len(name) <= 80 else f"{name[:77]}..."
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    all_of_them = f"'{listed_by}' lists all." if listed_by else f"Known: {', '.join(known)}."
    return UsageError(f"unknown {kind} {name!r}.{hint} {all_of_them}")
