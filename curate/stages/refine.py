"""Refining: more encoders, or more views, until a ranking or a selection is as sure as asked."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from curate.errors import UsageError
from curate.runs import adopted, more_views, units
from curate.runs.run import Run
from curate.runtime.engines import LOCAL
from curate.runtime.engines.base import Engine
from curate.runtime.options import option
from curate.runtime.progress import Progress, silent
from curate.runtime.results import Result
from curate.scores import top_probability
from curate.scores.summary import MoreViews, Reliability, ScoreSummary
from curate.scores.top_probability import expected_overlap
from curate.stages import score
from curate.stages.context import Context

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
GROWTH = 3
"""A round has at most this many times the repeats of the one before: what a reliability from few
repeats foretells is hardly known."""
MOST_REPEATS = 1000
"""Where refining ends whatever was asked: a ranking that is all noise would go on for ever."""
MOST_VIEWS = 160
SIGNS = {"top": 1.0, "drop-top": 1.0, "bottom": -1.0}
"""Strategies that select one end of the ranking, and the sign that makes that the high one."""
LARGER = 0.5
"""Views are added where they make more than this share of the squared error."""


@dataclass(frozen=True)
class Goal:
    """What is to be reached.

    Attributes:
        kind: ``reliability`` (of views and encoders), or ``overlap``: the share of the recipe's
            selection that is expected to be among the truly most memorized.
        value: In (0, 1).
    """

    kind: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Goal:
        """Read ``reliability=0.8`` or ``overlap=0.9``.

        Raises:
            UsageError: If it is neither.
        """
        kind, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if kind not in ("reliability", "overlap") or not 0 < value < 1:
            raise UsageError(
                f"until {text}: expected reliability=X or overlap=X with X between 0 and 1."
            )
        return cls(kind, value)


def seconds(text: str) -> float:
    """Return the seconds of a duration such as ``90s``, ``30m``, ``2h`` or ``1d``.

    Raises:
        UsageError: If it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if match is None or not float(match[1]):
        raise UsageError(f"budget {text}: expected a duration such as 90s, 30m, 2h or 1d.")
    return float(match[1]) * SECONDS[match[2]]


@dataclass(frozen=True)
class Round(Result):
    """A round of refining.

    Attributes:
        repeats: Of the plan.
        views: Of every sample.
        more_views: The samples that have more; None where none do.
        views_per_sample: In the mean.
        encoders: How many.
        reliability: Of views and encoders; None where it is not known.
        value: What the goal is about.
        seconds: How long the round took.
    """

    repeats: int
    views: int
    more_views: MoreViews | None
    views_per_sample: float
    encoders: int
    reliability: float | None
    value: float | None
    seconds: float


@dataclass(frozen=True)
class Refined(Result):
    """What it took to make a ranking surer.

    Attributes:
        goal: As it was asked for.
        value: How far the last round came; None where it is not known.
        reached: Whether that is the goal.
        why: Why it ended: ``reached``, ``budget``, or in words.
        rounds: From the first.
    """

    goal: str
    value: float | None
    reached: bool
    why: str
    rounds: tuple[Round, ...]


def refine(
    run: Run,
    until: str,
    *,
    budget: str | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    engine: str | Engine | None = LOCAL,
    progress: Progress = silent,
) -> Refined:
    """Score a run, and extend it until its ranking is as sure as asked or its budget is spent.

    In each round either the repeats of the plan or the views grow, whichever error is the larger;
    for an overlap, only the samples whose place in the selection is in doubt get more views.
    Reliability follows the Spearman-Brown formula, ``r / (1 - r)`` in proportion to repeats, which
    says how many are to be added; what is there is not done again.

    A run that is tested again and again until its verdict is a good one gets one by chance. So each
    look spends half of what is left of the probability to be wrong (1/2, 1/4, ... of what a run
    without ``until`` has; Lan & DeMets 1983 of such spending): ``scores.json`` counts ``looks`` and
    its verdict is taken at their level. It ends, too, where even the upper end of the interval of
    reliability foretells more than ``MOST_REPEATS`` repeats.

    Args:
        run: Any run; it is extended in place.
        until: ``reliability=X`` (of views and encoders), or ``overlap=X``: the share of the
            recipe's selection that is expected to be among the truly most memorized.
        budget: Time such as ``90s``, ``30m`` or ``2h``, after which no further round begins, and
            which none is expected to exceed.
        data: Where the recipe's source lies on this machine.
        device: As in ``run``, and so are ``workers``, ``engine`` and ``progress``.
        workers: Trainings side by side.
        engine: What does units of work.
        progress: Progress callback.

    Raises:
        UsageError: If ``until`` or ``budget`` cannot be read, or an overlap is asked of a selection
            that is not by memorization.
    """
    context = Context.of(run, data, device, workers, progress, engine)
    if adopted.is_adopted(run):
        raise UsageError(
            f"the encoders of run {run.path} were adopted, and {option(until=...)} would train "
            "more; adopt more with 'curate adopt'."
        )
    goal, most = Goal.parse(until), None if budget is None else seconds(budget)
    select = run.recipe.select
    if goal.kind == "overlap" and (select.strategy not in SIGNS or select.by != "memorization"):
        raise UsageError(
            f"until {until}: that is told of the most or least memorized, not of "
            f"select.strategy {select.strategy} by {select.by}; give reliability=X."
        )
    started = time.monotonic()
    rounds: list[Round] = []
    while True:
        begun = time.monotonic()
        with run.lock():
            plan, shown = run.recipe.plan, run.recipe.score.views
            more = units.views_digest(run)
            run.look({"repeats": plan.repeats, "views": shown, "more": more})
            summary = score.score_run(run, context)
            selection = _chosen(run) if goal.kind == "overlap" else None
            value = _value(summary, selection)
            rounds.append(
                Round(
                    repeats=run.recipe.plan.repeats,
                    views=run.recipe.score.views,
                    more_views=summary.more_views,
                    views_per_sample=_views_per_sample(run),
                    encoders=len(summary.encoders),
                    reliability=summary.reliability.encoders,
                    value=value,
                    seconds=round(time.monotonic() - begun, 1),
                )
            )
            left = None if most is None else most - (time.monotonic() - started)
            further, why = _next(run, summary, goal, value, left, selection)
            refined = Refined(
                f"{goal.kind}={goal.value:g}", value, why == "reached", why, tuple(rounds)
            )
            run.note(until=refined.to_json())
        if further is None:
            return refined
        if isinstance(further, top_probability.Doubtful):
            more_views.give(run, further.uids, np.minimum(2 * further.views, MOST_VIEWS))
        else:
            run = run.extended(**further)


