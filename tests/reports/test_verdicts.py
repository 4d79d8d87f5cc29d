import pytest

from curate.reports import verdicts


def outcome(name, p, statistic=5.0):
    return {"name": name, "statistic": statistic, "p": p, "cohens_d": 0.5, "n": [50]}


def summary(separation, *tests, views=None, encoders=None):
    reliability = {"views": views, "encoders": encoders}
    return {"separation": separation, "tests": list(tests), "reliability": reliability}


def test_clear_separation_names_the_tests_that_decided_and_no_other():
    found = verdicts.signal(
        summary("clear", outcome("C>S", 1e-9), outcome("C>E", 1e-8), outcome("C>0", 0.5))
    )
    assert (found.state, found.answer) == ("good", "Yes: separation is clear")
    assert "C>S" in found.because and "C>E" in found.because and "C>0" not in found.because
    assert "not yet of single images" in found.because


def test_no_separation_is_said_plainly_with_its_numbers():
    found = verdicts.signal(summary("none", outcome("m>0", 0.4, statistic=0.25)))
    assert (found.state, found.answer) == ("bad", "No separation")
    assert "t\u00a0=\u00a00.25, p\u00a0=\u00a00.4" in found.because
    assert "no better than a random one" in found.because


@pytest.mark.parametrize("tests", [(), (outcome("m>0", None, statistic=None),)])
def test_what_could_not_be_tested_is_not_called_tested(tests):
    found = verdicts.signal(summary("none", *tests))
    assert (found.state, found.answer) == ("bad", "No separation: not testable")
    assert "p\u00a0" not in found.because


@pytest.mark.parametrize(
    ("views", "encoders", "state", "answer"),
    [
        (None, None, "open", "Unknown"),
        (0.9, None, "open", "Unknown: views only"),
        (0.9, 0.85, "good", "Good: 0.85 of 1"),
        (0.9, 0.5, "open", "Moderate: 0.50 of 1"),
        (0.9, 0.1, "bad", "Poor: 0.10 of 1"),
        (0.9, -0.7, "bad", "Poor: 0.00 of 1"),
    ],
)
def test_the_ranking_is_judged_by_both_parts_of_its_noise(views, encoders, state, answer):
    found = verdicts.ranking(summary("clear", views=views, encoders=encoders))
    assert (found.state, found.answer) == (state, answer)


def test_reliability_of_views_alone_is_called_an_upper_limit():
    assert "upper limit" in verdicts.ranking(summary("clear", views=0.95)).because


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
