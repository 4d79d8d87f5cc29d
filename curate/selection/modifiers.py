"""Modifiers: what a strategy has no say in, and choices made class by class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from curate.errors import UsageError
from curate.inspection.neighbours import unit
from curate.selection.strategies import STRATEGIES, choose
from curate.selection.strategies.base import apportioned

ALWAYS, NEVER = "always kept, as asked", "never kept, as asked"


@dataclass(frozen=True)
class Given:
    """What N samples are chosen by beside their scores, in the order of the table of scores.

    Attributes:
        embeddings: (N, D) float32 of a space; None where the strategy needs none.
        like: (N,) bool, the selection to be matched; None where there is none.
        always: (N,) bool, samples that are kept whatever the strategy says; None for no list.
        never: (N,) bool, samples that are not.
        drop: By kind, the samples (N,) bool that are left out before the choice.
    """

    embeddings: np.ndarray | None = None
    like: np.ndarray | None = None
    always: np.ndarray | None = None
    never: np.ndarray | None = None
    drop: Mapping[str, np.ndarray] = field(default_factory=dict)

    def take(self, rows: np.ndarray) -> Given:
        """Return the same of some samples."""

        def some(part: np.ndarray | None) -> np.ndarray | None:
            return None if part is None else part[rows]

        drop = {kind: which[rows] for kind, which in self.drop.items()}
        return Given(
            some(self.embeddings), some(self.like), some(self.always), some(self.never), drop
        )

    def fixed(self, n: int) -> tuple[np.ndarray, list[str]]:
        """Return why each of n samples is decided already, and these reasons.

        What is listed counts before what is dropped by its kind.

        Returns:
            (n,) int8, -1 where the strategy decides; the first reason keeps, the others drop.

        Raises:
            UsageError: If a sample stands on both lists.
        """
        why, reasons = np.full(n, -1, dtype=np.int8), [ALWAYS, NEVER]
        for kind, which in self.drop.items():
            why[which & (why < 0)] = len(reasons)
            reasons.append(f"dropped as {kind}")
        for place, listed in enumerate((self.always, self.never)):
            if listed is not None:
                why[listed] = place
        if self.always is not None and self.never is not None:
            both = int((self.always & self.never).sum())
            if both:
                raise UsageError(f"{both:,} samples are to be kept both always and never.")
        return why, reasons


def decided(
    strategy: str,
    scores: np.ndarray,
    uids: pa.Array,
    kept: int,
    seed: int,
    given: Given,
    *,
    labels: np.ndarray,
    per_class: bool = False,
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return which of N samples are kept, and which of them the strategy had no say in.

    Args:
        strategy: As in ``choose``.
        scores: (N,) float64, no NaN.
        uids: (N,) distinct strings.
        kept: How many are kept, those included that always are.
        seed: As in ``choose``.
        given: What else is known of the N samples.
        labels: (N,) int64, -1 for none.
        per_class: Whether each class keeps its part of what the strategy chooses.

    Returns:
        keep (N,) bool with ``kept`` True, and what ``Given.fixed`` returns.

    Raises:
        UsageError: If what is left to choose from, or what is always kept, does not fit the number.
    """
    why, reasons = given.fixed(len(scores))
    keep = why == 0
    free = np.flatnonzero(why < 0)
    n = kept - int(keep.sum())
    if not 0 <= n <= len(free):
        raise UsageError(
            f"cannot keep {kept:,} of {len(scores):,} samples: {int(keep.sum()):,} are always kept "
            f"and {len(free):,} are left to choose from; {int(keep.sum()):,} to "
            f"{int(keep.sum()) + len(free):,} can be kept."
        )
    if n:
        needs = STRATEGIES[strategy].needs
        points = None
        if "points" in needs:
            assert given.embeddings is not None
            points = unit(given.embeddings if len(free) == len(why) else given.embeddings[free])
        like = given.like[free] if given.like is not None and "like" in needs else None

        def chosen(rows: np.ndarray, size: int) -> np.ndarray:
            every = len(rows) == len(free)
            return choose(
                strategy,
                scores[free][rows],
                uids.take(pa.array(free[rows])),
                size,
                seed,
                labels=labels[free][rows],
                points=points if points is None or every else points[rows],
                like=like if like is None or every else like[rows],
            )

        for rows, size in _parts(labels[free], n, per_class):
            keep[free[rows]] = chosen(rows, size)
    return keep, why, reasons


def _parts(labels: np.ndarray, n: int, per_class: bool) -> list[tuple[np.ndarray, int]]:
    """Return the rows to choose from at a time, and how many: all of them, or class by class."""
    if not per_class:
        return [(np.arange(len(labels)), n)]
    _, which, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    shares = apportioned(sizes.astype(np.float64), sizes, n)
    parts = [(np.flatnonzero(which == k), int(share)) for k, share in enumerate(shares)]
    return [(rows, share) for rows, share in parts if share]
