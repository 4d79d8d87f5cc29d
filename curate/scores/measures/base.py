"""What measures share: the samples, what one encoder makes of them, means over encoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from curate.scores.measures import heads


@dataclass(frozen=True)
class Samples:
    """What is known of the N samples of a plan, and of M public ones, before any encoder is asked.

    Attributes:
        keys: (N,) uint64, equal for exact copies of an image.
        labels: (N,) int64 in [0, C), -1 where there is none.
        classes: C.
        align: (N,) float64, alignment averaged over all encoders; None where it is not asked for.
        relative: (N,) float64, memorization relative to alignment, from ``of_alignment``; likewise.
        public_keys: (M,) uint64, of labelled test samples that no encoder was trained on.
        public_labels: (M,) int64 in [0, C).
    """

    keys: np.ndarray
    labels: np.ndarray
    classes: int
    public_keys: np.ndarray
    public_labels: np.ndarray
    align: np.ndarray | None = None
    relative: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def labelled(self) -> bool:
        """Whether there are labels of two or more classes."""
        return len(np.unique(self.labels[self.labels >= 0])) > 1


@dataclass(frozen=True)
class Look:
    """What one frozen encoder makes of the samples.

    Attributes:
        samples: The N samples.
        number: Place of the encoder in the plan.
        repeat: Repeat of the plan that it belongs to.
        inside: (N,) bool, whether it was trained on each.
        features: (N, D) float32, pooled representations of the clean images.
        public: (M, D) float32, the same of the public samples.
        corner: Gives (N, D) float32 of each image's corner 0 to 3, enlarged to the whole image.
        own: The head that it was trained with, of C or more classes; None of one trained without.
    """

    samples: Samples
    number: int
    repeat: int
    inside: np.ndarray
    features: np.ndarray
    public: np.ndarray
    corner: Callable[[int], np.ndarray]
    own: heads.Head | None = None

    @cached_property
    def taught(self) -> np.ndarray:
        """The labelled samples that it was trained on, (n,) int64 rows."""
        return np.flatnonzero(self.inside & (self.samples.labels >= 0))

    @cached_property
    def probability(self) -> np.ndarray:
        """What a converged head gives each sample's label, (N,) in [0, 1].

        NaN without a label, and everywhere if the encoder was trained on no labelled sample.
        """
        if not len(self.taught):
            return np.full(len(self.samples), np.nan)
        head = heads.converged(*self._lesson, self.samples.classes)
        return heads.of_label(head, self.features, self.samples.labels)

    @cached_property
    def early(self) -> tuple[np.ndarray, np.ndarray]:
        """EL2N and GraNd of each sample, mean over early heads, (N,) each; NaN as above."""
        if not len(self.taught):
            return (np.full(len(self.samples), np.nan),) * 2
        errors = [
            heads.errors(
                heads.early(*self._lesson, self.samples.classes, seed=(self.number, draw)),
                self.features,
                self.samples.labels,
            )
            for draw in range(heads.DRAWS)
        ]
        el2n, grand = np.mean(errors, axis=0)
        return el2n, grand

    @cached_property
    def answers(self) -> tuple[np.ndarray, np.ndarray]:
        """Whether its own head is right about each sample, and the label's probability by it.

        (N,) float64 each, 0 or 1 and in [0, 1]; NaN without a label.
        """
        assert self.own is not None, "a measure of classifiers says that it needs heads"
        return heads.answers(self.own, self.features, self.samples.labels)

    @property
    def _lesson(self) -> tuple[np.ndarray, np.ndarray]:
        return self.features[self.taught], self.samples.labels[self.taught]


class Measure(ABC):
    """One number a sample, gathered encoder by encoder.

    What an encoder says is found out wherever that encoder is looked into (``says``), and taken in
    where all encoders come together, in their order (``take``).

    Attributes:
        needs_labels: Whether it is about labels.
        needs_heads: Whether it is about classifiers, trained with their heads.
        text: What it is, in a line: what is measured, in which unit, and what higher means.
    """

    needs_labels: ClassVar[bool] = False
    needs_heads: ClassVar[bool] = False
    text: ClassVar[str]

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def wants(self, repeat: int) -> bool:
        """Return whether encoders of this repeat of the plan are to be asked."""
        return True

    @abstractmethod
    def says(self, look: Look) -> np.ndarray:
        """Return what one encoder says of every sample, (N,) float64, NaN where nothing."""

    @abstractmethod
    def take(self, said: np.ndarray, inside: np.ndarray) -> None:
        """Take in what one encoder says, (N,), which was trained on those inside, (N,) bool."""

    @abstractmethod
    def values(self) -> np.ndarray:
        """Return the measure of every sample, (N,) float64, NaN where undefined."""

    def errors(self) -> np.ndarray | None:
        """Return the standard error of every sample, (N,) float64, NaN where it has none.

        None where the measure does not say how sure it is.
        """
        return None


class Given(Measure):
    """A measure of what was scored already: no encoder is asked."""

    def wants(self, repeat: int) -> bool:
        """Return False: alignments are there already."""
        return False

    def says(self, look: Look) -> np.ndarray:
        """Return nothing of any sample."""
        return np.full(len(self.samples), np.nan)

    def take(self, said: np.ndarray, inside: np.ndarray) -> None:
        """Take in nothing."""


class Mean:
    """A mean over encoders, each sample over those that speak of it.

    Attributes:
        count: (N,) int64, how many those are.
    """

    def __init__(self, n: int) -> None:
        self._sum, self._squares = np.zeros(n), np.zeros(n)
        self.count = np.zeros(n, dtype=np.int64)

    def add(self, values: np.ndarray, where: np.ndarray) -> None:
        """Add (N,) values where a mask (N,) holds and they are known."""
        known = where & np.isfinite(values)
        self._sum[known] += values[known]
        self._squares[known] += values[known] ** 2
        self.count += known

    def values(self) -> np.ndarray:
        """Return the means, (N,), NaN where nothing was added."""
        out = np.full(len(self._sum), np.nan)
        np.divide(self._sum, self.count, out=out, where=self.count > 0)
        return out

    def variance(self) -> np.ndarray:
        """Return the variance of what was added, (N,), NaN where that is fewer than two."""
        out = np.full(len(self._sum), np.nan)
        around = self._squares - self.count * np.nan_to_num(self.values()) ** 2
        np.divide(np.maximum(around, 0), self.count - 1, out=out, where=self.count > 1)
        return out


class Average(Measure):
    """A measure that is a mean over encoders: those that were trained on a sample, or the others.

    Attributes:
        trained: Whether it is over those that were.
    """

    trained: ClassVar[bool]

    def __init__(self, samples: Samples) -> None:
        super().__init__(samples)
        self._mean = Mean(len(samples))

    def take(self, said: np.ndarray, inside: np.ndarray) -> None:
        """Add what one encoder says of the samples of its side."""
        self._mean.add(said, inside if self.trained else ~inside)

    def values(self) -> np.ndarray:
        """Return the means, (N,)."""
        return self._mean.values()


class Contrast(Measure):
    """A measure that is a mean over the encoders trained on a sample minus that over the others."""

    def __init__(self, samples: Samples) -> None:
        super().__init__(samples)
        self.inside, self.outside = Mean(len(samples)), Mean(len(samples))

    def take(self, said: np.ndarray, inside: np.ndarray) -> None:
        """Add what one encoder says to the side of each sample."""
        self.inside.add(said, inside)
        self.outside.add(said, ~inside)

    def values(self) -> np.ndarray:
        """Return inside minus outside, (N,)."""
        contrast: np.ndarray = self.inside.values() - self.outside.values()
        return contrast
