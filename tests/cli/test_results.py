"""What a command says of its results."""

import pytest

from curate.cli.results.pipeline import score_lines


def facts(encoders):
    return {
        "n_scored": 9,
        "encoders": ["f", "g"],
        "tests": [{"name": "m>0", "statistic": 3.0, "p": 0.001, "cohens_d": 0.5}],
        "separation": "clear",
        "reliability": {"views": 0.9, "encoders": encoders, "note": "views only"},
    }


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
    lines = score_lines(facts(encoders))
    assert any(said in line for line in lines)
