"""Labels: what a value of another's table means as one, and which column holds them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import DataError, UsageError, unknown
from curate.runtime.options import option
from curate.runtime.text import short

LABEL = "label"
"""The column that is labels without anybody saying so."""
LABEL_NAMES = ("labels", "fine_label", "class", "target", "category", "species", "class_name",
               "label_name", "y")  # fmt: skip
"""Columns that are labels where their type is one and they are the only one; see ``forms``."""
NONE = "none"
"""What is said instead of a column where there are no labels."""
LARGEST = 2**63 - 1
SHOWN = 4
"""Columns that a line names."""
DIGITS = 19
"""Of the largest label."""

_WHOLE = re.compile(r"[-+]?(0|[1-9]\d*)")
_FLOAT = re.compile(r"[-+]?\d+\.\d*(e[-+]?\d+)?|[-+]?\d+e[-+]?\d+|[-+]?\.\d+", re.IGNORECASE)

Label = int | str | None


def label_of(value: Any) -> Label:
    """Return a value as a label: a number from 0, a name, or None for none.

    Whole floats are numbers, truth values the names ``false`` and ``true``, and a list of one is
    what it holds. Missing, empty, negative and not-a-number ones are none.

    Raises:
        ValueError: If it is none of these; the message says what it is.
    """
    if isinstance(value, list | tuple) and len(value) <= 1:
        return label_of(value[0]) if value else None
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{short(value)} is no text") from error
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if value != value:
            return None
        if not value.is_integer():
            raise ValueError(f"{value!r} is no whole number")
        value = int(value)
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return storable_text(value)
    if not isinstance(value, int):
        raise ValueError(f"{short(value)} is no whole number or name")
    if value > LARGEST:
        raise ValueError(f"{short(str(value)) if value < 10**99 else 'it'} is too large a number")
    return None if value < 0 else value


def storable_text(text: str) -> str:
    """Return text that UTF-8 can hold: half a character is spelled out."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def whole_number(text: str) -> int | None:
    """Return text as a whole number, or None: ``7`` and ``-1``, not ``007`` or ``--5``."""
    if len(text) > DIGITS + 1 or not _WHOLE.fullmatch(text):
        return None
    return int(text)


def of_texts(texts: Iterable[str | None]) -> list[Any]:
    """Return a column of a csv as labels: numbers where all of it are such, else as it stands.

    ``001`` and ``0x1F`` are names, and so are dates; ``1.0`` is 1 where every other is whole.
    """
    column = [None if text is None or not text.strip() else text.strip() for text in texts]
    present = [text for text in column if text is not None]
    if all(whole_number(text) is not None for text in present):
        return [None if text is None else int(text) for text in column]
    if all(whole_number(text) is not None or _FLOAT.fullmatch(text) for text in present):
        return [None if text is None else float(text) for text in column]
    return [None if text is None else text for text in column]


def classes_of(labels: Iterable[Label], where: str) -> tuple[str, ...]:
    """Return the names among labels in order, none where they are numbers.

    Raises:
        DataError: If some are names and some are numbers.
    """
    distinct = set(labels) - {None}
    names = {label for label in distinct if isinstance(label, str)}
    if names and len(names) < len(distinct):
        number = next(label for label in distinct if not isinstance(label, str))
        raise DataError(
            f"{where} mixes labels that are numbers and names ({number} and "
            f"{short(min(names))}); write all of them one way, or name another column: "
            f"{option(label=...)}."
        )
    return tuple(sorted(names))


def class_of(classes: Sequence[str], label: int | None) -> str | None:
    """Return the name of a label; None without a label, or where labels have no names."""
    return classes[label] if label is not None and 0 <= label < len(classes) else None


def class_column(classes: Sequence[str], labels: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return the name of each of some labels (n,), null as in ``class_of``."""
    column = labels if isinstance(labels, pa.Array) else labels.combine_chunks()
    known = pc.and_(pc.greater_equal(column, 0), pc.less(column, len(classes)))
    named = pc.if_else(known, column, pa.scalar(None, pa.int64()))
    return pa.array(classes, pa.string()).take(named)


def forms(name: str) -> tuple[str, ...]:
    """Return a name as columns have it: ``label``, ``Label``, ``LABEL``."""
    return name, name.capitalize(), name.upper()


def candidates(have: Iterable[str]) -> tuple[str | None, list[str]]:
    """Return the column called ``label``, or None, and those that are called as labels may be."""
    names = list(have)
    sure = next((name for name in forms(LABEL) if name in names), None)
    return sure, [name for known in LABEL_NAMES for name in forms(known) if name in names]


def chosen_column(
    requested: str | None, have: Iterable[str], where: str, is_label: Callable[[str], bool]
) -> str | None:
    """Return the column of labels: the one that is said, ``label``, or the only one that can be.

    Args:
        requested: What the user said, or None.
        have: Names of the columns.
        where: What a message calls the table.
        is_label: Whether what a column holds can be labels.

    Raises:
        UsageError: If the one that is said is not there, or several can be meant.
    """
    names = list(have)
    if requested is not None and requested in names:
        return requested
    if requested is not None and requested.lower() == NONE:
        return None
    if requested is not None:
        raise UsageError(f"{option(label=...)}: {unknown(f'column of {where}', requested, names)}")
    sure, others = candidates(names)
    if sure is not None:
        return sure
    can = [name for name in others if is_label(name)]
    if len(can) > 1:
        raise UsageError(
            f"{where} has {len(can)} columns that can be labels, {', '.join(can)}; say which: "
            f"{option(label=can[0])} (elsewhere {option(overrides={'data.label': can[0]})}), or "
            f"{option(label=NONE)}."
        )
    return can[0] if can else None


def none_of(have: Iterable[str]) -> str:
    """Return what is said where no column is taken for labels: which could be named."""
    names = [short(name)[1:-1] for name in have]
    more = ", ..." if len(names) > SHOWN else ""
    if not names:
        return "none"
    return f"none; data.label takes one of {', '.join(names[:SHOWN])}{more}"
