"""How stages work: device, workers, where the data lies, and whom to tell of progress."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from curate.data import addresses
from curate.errors import UsageError, unknown
from curate.runs.recipe import Recipe
from curate.runs.run import Run
from curate.runtime.engines import LOCAL, engine_of
from curate.runtime.engines.base import Engine, Unit
from curate.runtime.engines.local import Local
from curate.runtime.options import option
from curate.runtime.progress import Progress, Together, silent
from curate.runtime.threads import cores
from curate.stages.ranks import Lead


def engine_folder(run: Path) -> Path:
    """Return the folder of a run directory in which engines keep what they need."""
    return run / "cache" / "engine"


@dataclass(frozen=True)
class Context:
    """How to work, as opposed to what to make: nothing here changes an artefact's meaning.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda``, or cards by number: ``cuda:0-7``, ``cuda:0,2``.
        workers: Trainings side by side; None takes the cores over the recipe's threads on CPU, and
            one a card on CUDA.
        data: Where the recipe's source lies on this machine.
        progress: Progress callback.
        engine: Does units; None is this machine's own processes.
        lead: Trains encoders one after the other, each by several processes; None by one.
    """

    device: str = "auto"
    workers: int | None = None
    data: Path | None = None
    progress: Progress = field(default=silent, compare=False)
    engine: Engine | None = field(default=None, compare=False)
    lead: Lead | None = field(default=None, compare=False)

    @classmethod
    def of(
        cls,
        run: Run | None,
        data: str | Path | None,
        device: str,
        workers: int | None,
        progress: Progress,
        engine: str | Engine | None = LOCAL,
        lead: Lead | None = None,
    ) -> Context:
        """Return how to work on a run; its images are where they were, or at ``data``."""
        place = data or (run.facts().get("data_path") if run else None)
        engine_object = engine_of(engine) if isinstance(engine, str) else engine
        return cls(device, workers, addresses.placed(place), progress, engine_object, lead)

    def device_of_units(self) -> str:
        """Return on what units are done, ``cpu`` or ``cuda``; the cards need not be here.

        Raises:
            UsageError: As ``resolved_device``, or if cards are named by number and are elsewhere.
        """
        if self.engine is None:
            return self.resolved_device()
        if ":" in self.device and self.device.startswith("cuda"):
            raise UsageError(
                f"{option(device=self.device)}: cards by number are this machine's; with "
                f"{option(engine=...)} each unit has a card of its own: use "
                f"{option(device='cuda')}."
            )
        return "cuda" if self.device == "cuda" else self.resolved_device()

    def resolved_device(self) -> str:
        """Return ``cpu`` or ``cuda``; of cards by number, the first one is this process' from then.

        What is no unit is done here, on the CPU where only the engine's machines have cards.

        Raises:
            UsageError: For another name, or if CUDA is asked for and not there.
        """
        kind = self.device.partition(":")[0]
        if kind not in ("auto", "cpu", "cuda") or (":" in self.device and kind != "cuda"):
            raise unknown("device", self.device, ("auto", "cpu", "cuda", "cuda:0-7"))
        cuda = torch.cuda.is_available()
        if kind == "cuda" and not cuda and self.engine is not None:
            return "cpu"
        if kind == "cuda" and not cuda:
            raise UsageError(
                f"{option(device=self.device)}: no CUDA device is visible; 'curate doctor' "
                "tells why."
            )
        if ":" in self.device:
            torch.cuda.set_device(self.cards()[0])
        return ("cuda" if cuda else "cpu") if kind == "auto" else kind

    def cards(self) -> tuple[int, ...]:
        """Return the numbers of the cards that are named; (0,) where none is.

        Raises:
            UsageError: If they are not numbers of cards that are there.
        """
        _, colon, numbers_text = self.device.partition(":")
        if not colon:
            return (0,)
        numbers: dict[int, None] = {}
        for part in numbers_text.split(","):
            if not (bounds := re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)):
                raise UsageError(
                    f"{option(device=self.device)}: name cards by number, such as cuda:0-7 or "
                    "cuda:0,2."
                )
            first, last = int(bounds[1]), int(bounds[2] or bounds[1])
            numbers |= dict.fromkeys(range(first, last + 1))
        there = torch.cuda.device_count()
        if not numbers or max(numbers) >= there:
            raise UsageError(
                f"{option(device=self.device)}: cards 0 to {there - 1} are visible; "
                "'curate doctor' names them."
            )
        return tuple(numbers)

    def begin(self) -> list[Callable[[], object]]:
        """Return how each worker process takes a card, in turn; nothing where none is named."""
        if ":" not in self.device:
            return []
        return [functools.partial(torch.cuda.set_device, card) for card in self.cards()]

    def do(self, run: Run, units: Sequence[Unit], workers: int, *, what: str, of: str) -> None:
        """Do units of work of a run, wherever that is; what they make does not depend on it.

        Args:
            run: The run.
            units: What to do.
            workers: How many at a time, where they are done by this machine's own processes.
            what: What the work is called, such as ``train``.
            of: What each unit makes, in the plural.

        Raises:
            CurateError: The first error of a unit; the others are stopped.
            ResourceError: If a process was killed, or the engine is not there.
        """
        engine = self.engine or Local(workers, self.begin())
        progress = Together(what, of, len(units), self.progress)
        engine.run(units, progress, engine_folder(run.path))

    def training_workers(self, recipe: Recipe) -> int:
        """Return how many trainings run side by side."""
        if self.workers is not None:
            return self.workers
        if self.resolved_device() != "cpu":
            return len(self.cards())
        return max(1, cores() // recipe.train.threads)
