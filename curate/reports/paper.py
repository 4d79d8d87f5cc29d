"""What arXiv 2401.12233 reports, as plain data: ``paper.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from curate.errors import unknown
from curate.runtime.yaml_text import read_yaml


@dataclass(frozen=True)
class Row:
    """A row of a table, or a point of a figure.

    Attributes:
        row: Its name.
        figures: What the paper has, as text, by quantity; None where it draws a curve.
        recipe: What makes the runs that are held against it; None where nothing does.
        overrides: ``{"section.key": value}`` upon the recipe.
        other: A second recipe, where a figure is of two.
        at: Which test, group, arm, epoch or threshold of a run.
        remark: What stands in the place of ours; None where that is read from runs.
    """

    row: str
    figures: Mapping[str, str | None]
    recipe: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    other: str | None = None
    at: Mapping[str, Any] = field(default_factory=dict)
    remark: str | None = None


@dataclass(frozen=True)
class PaperTable:
    """A table or a figure.

    Attributes:
        name: ``1`` to ``17``, ``fig-2`` to ``fig-7``.
        title: What it shows.
        rows: In the paper's order.
        says: What must be known to read it, of the paper or of ours.
        fixed: Settings in which no run may differ from its recipe.
        remarks: What stands in the place of ours, by quantity.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    says: str | None = None
    fixed: tuple[str, ...] = ()
    remarks: Mapping[str, str] = field(default_factory=dict)

    def remark(self, row: Row, quantity: str) -> str | None:
        """Return what stands in the place of ours; None where that is read from runs."""
        return row.remark or self.remarks.get(quantity)


@cache
def tables() -> dict[str, PaperTable]:
    """Return every table and figure by its name, in the paper's order."""
    text = (Path(__file__).parent / "paper.yaml").read_text(encoding="utf-8")
    return {
        name: PaperTable(
            name,
            content["title"],
            tuple(
                Row(**{("overrides" if key == "set" else key): value for key, value in row.items()})
                for row in content["rows"]
            ),
            content.get("says"),
            tuple(content.get("fixed", ())),
            content.get("remarks", {}),
        )
        for name, content in read_yaml(text).items()
    }


def table_of(name: str) -> PaperTable:
    """Return a table or figure by its name.

    Raises:
        UsageError: If there is none of that name; the nearest is offered.
    """
    known = tables()
    if name not in known:
        raise unknown("table", name, known)
    return known[name]
