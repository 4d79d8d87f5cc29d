"""What a command says of its results."""

import pytest

from curate.cli.results.pipeline import score_lines
from curate.scores.summary import GroupTest, Interval, Reliability, ScoreSummary
from curate.scores.verdict import verdict


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
