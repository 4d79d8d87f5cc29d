"""What is said of an inspected run: ``inspect.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curate.runtime.results import Result


@dataclass(frozen=True)
class InspectedSpace(Result):
    """The space that neighbours were found in.

    Attributes:
        kind: As in ``Space``, and so is ``name``.
        name: Of the encoder, its folder, or a file.
        dim: Numbers of a representation.
    """

    kind: str
    name: str
    dim: int


@dataclass(frozen=True)
class IndexUsed(Result):
    """How neighbours were searched.

    Attributes:
        kind: ``flat``: exactly; ``ivf``: in parts; ``codes``: by short codes of all, or in parts.
        recall: Share of the true nearest that it found; None where it is exact.
        queries: How many samples that was measured on.
    """

    kind: str
    recall: float | None
    queries: int


@dataclass(frozen=True)
class CopySearch(Result):
    """How copies were searched for, and what is known of its errors.

    Attributes:
        threshold: Evidence that a pair has at least (``registration.Evidence``).
        false_rate: Estimated share of false pairs (``decoys.Learned``).
        decoys: Pairs of images turned upside down that passed the threshold.
        decoy_queries: How many images were turned upside down.
        index: How whole images were looked up.
    """

    threshold: float
    false_rate: float
    decoys: int
    decoy_queries: int
    index: IndexUsed


@dataclass(frozen=True)
class DuplicateSummary(Result):
    """How many near-duplicates there are.

    Attributes:
        threshold: Similarity above which images are near-duplicates.
        groups: Groups of them.
        samples: Samples in these.
        rule: What makes a near-duplicate, in words.
        search: How they were searched for; None in files of before.
    """

    threshold: float
    groups: int
    samples: int
    rule: str
    search: CopySearch | None = None


@dataclass(frozen=True)
class Leak(Result):
    """A near-duplicate across splits.

    Attributes:
        uid: The dataset's own sample.
        split: Where the other was held out.
        other: Its uid.
        similarity: Of both, in [0, 1].
    """

    uid: str
    split: str
    other: str
    similarity: float


@dataclass(frozen=True)
class LeakSummary(Result):
    """Near-duplicates of held-out samples.

    Attributes:
        splits: The splits that were held out.
        samples: Own samples with a near-duplicate there.
        pairs: The most alike of them, at most ``LEAKS_LISTED``.
    """

    splits: tuple[str, ...]
    samples: int
    pairs: tuple[Leak, ...]


@dataclass(frozen=True)
class Relation(Result):
    """What memorization goes with.

    Attributes:
        spearman: Rank correlation, in [-1, 1].
        low: Where its 95 % interval begins.
        high: Where that ends.
        n: Samples.
        text: What it is correlated with.
    """

    spearman: float
    low: float
    high: float
    n: int
    text: str


@dataclass(frozen=True)
class LabelMean(Result):
    """Memorization of the samples of a label.

    Attributes:
        n: How many they are.
        mean: Of their memorization.
        se: Its standard error; None for one sample.
    """

    n: int
    mean: float
    se: float | None


@dataclass(frozen=True)
class TriageSummary(Result):
    """What kinds of samples there are.

    Attributes:
        counts: Samples of each class.
        reasons: Of those that are broken, by reason.
        flaws: Of all samples, by reason.
        thresholds: By what is measured; None where it is not known.
        rules: What makes a class, in words.
        scored: Whether it is known what is memorized.
        separation: As ``scores.json`` has it; None without scores.
    """

    counts: dict[str, int]
    reasons: dict[str, int]
    flaws: dict[str, int]
    thresholds: dict[str, float | None]
    rules: dict[str, str]
    scored: bool
    separation: str | None


@dataclass(frozen=True)
class Inspection(Result):
    """What ``inspect.json`` holds, and where the table is.

    Attributes:
        samples: The dataset's own samples.
        neighbours: Neighbours of each.
        space: That they were found in.
        index: That they were found with.
        mean_outlier_score: In [0, 2]; None for one sample.
        duplicates: Within the dataset.
        leaks: Between it and what was held out.
        relations: What memorization goes with, by name; empty without scores.
        labels: Memorization by label; empty without scores.
        label_share: Share of the variance of memorization that lies between labels, around 0 where
            they tell nothing; None where it cannot be said.
        triage: The kinds of samples.
        path: ``inspect.parquet``, with a row a sample.
    """

    samples: int
    neighbours: int
    space: InspectedSpace
    index: IndexUsed
    mean_outlier_score: float | None
    duplicates: DuplicateSummary
    leaks: LeakSummary
    relations: dict[str, Relation]
    labels: dict[str, LabelMean]
    label_share: float | None
    triage: TriageSummary
    path: Path
