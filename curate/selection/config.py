"""Settings of a selection."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator, model_validator

from curate.errors import unknown
from curate.runtime.settings import Fraction, Positive, Section, checked
from curate.selection.columns import column_of
from curate.selection.strategies import STRATEGIES


class SelectConfig(Section):
    """The selection that ``curate run`` makes."""

    LATER = ("by", "space", "match", "drop", "copies", "per_class", "always", "never")

    strategy: str = "top"
    by: str = "memorization"
    """What is selected by: a column of the scores, measures or inspection of a run, or
    FILE:COLUMN of a parquet or csv with ``uid`` or ``path``."""
    count: Positive | None = None
    fraction: Fraction | None = None
    unscored: Literal["keep", "drop"] | None = None
    seed: int = 0
    space: str | None = None
    """Where strategies choose that look at how samples lie: as in ``inspect.encoder``, which null
    takes."""
    match: str | None = None
    """The manifest that ``random-matched`` is like: a path, or a name in the run."""
    drop: tuple[Literal["tail", "broken", "redundant", "typical", "duplicates", "leaks"], ...] = ()
    """Kinds of samples that are left out beforehand: by the triage of ``curate inspect``, or copies
    but the largest of each group, or what has a copy in another split."""
    copies: str | None = None
    """The folder of ``curate copies`` that says which are copies; null takes the inspection."""
    per_class: bool = False
    """Whether each class keeps its part."""
    always: str | None = None
    """A text file of uids or paths that are kept whatever the strategy says; they count."""
    never: str | None = None
    """The same of such as are dropped."""

    @classmethod
    def of(cls, **settings: Any) -> SelectConfig:
        """Return the settings of a selection that is asked for beside the recipe's.

        Raises:
            UsageError: If a value does not fit, or not exactly one of count and fraction is given.
        """
        return checked(cls, settings)

    @field_validator("strategy")
    @classmethod
    def _known_strategy(cls, name: str) -> str:
        if name not in STRATEGIES:
            raise unknown("strategy", name, STRATEGIES)
        return name

    @field_validator("by")
    @classmethod
    def _known_column(cls, by: str) -> str:
        return column_of(by)

    @model_validator(mode="after")
    def _one_size(self) -> SelectConfig:
        if (self.count is None) == (self.fraction is None):
            raise ValueError("give exactly one of count and fraction")
        if self.copies is not None and not {"duplicates", "leaks"} & {*self.drop}:
            raise ValueError("copies goes with drop: duplicates or leaks")
        if "like" in STRATEGIES[self.strategy].needs and self.match is None:
            raise ValueError(
                f"{self.strategy} is like a selection: say which by match (a manifest)"
            )
        return self
