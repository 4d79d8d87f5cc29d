"""What a command says of its results."""

import pytest

from curate.cli.results.pipeline import score_lines
from curate.scores.summary import GroupTest, Interval, Reliability, ScoreSummary


def summary(encoders):
    return ScoreSummary(
        groups={},
        tests=(GroupTest("m>0", 3.0, 0.001, 0.5, (9,)),),
        separation="clear",
        reliability=Reliability(views=0.9, encoders=encoders, note="views only"),
        normalised_mean=0.1,
        n_scored=9,
        n_unscored=0,
        score_direction="higher = more memorized",
        views=3,
        encoders=("f", "g"),
        interval=Interval(0.95, 3.0, 3.2),
    )


@pytest.mark.parametrize(
    ("encoders", "said"),
    [
        (0.85, "another run would rank much alike"),
        (0.5, "trust groups such as the top tenth"),
        (-0.06, "reliability -0.06 (views and encoders; views alone 0.90): the order of single"),
        (None, "reliability 0.90 (views only)"),
    ],
)
def test_the_ranking_is_judged_in_plain_words(encoders, said):
    lines = score_lines(summary(encoders))
    assert any(said in line for line in lines)
