"""Next steps: what follows from the verdict on a run, each with a command that can be pasted.

The terminal names the first of them, the report all.
"""

from __future__ import annotations

from dataclasses import dataclass

from curate.scores.summary import GOOD, LOW, MODERATE, Reliability
from curate.scores.verdict import GROUP, NOTHING, RANKING

LONGER = 4
"""How many times as long to train where there is no signal."""


@dataclass(frozen=True)
class Step:
    """Advice, and the command that follows it.

    Attributes:
        advice: What to do and why.
        command: What to type; None where there is nothing to type.
    """

    advice: str
    command: str | None


@dataclass(frozen=True)
class Stand:
    """Where a scored run stands.

    Attributes:
        run: What a user types for it.
        grade: Of its verdict.
        reliability: Of its ranking.
        epochs: Of its recipe.
        scored: Samples with a score.
        unscored: Samples without.
        compared: Whether selections were compared with random ones.
        selected: A manifest's path as a user types it; None where nothing was selected.
        adopted: Whether its encoders were trained elsewhere.
    """

    run: str
    grade: str
    reliability: Reliability
    epochs: int
    scored: int
    unscored: int
    compared: bool = False
    selected: str | None = None
    adopted: bool = False


def next_steps(stand: Stand) -> list[Step]:
    """Return what to do next with a scored run, the most urgent first."""
    reliability, run = stand.reliability, stand.run
    steps = []
    # Where an interval rules a ranking out, more of the same encoders find none either.
    ruled_out = reliability.high is not None and reliability.high < LOW
    if stand.adopted and (stand.grade != RANKING or (reliability.encoders or 0.0) < GOOD):
        steps.append(
            Step(
                "Adopt more encoders that saw some of these images and not others, or that were "
                "trained longer: nothing here trains the ones that were adopted.",
                None,
            )
        )
    elif stand.grade == NOTHING or (stand.grade == GROUP and ruled_out):
        what = "a signal" if stand.grade == NOTHING else "a ranking"
        steps.append(
            Step(
                f"Get {what} first: train longer or on fewer images, or measure with the views the "
                "encoder was trained with. Do not select by these scores.",
                f"curate score {run} --set train.epochs={LONGER * stand.epochs} --retrain",
            )
        )
    elif reliability.encoders is None or reliability.encoders < GOOD:
        goal = MODERATE if stand.grade == GROUP else GOOD
        steps.append(
            Step(
                "Make the ranking more reliable: training noise is averaged out by more encoders, "
                "not by more views.",
                f"curate score {run} --until reliability={goal:g}",
            )
        )
    if stand.grade == RANKING:
        steps += _uses(stand)
    return steps


def _uses(stand: Stand) -> list[Step]:
    """Return what a ranking is good for."""
    steps = []
    if not stand.compared and stand.scored > 1:
        steps.append(
            Step(
                "Find out whether selecting matters: retrain on memorized and on random "
                "selections of equal size, with at least five seeds.",
                f"curate compare {stand.run} --remove {max(1, stand.scored // 10)} "
                "--strategies top,random --seeds 5",
            )
        )
    if stand.selected is not None:
        steps.append(
            Step(
                "Use a selection: the names of the files it keeps, or with --to folder the images "
                "themselves, for your own training.",
                f"curate export {stand.selected} --to paths --out kept.txt",
            )
        )
    else:
        steps.append(Step("Select images to keep.", selecting(stand)))
    return steps


def selecting(stand: Stand) -> str:
    """Return the command that keeps three quarters of what is scored."""
    rest = " --unscored keep" if stand.unscored else ""
    return f"curate select {stand.run} --top {max(1, stand.scored * 3 // 4)}{rest}"
