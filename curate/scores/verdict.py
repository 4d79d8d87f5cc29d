"""The verdict on the scores of a run: nothing, the group, or the ranking; said once, for all.

Terminal, report, manifests, selections, exports and comparisons say it in these words.
"""

from __future__ import annotations

import math

from curate.errors import UnreliableError, UsageError
from curate.scores.summary import GOOD, LOW, MODERATE, Reliability, ScoreSummary, Verdict

NOTHING, GROUP, RANKING = "nothing", "group", "ranking"
"""The grades: no memorization is shown; it is shown on average; and of single images."""

MEMORIZATION, EXPECTED = "memorization", "expected"
"""The columns whose reliability is known: scores, and the posterior."""


def verdict(separation: str, reliability: Reliability, *, scored: bool = True) -> Verdict:
    """Return what the scores of a run show.

    ``nothing`` where members do not separate from non-members. ``ranking`` where they do, and
    reliability is ``LOW`` or more with an interval above 0, which takes three repeats of the plan.
    ``group`` in between: the mean of many scores is known long before any one of them is.

    Args:
        separation: ``clear`` or ``none``.
        reliability: Of the ranking.
        scored: Whether any sample has a score.
    """
    if not scored:
        return Verdict(
            NOTHING,
            "nothing can be known: no image was seen by some of the encoders and not by others, "
            "and what one encoder memorized shows against another that never saw it",
        )
    if separation != "clear":
        return Verdict(
            NOTHING,
            "nothing: the scores do not tell images that an encoder saw from those that it did "
            "not; a selection by them may be no better than a random one",
        )
    known = stated(reliability)
    shown = reliability.encoders is not None and reliability.low is not None
    if not shown or reliability.encoders < LOW or reliability.low <= 0:  # type: ignore[operator]
        return Verdict(
            GROUP,
            "the group: on average images align worse on encoders that never saw them; which "
            f"images most, the scores do not show ({known})",
        )
    return Verdict(
        RANKING,
        f"the ranking: the scores tell single images apart ({known}): " + _trust(reliability),
    )


def stated(reliability: Reliability) -> str:
    """Return a reliability in words, with its interval or why it has none."""
    if reliability.encoders is None:
        return "how reliable their order is, one encoder on each side cannot show"
    point = f"reliability {reliability.encoders:.2f}"
    if reliability.low is None or reliability.high is None:
        return f"{point}, without an interval: that takes three repeats of the plan"
    level = f"{100 * reliability.confidence:.4g} % interval"
    return f"{point}, {level} {reliability.low:.2f} to {reliability.high:.2f}"


def _trust(reliability: Reliability) -> str:
    """Return what the order of single images is good for."""
    if reliability.groups == "fixed":
        return "with the same groups; other groups would give another order"
    assert reliability.encoders is not None
    if reliability.encoders >= GOOD:
        return "another run would rank much alike"
    if reliability.encoders >= MODERATE:
        return "trust groups such as the top tenth more than single ranks"
    return "trust large groups such as the upper half, and no single rank"


def required(text: str) -> float:
    """Read what a ranking is required to have, such as ``reliability=0.5``.

    Raises:
        UsageError: If it is something else.
    """
    name, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if name != "reliability" or not 0 < value < 1:
        raise UsageError(f"require {text}: expected reliability=X with X between 0 and 1.")
    return value


def require(text: str | None, summary: ScoreSummary, run: str, by: str = MEMORIZATION) -> None:
    """Check that a ranking is as reliable as asked; None asks for nothing.

    Args:
        text: As ``required`` reads it.
        summary: Of the scores.
        run: What a user types for the run.
        by: What ranks: ``memorization``, or ``expected``, whose reliability is the posterior's.

    Raises:
        UsageError: If nobody can know how reliable a ranking by that is.
        UnreliableError: If it is not as reliable, or this run does not show it.
    """
    if text is None:
        return
    least = required(text)
    if by == MEMORIZATION:
        known, statement = summary.reliability.encoders, stated(summary.reliability)
    elif by == EXPECTED:
        known = summary.expectation.reliability if summary.expectation else None
        statement = f"reliability of {by} " + (
            "cannot be told" if known is None else f"{known:.2f}"
        )
    else:
        raise UsageError(
            f"require {text}: how reliable a ranking by {by} is, a run does not show; ask it of "
            f"{MEMORIZATION} or {EXPECTED}."
        )
    if known is None or known < least:
        raise UnreliableError(
            f"{run}: {statement}; {least:g} is required, and nothing was selected. Add "
            f"encoders: 'curate score {run} --until reliability={least:g}'."
        )
