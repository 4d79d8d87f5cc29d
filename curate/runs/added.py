"""What was added to a run after its encoders were trained, and which of them may know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from curate.runtime.results import Result

if TYPE_CHECKING:
    from curate.runs.run import Run


@dataclass(frozen=True)
class Addition(Result):
    """Images that came later.

    Attributes:
        source: Where they came from.
        samples: How many were new.
        first_shard: The number of the first tar that has some of them.
        first_repeat: The first repeat of the plan that may be trained on them.
        before: Fingerprint of the dataset without them.
        fingerprint: Fingerprint of the dataset with them.
        seconds: What it took to write, decode, measure and score them.
        anew_seconds: What the scores of all would take from the beginning, by what the run's took.
    """

    source: str
    samples: int
    first_shard: int
    first_repeat: int
    before: str
    fingerprint: str
    seconds: float | None = None
    anew_seconds: float | None = None


def additions(run: Run) -> tuple[Addition, ...]:
    """Return what was added to a run, in its order."""
    return tuple(Addition.from_json(facts) for facts in run.added)


def generation(run: Run, shard: str) -> int:
    """Return which addition the samples of a shard are of, by its stem; 0 for none."""
    return sum(int(shard) >= addition.first_shard for addition in additions(run))


def dataset_of(run: Run, repeat: int) -> str | None:
    """Return the fingerprint of the dataset that a repeat is drawn from; None for that of all."""
    later = [a for a in additions(run) if a.first_repeat > repeat]
    return later[0].before if later else None
