"""Paired comparison: does a selection train a better encoder than a random one of its size?"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from curate.evaluation.answers import Answers, probe_name
from curate.evaluation.arms import ALL, CONTROL, wanted
from curate.evaluation.crossed import Gaps, Paired
from curate.evaluation.measures import measure_of
from curate.runtime.files import replacing, write_json, write_text
from curate.runtime.intervals import CONFIDENCE
from curate.runtime.results import Result
from curate.scores.summary import Verdict

COLUMNS = (
    "strategy",
    "label",
    "remove",
    "kept",
    "seed",
    "source",
    "kind",
    "accuracy",
    "validation_accuracy",
    "n_train",
    "n_test",
    "classes",
    "held_out",
    "leaked",
    "accuracy_without_leaks",
    "encoder",
)
"""Columns of ``comparison.csv``, one row a probe of an arm."""
OF_MEASURES = ("value", "low", "high", "decoder", "frozen")
"""Further columns where a probe has a measure other than accuracy."""


@dataclass(frozen=True)
class Cell(Result):
    """What is compared: one selection, probed in one way.

    Attributes:
        strategy: Name of the arm.
        label: The selection in plain words.
        remove: Scored samples that it removes.
        kept: Scored samples that it keeps.
        source: What was probed on: ``self`` or a SOURCE.
        kind: Of the probe: ``linear`` or ``knn``, of which accuracy is measured, or a measure.
    """

    strategy: str
    label: str
    remove: int
    kept: int
    source: str
    kind: str


@dataclass(frozen=True)
class Arm(Cell):
    """Test accuracies of encoders that were trained on one selection, or another measure of them.

    Attributes:
        n: Seeds.
        mean: Accuracy in the mean over them, 0 to 1, or the measure that ``kind`` names
            (``measures.measure_of``).
        sd: Its standard deviation; None for one seed.
        by_seed: The same by seed.
        without_leaks: Mean accuracy on test images that have no copy among what probes were fitted
            to; None if nobody looked for such.
    """

    n: int
    mean: float
    sd: float | None
    by_seed: Mapping[str, float]
    without_leaks: float | None = None


@dataclass(frozen=True)
class Difference(Paired, Cell):
    """How much an arm differs from the random one; of an error, below 0 is better.

    Attributes:
        by_seed: Difference of each pair, by seed.
        without_leaks: Mean difference on test images without a copy, as in ``Arm``.
    """

    by_seed: Mapping[str, float]
    without_leaks: float | None = None


@dataclass(frozen=True)
class Tests(Result):
    """What arms were tested on.

    Attributes:
        source: ``self`` or a SOURCE.
        n_test: Test images.
        held_out: Whether they are a part of the training split that probes were not fitted to, so
            that encoders may have seen them, without labels.
        leaked: How many have a copy among what probes were fitted to; None if nobody looked.
    """

    source: str
    n_test: int
    held_out: bool
    leaked: int | None = None


@dataclass(frozen=True)
class Cost(Result):
    """What it took to make a selection, and when that has paid.

    Attributes:
        seconds: Of the scores, measures or encoder that the selection goes by, in this run.
        pays_back_after: How many trainings on the selection, of as many epochs as the recipe's,
            save that time; 0 where it took none, None where none ever does.
    """

    seconds: float
    pays_back_after: int | None


@dataclass(frozen=True)
class Summary(Result):
    """Arms and their differences from random ones.

    Attributes:
        scored: Samples that were scored, before any were removed.
        arms: One for each size, source, kind of probe, and strategy.
        differences: Of each of them but the random ones.
        verdict: What the intervals allow to be said.
        holds_for: What of: of one selection, or of such as are ranked anew.
        ranking: The verdict on the scores that were selected by; None where nobody knows.
        confidence: Of the intervals.
        control: The arm that others are compared with.
        tests: What all were tested on.
        same: Names of arms that are one selection, for every seed and size, and were trained once.
    """

    scored: int
    arms: tuple[Arm, ...]
    differences: tuple[Difference, ...]
    verdict: str
    holds_for: str
    ranking: Verdict | None = None
    confidence: float = CONFIDENCE
    control: str = CONTROL
    tests: tuple[Tests, ...] = ()
    same: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison(Summary):
    """A comparison that was made.

    Attributes:
        settings: What was compared: remove, strategies, seeds, budget, probes.
        results: Every probe of every arm, as ``COLUMNS`` names them.
        path: Folder of ``comparison.csv``, ``.json``, ``.parquet`` and ``.png``.
        costs: Of each arm and size, by ``cost_name``; no part of the files, which say the same
            however long it took.
    """

    settings: Mapping[str, Any]
    results: tuple[Mapping[str, Any], ...]
    path: Path
    costs: dict[str, Cost] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Comparison:
        """Read what ``write`` wrote."""
        return cls.load(folder / "comparison.json", path=folder)


THIS_SELECTION = "this selection"
"""What a comparison holds for whose seeds all train on the same choice of the most memorized."""


def summarise(
    rows: Sequence[Mapping[str, Any]],
    answers: Answers,
    scored: int,
    *,
    holds_for: str = THIS_SELECTION,
    ranking: Verdict | None = None,
) -> Summary:
    """Return accuracies of every arm and their paired differences from the random one.

    Within a seed the arms share initialisation and views, and all are tested on the same images, so
    that the differences are the selection's; their interval counts seeds and test images
    (``crossed``).

    Args:
        rows: One mapping a probe: strategy, remove, seed, source, kind, accuracy in [0, 1], or the
            ``value`` of another measure.
        answers: How each of them did on each test image.
        scored: How many samples were scored, before any were removed.
        holds_for: What the intervals hold for.
        ranking: The verdict on the scores that were selected by.
    """
    cells: dict[tuple[int, str, str, str], dict[int, float]] = {}
    clean: dict[tuple[int, str, str, str], dict[int, float]] = {}
    for row in rows:
        cell = (row["remove"], row["source"], row["kind"], row["strategy"])
        cells.setdefault(cell, {})[row["seed"]] = measured(row)
        if row.get("accuracy_without_leaks") is not None:
            clean.setdefault(cell, {})[row["seed"]] = float(row["accuracy_without_leaks"])
    arms, differences = [], []
    for (remove, source, kind, strategy), by_seed in cells.items():
        kept, label = _words(strategy, remove, scored)
        about = Cell(strategy, label, remove, kept, source, kind)
        accuracy = {str(seed): by_seed[seed] for seed in sorted(by_seed)}
        values = np.array(list(accuracy.values()))
        sd = float(values.std(ddof=1)) if len(values) > 1 else None
        arms.append(
            Arm(
                **vars(about),
                n=len(values),
                mean=float(values.mean()),
                sd=sd,
                by_seed=accuracy,
                without_leaks=_mean(clean.get((remove, source, kind, strategy), {}), by_seed),
            )
        )
        control = cells.get((remove, source, kind, CONTROL), {})
        both = sorted(by_seed.keys() & control.keys())
        if strategy != CONTROL and both:
            gaps, by_pair = Gaps(), {}
            for seed in both:
                mine, other = (
                    answers.of_image(source, probe_name(arm, remove, seed, kind))
                    for arm in (strategy, CONTROL)
                )
                by_pair[str(seed)] = gaps.add(mine, other)
            arm_mean, control_mean = (
                _mean(clean.get((remove, source, kind, name), {}), both)
                for name in (strategy, CONTROL)
            )
            apart = None
            if arm_mean is not None and control_mean is not None:
                apart = arm_mean - control_mean
            paired = gaps.paired()
            if not measure_of(kind).counts_images:
                paired = replace(paired, images=None)
            differences.append(
                Difference(**vars(about), **vars(paired), by_seed=by_pair, without_leaks=apart)
            )
    tests = {
        row["source"]: Tests(row["source"], row["n_test"], row["held_out"], row.get("leaked"))
        for row in rows
    }
    return Summary(
        scored,
        tuple(arms),
        tuple(differences),
        _verdict(differences),
        holds_for,
        ranking,
        tests=tuple(tests.values()),
        same=_same(rows),
    )


def measured(row: Mapping[str, Any]) -> float:
    """Return what a probe of an arm measured: its accuracy, or the value of another measure."""
    return float(row["accuracy"] if measure_of(row["kind"]).counts_images else row["value"])


def _mean(by_seed: Mapping[int, float], seeds: Iterable[int]) -> float | None:
    """Return the mean over some seeds; None where one is lacking."""
    values = [by_seed.get(seed) for seed in seeds]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def cost_name(strategy: str, remove: int) -> str:
    """Return the name of the cost of an arm, such as ``top-225``."""
    return f"{strategy}-{remove}"


def _words(name: str, remove: int, scored: int) -> tuple[int, str]:
    """Return how many samples an arm keeps, and what it is in plain words."""
    kept = scored if name == ALL else scored - remove
    return kept, wanted(name).label(kept, scored)


def _same(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], ...]:
    """Return the names of arms whose encoders are the same ones, of two names or more."""
    encoders: dict[str, dict[tuple[int, int], str]] = {}
    for row in rows:
        if row.get("encoder"):
            encoders.setdefault(row["strategy"], {})[row["remove"], row["seed"]] = row["encoder"]
    groups: dict[tuple[tuple[tuple[int, int], str], ...], list[str]] = {}
    for name, trained in encoders.items():
        groups.setdefault(tuple(sorted(trained.items())), []).append(name)
    return tuple(tuple(names) for names in groups.values() if len(names) > 1)


def _verdict(differences: Sequence[Difference]) -> str:
    """Return what the intervals say, in a sentence that promises nothing they do not hold."""
    if not differences:
        return "nothing was compared: give a strategy other than random."
    ends = [(d.low, d.high) for d in differences if d.low is not None and d.high is not None]
    if not ends:
        return "one seed shows no interval: run more seeds before believing a difference."
    apart = sum(low > 0 or high < 0 for low, high in ends)
    if not apart:
        return (
            f"no difference from random is shown: all {len(ends)} intervals contain 0 "
            f"(n = {min(d.n for d in differences if d.low is not None)} paired seeds)."
        )
    return (
        f"{apart} of {len(ends)} intervals exclude 0; about "
        f"{len(ends) * (1 - CONFIDENCE):.1f} would by chance."
    )


def write(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    answers: Answers,
    summary: Summary,
    settings: Mapping[str, Any],
) -> list[Path]:
    """Write ``comparison.csv``, ``.json``, ``.parquet`` and ``.png``; returns their paths.

    Args:
        folder: Where to; made if it is not there.
        rows: As given to ``summarise``.
        answers: As given to it; the parquet has them.
        summary: What it returned.
        settings: What was compared, as the JSON says it.
    """
    paths = [folder / f"comparison.{ending}" for ending in ("csv", "json", "parquet", "png")]
    text = io.StringIO()
    columns = COLUMNS + (OF_MEASURES if any("value" in row for row in rows) else ())
    table = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for row in rows:
        kept, words = _words(row["strategy"], row["remove"], summary.scored)
        table.writerow({**row, "label": words, "kept": kept})
    write_text(paths[0], text.getvalue())
    stored = {**summary.to_json(), "settings": settings, "results": [dict(row) for row in rows]}
    write_json(paths[1], stored)
    answers.write(paths[2])
    with replacing(paths[3]) as temporary:
        plot(summary, temporary)
    return paths


COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Okabe and Ito's, which colour-blind readers can tell apart."""


