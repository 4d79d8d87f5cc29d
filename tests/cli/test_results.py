"""What a command says of its results."""

from pathlib import Path

import pytest

from curate.cli.results.evaluation import comparison_lines
from curate.cli.results.pipeline import score_lines
from curate.evaluation.comparison import Comparison, summarise
from curate.scores.summary import GroupTest, Interval, Reliability, ScoreSummary
from curate.scores.verdict import verdict
from tests.answered import answered


def summary(encoders, low):
    high = None if low is None else 2 * encoders - low
    found = Reliability(views=0.9, encoders=encoders, note="views only", low=low, high=high)
    return ScoreSummary(
        groups={},
        tests=(GroupTest("m>0", 3.0, 0.001, 0.5, (9,)),),
        separation="clear",
        reliability=found,
        verdict=verdict("clear", found),
        normalised_mean=0.1,
        n_scored=9,
        n_unscored=0,
        score_direction="higher = more memorized",
        views=3,
        encoders=("f", "g"),
        interval=Interval(0.95, 3.0, 3.2),
    )


@pytest.mark.parametrize(
    ("encoders", "low", "said"),
    [
        (0.85, 0.8, "verdict     the ranking: "),
        (0.5, 0.3, "trust groups such as the top tenth"),
        (-0.06, -0.2, "verdict     the group: "),
        (-0.06, -0.2, "reliability -0.06 of views and encoders, 0.90 of views alone"),
        (None, None, "reliability 0.90 (views only)"),
    ],
)
def test_the_ranking_is_judged_in_plain_words(encoders, low, said):
    lines = score_lines(summary(encoders, low))
    assert any(said in line for line in lines)


def compared(leaked):
    """Return the table and the lines of a comparison of which some test images leak."""
    rows = [
        {
            **{"strategy": strategy, "remove": 20, "seed": seed, "source": "self"},
            **{"kind": "knn", "held_out": False, "n_test": 100, "validation_accuracy": None},
            **{"accuracy": accuracy + seed / 100, "chosen": {}, "leaked": leaked},
            "accuracy_without_leaks": None if leaked is None else accuracy - 0.1,
        }
        for strategy, accuracy in (("top", 0.8), ("random", 0.7))
        for seed in range(2)
    ]
    found = summarise(rows, answered(rows), 80)
    comparison = Comparison(**vars(found), settings={}, results=(), path=Path("here"))
    table, *lines = comparison_lines(comparison)
    return table, [line for line in lines if line.startswith("leaks")]


def test_accuracies_without_leaks_stand_beside_those_with_them():
    table, [told] = compared(3)
    column = dict(zip(table.header, zip(*table.rows, strict=True), strict=True))
    assert column["without leaks"] == ("70.00%", "60.00%")
    assert "3 of 100 test images of self have a copy among the training images" in told
    assert "+10.00 without leaks" in table.lines[0]


@pytest.mark.parametrize("leaked", [None, 0])
def test_where_nothing_leaks_nothing_is_said_of_leaks(leaked):
    table, told = compared(leaked)
    assert "without leaks" not in table.header
    assert "without leaks" not in table.lines[0]
    assert not told
