"""What is said of the scores of a run: ``scores.json``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from curate.runtime.files import read_json
from curate.runtime.results import Result


@dataclass(frozen=True)
class Group(Result):
    """The scores of a group of samples.

    Attributes:
        n: Samples with a score.
        mean: Of their scores; None for none.
        sd: Of their scores; None for fewer than two.
    """

    n: int
    mean: float | None
    sd: float | None


@dataclass(frozen=True)
class GroupTest(Result):
    """A t-test of groups: of two means (Welch), or of one against 0.

    Attributes:
        name: What it shows, such as ``C>S`` or ``m>0``.
        statistic: t; None where it cannot be told, and so for ``p``.
        p: Of a difference as large by chance.
        cohens_d: The difference in standard deviations; None where these are 0.
        n: Samples of each group.
    """

    name: str
    statistic: float | None
    p: float | None
    cohens_d: float | None
    n: tuple[int, ...]


@dataclass(frozen=True)
class Reliability(Result):
    """Which share of the variance of scores another run would repeat, ``1 - mean(se^2) / var(m)``.

    Attributes:
        views: Where only views are drawn anew; None where it is not known.
        encoders: Where encoders are trained anew as well; None for one encoder a side.
        note: What the numbers hold for.
        groups: ``fixed`` where all repeats share their groups, ``drawn`` else.
    """

    views: float | None
    encoders: float | None
    note: str
    groups: str = "drawn"


@dataclass(frozen=True)
class Interval(Result):
    """How ``se`` becomes an interval: ``memorization +- quantile * se`` holds ``confidence``.

    Attributes:
        confidence: In (0, 1).
        freedom: Degrees of freedom; None where nothing or all is known.
        quantile: Of Student's t.
    """

    confidence: float
    freedom: float | None
    quantile: float | None


@dataclass(frozen=True)
class MoreViews(Result):
    """The samples that were measured with more views than the others.

    Attributes:
        samples: How many they are.
        most: Views of the one that has most.
    """

    samples: int
    most: int


@dataclass(frozen=True, kw_only=True)
class ScoreSummary(Result):
    """What ``scores.json`` holds.

    Attributes:
        groups: By name: S, C, I, E of a pair (arXiv 2401.12233), else by how many encoders were
            trained on a sample; and ``all``.
        tests: Whether there is a signal.
        separation: ``clear`` where members separate from non-members, ``none`` where not.
        reliability: Of the ranking.
        normalised_mean: ``mean(m) / (max m - min m)`` of the candidates, in [-1, 1], the paper's
            headline; None where all are equal.
        n_scored: Samples with a score.
        n_unscored: Samples without.
        score_direction: What a higher score means.
        views: Views of each sample.
        more_views: Those that have more; None where none do.
        pairing: Which views are compared.
        distance: Between representations.
        representation: Of an encoder, that distances are measured in.
        calibrated: Whether the level of each encoder was taken off.
        encoders: Their names.
        interval: What ``se`` means.
        offsets: The level of each encoder, by name.
    """

    groups: dict[str, Group]
    tests: tuple[GroupTest, ...]
    separation: str
    reliability: Reliability
    normalised_mean: float | None
    n_scored: int
    n_unscored: int
    score_direction: str
    views: int
    more_views: MoreViews | None = None
    pairing: str = "anchored"
    distance: str = "l2"
    representation: str | None = None
    calibrated: bool = False
    encoders: tuple[str, ...]
    interval: Interval
    offsets: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, run: Path) -> ScoreSummary:
        """Return what ``scores.json`` in the folder of a scored run holds."""
        return cls.from_json(read_json(run / "scores.json"))
