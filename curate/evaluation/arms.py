"""Arms: what a comparison trains on, by the names that a user gives them.

``all`` is every sample; ``NAME`` a strategy; ``COLUMN`` the highest by a number, and
``NAME:COLUMN`` a strategy by it (``bottom:el2n``); ``random-matched:ARM`` is like another arm;
``FILE.parquet`` is a manifest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curate.errors import UsageError, unknown
from curate.selection.columns import COLUMNS, column_of, file_of
from curate.selection.selection import describe
from curate.selection.strategies import STRATEGIES

ALL, CONTROL, MATCHED = "all", "random", "random-matched"
"""Everything, the arm that the others are compared with, and the one that is like another."""
MANIFEST = ".parquet"


@dataclass(frozen=True)
class Wanted:
    """One arm.

    Attributes:
        name: As it was given.
        strategy: A name in ``STRATEGIES``; None for a manifest, and for everything.
        by: The number that the strategy goes by.
        like: Name of the arm that it is like.
    """

    name: str
    strategy: str | None
    by: str = "memorization"
    like: str | None = None

    @property
    def is_manifest(self) -> bool:
        """Whether it is what a manifest keeps."""
        return self.strategy is None and self.name != ALL

    @property
    def needs(self) -> frozenset[str]:
        """What it is chosen by, as a strategy says."""
        return frozenset() if self.strategy is None else STRATEGIES[self.strategy].needs

    def label(self, kept: int, scored: int) -> str:
        """Return it in plain words."""
        if self.strategy is None:
            kind = f"manifest {Path(self.name).stem}, " if self.is_manifest else "all "
            return f"{kind}{kept:,}"
        text = describe(self.strategy, kept, scored, action=True, by=self.by)
        if self.like is not None and self.like != "top":
            text += f" to {self.like}"
        by_number = self.strategy in ("ccs", "d2") and self.by != "memorization"
        return f"{text} of {self.by}" if by_number else text


def wanted(name: str) -> Wanted:
    """Return the arm of a name.

    Raises:
        UsageError: If nothing has that name; the nearest is offered.
    """
    if name == ALL or name.endswith(MANIFEST):
        return Wanted(name, None)
    if name in STRATEGIES:
        return Wanted(name, name, like="top" if name == MATCHED else None)
    if file_of(name) is not None or name.replace("-", "_") in COLUMNS:
        return Wanted(name, "top", column_of(name))
    strategy, colon, argument = name.partition(":")
    if colon and strategy in STRATEGIES:
        if strategy == MATCHED:
            other = wanted(argument)
            if other.strategy is None or other.like is not None or argument == CONTROL:
                raise UsageError(f"{name}: name a strategy or a column that it is to be like.")
            return Wanted(name, strategy, like=argument)
        if "scores" not in STRATEGIES[strategy].needs:
            raise UsageError(f"{name}: {strategy} goes by no number.")
        return Wanted(name, strategy, column_of(argument))
    raise unknown("strategy", name, [*STRATEGIES, ALL, *COLUMNS, "MANIFEST.parquet"])
