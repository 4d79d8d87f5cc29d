"""What is advised follows from the verdict."""

import pytest

from curate.runs.next_steps import Stand, next_steps
from curate.scores.summary import Reliability


def commands(grade, encoders, low=None, high=None, **more):
    reliability = Reliability(views=0.9, encoders=encoders, note="", low=low, high=high)
    stand = Stand("digits", grade, reliability, epochs=100, scored=898, unscored=0, **more)
    return [step.command for step in next_steps(stand)]


LONGER = "curate score digits --set train.epochs=400 --retrain"


@pytest.mark.parametrize(
    ("grade", "reliability", "wanted"),
    [
        ("nothing", (0.0, -0.1, 0.1), [LONGER]),
        ("group", (-0.01, -0.1, 0.1), [LONGER]),  # more encoders would find no ranking either
        ("group", (0.1, -0.1, 0.3), ["curate score digits --until reliability=0.4"]),
        ("group", (None,), ["curate score digits --until reliability=0.4"]),
    ],
)
def test_without_a_ranking_the_way_to_one_is_all_that_is_advised(grade, reliability, wanted):
    assert commands(grade, *reliability) == wanted


def test_a_ranking_is_made_surer_compared_and_used():
    found = commands("ranking", 0.5, 0.4, 0.6)
    assert found == [
        "curate score digits --until reliability=0.8",
        "curate compare digits --remove 89 --strategies top,random --seeds 5",
        "curate select digits --top 673",
    ]
    done = commands("ranking", 0.9, 0.8, 0.95, compared=True, selected="a.parquet")
    assert done == ["curate export a.parquet --to paths --out kept.txt"]