@dataclass(frozen=True)
class _Chosen:
    """What the recipe selects.

    Attributes:
        scores: The rows of the score table that have a score; where the least memorized are
            selected, ``memorization`` has the other sign.
        n: How many of the highest are selected.
    """

    scores: pa.Table
    n: int


def _chosen(run: Run) -> _Chosen:
    table = run.scores(["uid", "memorization", "se", "se_views", "n_views"])
    scored = table.filter(table["memorization"].is_valid())
    config, n = run.recipe.select, scored.num_rows
    signed = SIGNS[config.strategy] * scored["memorization"].to_numpy()
    place = scored.column_names.index("memorization")
    scored = scored.set_column(place, "memorization", pa.array(signed))
    count = config.count or round((config.fraction or 0.5) * n)
    return _Chosen(scored, min(max(count, 1), n - 1))


def _value(summary: ScoreSummary, selection: _Chosen | None) -> float | None:
    """Return how far a run is: its reliability, or its selection's overlap; None if unknown."""
    reliability = summary.reliability.encoders
    if selection is None or reliability is None:
        return reliability
    return expected_overlap(
        selection.scores["memorization"].to_numpy(),
        selection.scores["se"].to_numpy(),
        selection.n,
        reliability=reliability,
    )


def _views_per_sample(run: Run) -> float:
    return float(np.mean(run.scores(["uid", "n_views"])["n_views"].to_numpy()))


def _next(
    run: Run,
    summary: ScoreSummary,
    goal: Goal,
    value: float | None,
    left: float | None,
    selection: _Chosen | None,
) -> tuple[dict[str, int] | top_probability.Doubtful | None, str]:
    """Return what to extend a run by, or None, and why."""
    if value is not None and value >= goal.value:
        return None, "reached"
    repeats, views = run.recipe.plan.repeats, run.recipe.score.views
    reliability, spent = summary.reliability, run.facts()["seconds"]
    if selection is not None and reliability.encoders is not None:
        unsure = top_probability.doubtful(selection.scores, selection.n, reliability.encoders)
        if unsure.by_views > LARGER and unsure.views.min() < MOST_VIEWS:
            # Measured from the first view on: twice as many take twice the time.
            share = (
                2 * float(unsure.views.sum()) / float(selection.scores["n_views"].to_numpy().sum())
            )
            if left is not None and share * spent.get("align", 0.0) > left:
                return None, "budget"
            return unsure, "more views where the selection is in doubt"
    elif _views_err_more(reliability) and views < MOST_VIEWS:
        if left is not None and spent.get("align", 0.0) > left:
            return None, "budget"
        return {"views": min(2 * views, MOST_VIEWS)}, "more views"
    if repeats >= MOST_REPEATS:
        return None, "as many repeats as are ever made"
    if out_of_reach(repeats, reliability.high, goal):
        return None, (
            f"even the upper end of its interval, {reliability.high:.2f}, foretells more than "
            f"{MOST_REPEATS:,} repeats"
        )
    more = min(repeats_foretold(repeats, reliability.encoders, goal), MOST_REPEATS) - repeats
    if left is not None:
        each = (spent.get("train", 0.0) + spent.get("align", 0.0)) / repeats
        more = min(more, int(left / each) if each > 0 else more)
    if more < 1:
        return None, "budget"
    return {"repeats": repeats + more}, "more encoders"


def _views_err_more(reliability: Reliability) -> bool:
    """Return whether the larger part of the error would go with more views."""
    if reliability.views is None or reliability.encoders is None:
        return False
    views, both = 1 - reliability.views, 1 - reliability.encoders
    return bool(both > 0 and views > LARGER * both)


def out_of_reach(repeats: int, high: float | None, goal: Goal) -> bool:
    """Return whether the upper end of reliability's interval rules a goal for it out."""
    if high is None or goal.kind != "reliability":
        return False
    needed = goal.value / (1 - goal.value) * (1 - high) / max(high, 1e-9)
    return repeats * needed > MOST_REPEATS


def repeats_foretold(repeats: int, reliability: float | None, goal: Goal) -> int:
    """Return how many repeats are foretold to reach the goal, within ``GROWTH``."""
    if reliability is None:
        return max(2, repeats)
    if reliability <= 0 or goal.kind == "overlap":
        return 2 * repeats
    odds = goal.value / (1 - goal.value) * (1 - reliability) / reliability
    return max(repeats + 1, min(math.ceil(repeats * odds), GROWTH * repeats))
