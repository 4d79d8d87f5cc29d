"""Files: the figures and tables of a report, one each, for a paper or a script."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.reports import words
from curate.reports.drawing import Drawn
from curate.reports.tables import Table
from curate.runtime.files import replacing, write_text

TABLES = (
    *("tests", "groups", "triage", "relations", "labels", "samples", "agreements", "selections"),
    *("probes", "data", "times", "savings", "encoders", "versions"),
)
"""Tables of a report's content, by the names of their files."""
RANGE = re.compile(r"[-+]?[0-9.,]+( to [-+]?[0-9.,]+)?( %| [a-z]+)?")
"""Numbers that are text, such as an interval."""


def write(folder: Path, content: Mapping[str, Any], formats: Sequence[str]) -> None:
    """Write every figure as ``png`` or ``svg`` and every table as ``csv``, as asked.

    Args:
        folder: Where to; made if it is not there.
        content: What the page shows.
        formats: Of these; others are left to others.
    """
    for drawn in _figures(content):
        if "svg" in formats:
            write_text(folder / f"{drawn.name}.svg", drawn.svg_file())
        if "png" in formats:
            with replacing(folder / f"{drawn.name}.png") as temporary:
                temporary.write_bytes(drawn.png_file())
    if "csv" in formats:
        for name, table in _tables(content):
            write_text(folder / f"{name}.csv", table_text(table))


def _figures(content: Mapping[str, Any]) -> Iterator[Drawn]:
    captioned = [*content["figures"]]
    captioned += [content["agreement"]] if content["agreement"] else []
    captioned += [figure for item in content["comparisons"] for figure in item["figures"]]
    for drawn, _, _ in captioned:
        yield drawn


def _tables(content: Mapping[str, Any]) -> Iterator[tuple[str, Table]]:
    for name in TABLES:
        if content[name]:
            yield name, content[name]
    for item in content["comparisons"]:
        for part in ("differences", "arms"):
            if item[part] and item[part][2]:
                yield f"{item['name']}-{part}", item[part]


def table_text(table: Table) -> str:
    """Return a table as csv: numbers as numbers, units in the head of their column."""
    _, head, rows, _ = table
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    titles = []
    for k, title in enumerate(head):
        units = {cell.unit for row in rows if isinstance(cell := row[k], words.Number)} - {""}
        unit = units.pop() if len(units) == 1 else ""
        titles.append(_plain(f"{title} ({unit})" if unit and unit not in title else title))
    writer.writerow(titles)
    writer.writerows([_cell(cell) for cell in row] for row in rows)
    return out.getvalue()


def _cell(cell: str) -> str:
    if not isinstance(cell, words.Number):
        text = _plain(cell)
        # A spreadsheet would take such a name for a formula.
        return (
            f"'{text}" if text[:1] in ("=", "+", "-", "@") and not RANGE.fullmatch(text) else text
        )
    if cell.value is None:
        return ""
    return str(int(cell.value)) if cell.value == int(cell.value) else repr(cell.value)


def _plain(text: str) -> str:
    """Return a text without the marks that only make it look well."""
    return "" if text == "–" else text.replace(words.NBSP, " ").replace("−", "-")
