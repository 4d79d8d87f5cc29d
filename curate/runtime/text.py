"""Text for people: names from outside as text that only shows, and times."""

from __future__ import annotations

import reprlib
import unicodedata
from typing import Any

LONGEST = 80
"""Characters of a value that a message shows."""


def visible(text: str) -> str:
    """Return text as one line, its control, format and direction marks spelled out as escapes.

    A name can then neither break a line, nor reorder what stands beside it, nor give orders to a
    terminal.
    """
    return "".join(f"\\u{ord(c):04x}" if _hidden(c) else c for c in text)


def visible_lines(text: str) -> str:
    """Return lines of text, each as ``visible`` gives it."""
    return "\n".join(visible(line) for line in text.split("\n"))


def short(value: Any) -> str:
    """Return a value as Python writes it, cut: it may be as long, or as deep, as anybody likes."""
    try:
        text = _SHORT.repr(value)
    except Exception:  # what is outside may hold anything, such as a number of too many digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = LONGEST
_SHORT.maxlevel = 3


def _hidden(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "C" or category in ("Zl", "Zp")


def duration(seconds: float) -> str:
    """Return a time in the largest unit of which there are two or more, e.g. ``2.5 h``."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds * 1000:.0f} ms"
