"""Settings of probes and comparisons."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, field_validator, model_serializer

from curate.errors import unknown
from curate.runtime.settings import Positive, Section
from curate.selection.strategies import STRATEGIES


class CompareConfig(Section):
    """Retraining on selections of equal size; ``remove`` empty skips it."""

    remove: tuple[Positive, ...] = ()
    strategies: tuple[str, ...] = ("top", "random")
    seeds: Positive = 2
    budget: Literal["epochs", "steps"] = "epochs"
    redraw: bool = False
    """Whether every seed ranks anew, by repeats of the plan that no other seed ranks by."""

    @model_serializer(mode="wrap")
    def _without_default_redraw(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the default out: runs made before it was there have the same fingerprint."""
        content: dict[str, Any] = handler(self)
        if not self.redraw:
            del content["redraw"]
        return content

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
