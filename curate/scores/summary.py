"""What is said of the scores of a run: ``scores.json``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from curate.runtime.intervals import CONFIDENCE
from curate.runtime.results import Result

LOW, MODERATE, GOOD = 0.2, 0.4, 0.8
"""From which reliability on there is a ranking at all, and the order of single samples counts for
something, and for much."""


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
        low: Where the interval of ``encoders`` begins, by jackknife over the repeats of the plan;
            None for fewer than three.
        high: Where it ends.
        confidence: Of the interval; more than 0.95 where ``--until`` looked at the run before.
    """

    views: float | None
    encoders: float | None
    note: str
    groups: str = "drawn"
    low: float | None = None
    high: float | None = None
    confidence: float = CONFIDENCE


@dataclass(frozen=True)
class Verdict(Result):
    """What the scores of a run show (``curate/scores/verdict.py``).

    Attributes:
        grade: ``nothing``, ``group`` or ``ranking``.
        text: The same in a sentence, with the numbers.
    """

    grade: str
    text: str


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
class Expectation(Result):
    """How ``expected`` was made of estimates and covariates (``curate/scores/posterior.py``).

    Attributes:
        covariates: What foretells memorization, fixed before scoring.
        reliability: The squared correlation of ``expected`` with true memorization that follows
            from ``expected_se``; None where it cannot be told.
        own_weight: Weight of a sample's own estimate, in the mean; None without scores.
        residual_sd: How far true memorization lies from what is foretold, a standard deviation.
        slope: Of estimates on predictions, which these were multiplied by.
        shared_noise: Share of the noise of an estimate that its prediction has as well.
        penalty: Of the ridge regressions, for each sample.
        cells: Halves of the repeats and of the views that foretell each other; 1 is no halves.
        note: What there is to say of it.
    """

    covariates: tuple[str, ...]
    reliability: float | None
    own_weight: float | None
    residual_sd: float | None
    slope: float
    shared_noise: float
    penalty: float
    cells: tuple[int, int]
    note: str


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
class Signal(Result):
    """Whether scores show anything.

    Attributes:
        groups: By name: S, C, I, E of a pair (arXiv 2401.12233), else by how many encoders were
            trained on a sample; and ``all``.
        tests: Whether there is a signal.
        separation: ``clear`` where members separate from non-members, ``none`` where not.
        reliability: Of the ranking.
        verdict: What both say.
        looks: How often ``--until`` has looked at the run, this time included; 0 without it.
        normalised_mean: ``mean(m) / (max m - min m)`` of the candidates, in [-1, 1], the paper's
            headline; None where all are equal.
        n_scored: Samples with a score.
        n_unscored: Samples without.
        score_direction: What a higher score means.
    """

    groups: dict[str, Group]
    tests: tuple[GroupTest, ...]
    separation: str
    reliability: Reliability
    verdict: Verdict
    looks: int = 0
    normalised_mean: float | None
    n_scored: int
    n_unscored: int
    score_direction: str


@dataclass(frozen=True, kw_only=True)
class ScoreSummary(Signal):
    """What ``scores.json`` holds: the signal, and what was scored.

    Attributes:
        views: Views of each sample.
        more_views: Those that have more; None where none do.
        pairing: Which views are compared.
        distance: Between representations.
        representation: Of an encoder, that distances are measured in.
        calibrated: Whether the level of each encoder was taken off.
        encoders: Their names.
        interval: What ``se`` means.
        offsets: The level of each encoder, by name.
        expectation: How ``expected`` was made; None in a run that was scored before there was one.
    """

    views: int
    more_views: MoreViews | None = None
    pairing: str = "anchored"
    distance: str = "l2"
    representation: str | None = None
    calibrated: bool = False
    encoders: tuple[str, ...]
    interval: Interval
    offsets: dict[str, float] = field(default_factory=dict)
    expectation: Expectation | None = None

    @classmethod
    def read(cls, run: Path) -> ScoreSummary:
        """Return what ``scores.json`` in the folder of a scored run holds."""
        return cls.load(run / "scores.json")
