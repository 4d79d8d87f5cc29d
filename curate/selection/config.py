"""Settings of a selection."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator, model_validator

from curate.errors import unknown
from curate.runtime.settings import Fraction, Positive, Section, checked
from curate.selection.strategies import STRATEGIES


class SelectConfig(Section):
    """The selection that ``curate run`` makes."""

    LATER = ("by",)

    strategy: str = "top"
    by: Literal["memorization", "expected"] = "memorization"
    """The column of a run's scores that is selected by."""
    count: Positive | None = None
    fraction: Fraction | None = None
    unscored: Literal["keep", "drop"] | None = None
    seed: int = 0

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

    @model_validator(mode="after")
    def _one_size(self) -> SelectConfig:
        if (self.count is None) == (self.fraction is None):
            raise ValueError("give exactly one of count and fraction")
        return self
