"""How stages work: device, workers, where the data lies, and whom to tell of progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from curate.errors import UsageError, unknown
from curate.runs.recipe import Recipe
from curate.runs.run import Run
from curate.runtime.progress import Progress, silent
from curate.runtime.threads import cores


@dataclass(frozen=True)
class Context:
    """How to work, as opposed to what to make: nothing here changes an artefact's meaning.

    Attributes:
        device: ``auto``, ``cpu`` or ``cuda``.
        workers: Trainings side by side; None takes the cores over the recipe's threads on CPU and
            one on CUDA.
        data: Where the recipe's source lies on this machine.
        progress: Progress callback.
    """

    device: str = "auto"
    workers: int | None = None
    data: Path | None = None
    progress: Progress = field(default=silent, compare=False)

    @classmethod
    def of(
        cls,
        run: Run | None,
        data: str | Path | None,
        device: str,
        workers: int | None,
        progress: Progress,
    ) -> Context:
        """Return how to work on a run; its images are where they were, or at ``data``."""
        place = data or (run.facts().get("data_path") if run else None)
        return cls(device, workers, Path(place) if place else None, progress)

    def resolved_device(self) -> str:
        """Return ``cpu`` or ``cuda``.

        Raises:
            UsageError: For another name, or if CUDA is asked for and not there.
        """
        if self.device not in ("auto", "cpu", "cuda"):
            raise unknown("device", self.device, ("auto", "cpu", "cuda"))
        cuda = torch.cuda.is_available()
        if self.device == "cuda" and not cuda:
            raise UsageError("--device cuda: no CUDA device is visible; 'curate doctor' tells why.")
        return ("cuda" if cuda else "cpu") if self.device == "auto" else self.device

    def training_workers(self, recipe: Recipe) -> int:
        """Return how many trainings run side by side."""
        if self.workers is not None:
            return self.workers
        if self.resolved_device() != "cpu":
            return 1
        return max(1, cores() // recipe.train.threads)
