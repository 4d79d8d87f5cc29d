"""One verdict in three grades, and what a ranking may be required to have."""

import pytest

from curate.errors import UnreliableError, UsageError
from curate.scores.summary import Expectation, Interval, Reliability, ScoreSummary
from curate.scores.verdict import require, required, verdict


def found(encoders, low=None, high=None, **more):
    return Reliability(views=0.9, encoders=encoders, note="", low=low, high=high, **more)


@pytest.mark.parametrize(
    ("separation", "reliability", "grade"),
    [
        ("none", found(0.9, 0.8, 0.95), "nothing"),
        ("clear", found(None), "group"),
        ("clear", found(-0.01, -0.1, 0.08), "group"),  # t = 6.9 on CIFAR-10, and no ranking
        ("clear", found(0.5), "group"),  # two repeats have no interval
        ("clear", found(0.15, 0.05, 0.25), "group"),
        ("clear", found(0.3, -0.1, 0.7), "group"),
        ("clear", found(0.3, 0.1, 0.5), "ranking"),
    ],
)
def test_the_grade_goes_no_further_than_the_numbers(separation, reliability, grade):
    assert verdict(separation, reliability).grade == grade


def test_the_sentence_begins_with_the_grade_and_has_the_interval():
    text = verdict("clear", found(0.43, 0.34, 0.52)).text
    assert text.startswith("the ranking: ") and "trust groups" in text
    assert "reliability 0.43, 95 % interval 0.34 to 0.52" in text
    text = verdict("clear", found(-0.01, -0.09, 0.07, confidence=0.975)).text
    assert text.startswith("the group: ") and "97.5 % interval -0.09 to 0.07" in text
    assert "one encoder on each side" in verdict("clear", found(None)).text
    assert "takes three repeats" in verdict("clear", found(0.5)).text
    fixed = verdict("clear", found(0.9, 0.8, 0.95, groups="fixed")).text
    assert "other groups would give another order" in fixed


@pytest.mark.parametrize("text", ["reliability", "reliability=1", "overlap=0.5", "0.5", "=0.5"])
def test_requirements_that_cannot_be_are_refused(text):
    with pytest.raises(UsageError, match="require"):
        required(text)


def summary(reliability, expected=None):
    expectation = expected and Expectation((), expected, None, None, 1.0, 0.0, 1.0, (1, 1), "")
    return ScoreSummary(
        groups={},
        tests=(),
        separation="clear",
        reliability=reliability,
        verdict=verdict("clear", reliability),
        normalised_mean=None,
        n_scored=1,
        n_unscored=0,
        score_direction="",
        views=1,
        encoders=(),
        interval=Interval(0.95, None, None),
        expectation=expectation,
    )


def test_a_ranking_that_is_less_reliable_than_required_is_refused():
    require("reliability=0.5", summary(found(0.5, 0.4, 0.6)), "digits")
    require(None, summary(found(None)), "digits")
    for low in (found(0.49, 0.4, 0.6), found(None)):
        with pytest.raises(UnreliableError, match=r"--until reliability=0\.5") as error:
            require("reliability=0.5", summary(low), "digits")
        assert error.value.exit_code == 8


def test_a_requirement_is_asked_of_what_ranks():
    better = summary(found(0.4, 0.3, 0.5), expected=0.6)
    require("reliability=0.5", better, "digits", "expected")
    for by, told in (("memorization", "reliability 0.40"), ("expected", "expected 0.60")):
        with pytest.raises(UnreliableError, match=told):
            require("reliability=0.7", better, "digits", by)
    with pytest.raises(UnreliableError, match="expected cannot be told"):
        require("reliability=0.2", summary(found(0.4)), "digits", "expected")
    with pytest.raises(UsageError, match="by el2n is, a run does not show"):
        require("reliability=0.5", better, "digits", "el2n")