def plot(summary: Summary, path: Path) -> None:
    """Draw the paired differences with their intervals as a png, a panel a source and probe."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    differences = summary.differences
    panels = list(dict.fromkeys((d.source, d.kind) for d in differences))
    rows = max([sum((d.source, d.kind) == p for d in differences) for p in panels] or [1])
    figure = Figure(figsize=(8, 0.9 + max(1, len(panels)) * (0.9 + 0.42 * rows)), dpi=120)
    FigureCanvasAgg(figure)
    measures = [measure_of(kind) for _, kind in panels]
    # Panels of one unit share their axis, and only what stands below the last one is said.
    alone = len({measure.axis for measure in measures}) > 1
    axes = figure.subplots(max(1, len(panels)), 1, squeeze=False, sharex=not alone)[:, 0]
    strategies = list(dict.fromkeys(d.strategy for d in differences))
    for axis, (source, kind), measure in zip(axes, panels, measures, strict=False):
        scale = measure.scale
        mine = [d for d in differences if (d.source, d.kind) == (source, kind)]
        for y, d in enumerate(mine):
            colour = COLOURS[strategies.index(d.strategy) % len(COLOURS)]
            if d.low is not None and d.high is not None:
                axis.plot([scale * d.low, scale * d.high], [y, y], color=colour, linewidth=2)
            seeds = [scale * gap for gap in d.by_seed.values()]
            axis.plot(seeds, [y] * len(seeds), "o", color=colour, alpha=0.35, markersize=4)
            axis.plot(scale * d.mean, y, "D", color=colour, markersize=7)
        axis.axvline(0, color="#555555", linewidth=1)
        axis.set_yticks(range(len(mine)), [d.label for d in mine])
        axis.set_ylim(len(mine) - 0.5, -0.5)
        where = "the run's own labels" if source == "self" else source
        measured = f"{kind} probe" if measure.counts_images else measure.axis
        axis.set_title(f"{measured} on {where}", loc="left", fontsize=10)
        axis.grid(axis="x", alpha=0.25)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    if not panels:
        axes[0].set_axis_off()
        axes[0].text(0.5, 0.5, summary.verdict, ha="center", va="center", wrap=True)
    measured = "test accuracy minus that of as many at random, in percentage points"
    if any(not measure.counts_images for measure in measures):
        measured = "what was measured minus that of as many at random"
    axes[-1].set_xlabel(
        f"{measured}\n"
        "(diamond: mean; dots: paired seeds; line: 95 % interval over seeds and test images)"
    )
    figure.tight_layout()
    # Without the library's version in it, equal results are equal files.
    figure.savefig(path, format="png", metadata={"Software": None})
