"""Settings of probes and comparisons."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from curate.evaluation.arms import wanted
from curate.runtime.settings import Positive, Section


class CompareConfig(Section):
    """Retraining on selections of equal size; ``remove`` empty skips it.

    ``strategies`` are arms, as ``evaluation/arms.py`` has them.
    """

    LATER = ("redraw", "pool", "space")

    remove: tuple[Positive, ...] = ()
    strategies: tuple[str, ...] = ("top", "random")
    seeds: Positive = 2
    budget: Literal["epochs", "steps"] = "epochs"
    pool: str | None = None
    """The encoder of the plan whose samples are all that there is to train on; null takes the
    dataset."""
    space: str | None = None
    """Where strategies choose that look at how samples lie: as in ``inspect.encoder``, which null
    takes."""
    redraw: bool = False
    """Whether every seed ranks anew, by repeats of the plan that no other seed ranks by."""

    @field_validator("strategies")
    @classmethod
    def _known_strategies(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(wanted(name).name for name in names)


class ProbeConfig(Section):
    """Downstream measurements of an encoder."""

    sources: tuple[str, ...] = ("self",)
    """``self`` (the run's own labels), any SOURCE, or SOURCE=DIR for one that lies in DIR."""
    kinds: tuple[Literal["linear", "knn"], ...] = ("linear", "knn")
