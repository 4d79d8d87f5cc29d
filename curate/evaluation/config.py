"""Settings of probes and comparisons."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from curate.errors import unknown
from curate.runtime.settings import Positive, Section
from curate.selection.strategies import STRATEGIES


class CompareConfig(Section):
    """Retraining on selections of equal size; ``remove`` empty skips it."""

    LATER = ("redraw",)

    remove: tuple[Positive, ...] = ()
    strategies: tuple[str, ...] = ("top", "random")
    seeds: Positive = 2
    budget: Literal["epochs", "steps"] = "epochs"
    redraw: bool = False
    """Whether every seed ranks anew, by repeats of the plan that no other seed ranks by."""

    @field_validator("strategies")
    @classmethod
    def _known_strategies(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in STRATEGIES:
                raise unknown("strategy", name, STRATEGIES)
        return names


class ProbeConfig(Section):
    """Downstream measurements of an encoder."""

    sources: tuple[str, ...] = ("self",)
    """``self`` (the run's own labels) or any SOURCE."""
    kinds: tuple[Literal["linear", "knn"], ...] = ("linear", "knn")
