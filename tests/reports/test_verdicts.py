import pytest

from curate.reports import verdicts
from curate.scores.summary import Reliability
from curate.scores.verdict import verdict


def outcome(name, p, statistic=5.0):
    return {"name": name, "statistic": statistic, "p": p, "cohens_d": 0.5, "n": [50]}


def summary(separation, *tests, views=None, encoders=None, low=None):
    high = None if low is None else 2 * encoders - low
    found = Reliability(views=views, encoders=encoders, note="", low=low, high=high)
    said = verdict(separation, found).to_json()
    return {"verdict": said, "tests": list(tests), "reliability": found.to_json()}


def test_a_ranking_names_the_tests_that_decided_and_no_other():
    tests = (outcome("C>S", 1e-9), outcome("C>E", 1e-8), outcome("C>0", 0.5))
    found = verdicts.scores(summary("clear", *tests, views=0.9, encoders=0.5, low=0.4))
    assert (found.state, found.answer) == ("good", "The ranking")
    assert "C>S" in found.because and "C>E" in found.because and "C>0" not in found.because
    assert "reliability 0.50, 95 % interval 0.40 to 0.60" in found.because


def test_nothing_is_said_plainly_with_its_numbers():
    found = verdicts.scores(summary("none", outcome("m>0", 0.4, statistic=0.25)))
    assert (found.state, found.answer) == ("bad", "Nothing")
    assert "t\u00a0=\u00a00.25, p\u00a0=\u00a00.4" in found.because
    assert "no better than a random one" in found.because


@pytest.mark.parametrize("tests", [(), (outcome("m>0", None, statistic=None),)])
def test_what_could_not_be_tested_is_not_called_tested(tests):
    found = verdicts.scores(summary("none", *tests))
    assert (found.state, found.answer) == ("bad", "Nothing")
    assert "no test could be made" in found.because and "p\u00a0" not in found.because


@pytest.mark.parametrize(("encoders", "low"), [(None, None), (0.7, None), (0.1, 0.05)])
def test_a_mean_is_the_group_and_not_the_ranking(encoders, low):
    tests = (outcome("m>0", 1e-9),)
    found = verdicts.scores(summary("clear", *tests, views=0.95, encoders=encoders, low=low))
    assert (found.state, found.answer) == ("open", "The group, not the ranking")
    assert "Counting views alone, reliability is 0.95: an upper limit" in found.because


def difference(mean, half, p):
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return {"label": "drop 50", "mean": mean, "low": low, "high": high, "p": p}


@pytest.mark.parametrize(
    ("differences", "state", "answer"),
    [
        ([], "open", "Not measured"),
        ([difference(3.0, None, None)], "open", "Unknown: one seed"),
        ([difference(1.0, 2.0, 0.3)], "open", "Not shown"),
        ([difference(-3.0, 1.0, 0.001)], "good", "Yes, it makes a difference"),
        # Every pair of seeds alike: an interval of no width that tests nothing.
        ([difference(1.0, 0.0, None)], "open", "Perhaps: more seeds are needed"),
        # One of ten at p = 0.03 is what chance gives.
        (
            [difference(3.0, 1.0, 0.03)] + 9 * [difference(1.0, 2.0, 0.3)],
            "open",
            "Perhaps: more seeds are needed",
        ),
    ],
)
def test_a_benefit_is_claimed_only_where_it_stands_among_all_looks(differences, state, answer):
    found = verdicts.benefit(differences)
    assert (found.state, found.answer) == (state, answer)


def test_the_clearest_difference_is_shown_with_its_interval():
    rows = [difference(-3.0, 1.0, 0.001), difference(9.0, 8.0, 0.04), difference(0.1, 2.0, 0.9)]
    text = verdicts.benefit(rows).because
    assert "2 of 3 differences" in text and "about 0.2 would" in text
    assert "drop 50, −3.00\u00a0points of test accuracy (−4.00 to −2.00)" in text
