import pytest

from curate.evaluation import comparison
from curate.reports import comparisons
from tests.answered import answered

pytestmark = pytest.mark.numeric


def summarised(rows):
    return comparison.summarise(rows, answered(rows), 400).to_json()


def compared(seeds, strategies=("top", "random")):
    rows = [
        {"strategy": s, "remove": 100, "seed": k, "source": "self", "kind": "linear",
         "n_test": 1000, "held_out": False,
         "accuracy": 0.9 + 0.01 * k + (0.02 + 0.001 * k if s == "top" else 0.0)}
        for k in range(seeds) for s in strategies
    ]  # fmt: skip
    return summarised(rows) | {"settings": {"budget": "steps"}}


def test_differences_are_in_percentage_points_with_their_interval():
    (row,) = comparisons.differences(compared(3))
    assert row["label"] == "keep the 300 most memorized · linear probe on the run’s own labels"
    assert row["seeds"] == pytest.approx([2.0, 2.1, 2.2])
    assert row["mean"] == pytest.approx(2.1)
    assert row["low"] < 2.0 < 2.2 < row["high"]
    assert (row["n"], 0 < row["p"] < 0.01) == (3, True)


def test_a_comparison_shows_figure_differences_and_arms():
    made = comparisons.shown("remove-100", compared(3))
    ((_, finding, note),) = made["figures"]
    assert finding == "For this selection: 1 of 1 intervals exclude 0; about 0.1 would by chance."
    assert "choice of test images" in note and "equal steps" in made["note"]
    (found,) = comparisons.differences(compared(3))
    interval = f"+{found['low']:.2f} to +{found['high']:.2f}\u00a0points"
    assert made["differences"][2] == [
        ["keep the 300 most memorized", "the run’s own labels", "linear probe",
         "+2.10\u00a0points", "+21.00 of 1,000", interval, "3"]
    ]  # fmt: skip
    arms = {row[0]: row[3:] for row in made["arms"][2]}
    assert arms == {
        "keep the 300 most memorized": ["93.10\u00a0%", "1.10\u00a0points", "3"],
        "300 at random": ["91.00\u00a0%", "1.00\u00a0points", "3"],
    }


def test_one_seed_has_no_interval():
    made = comparisons.shown("x", compared(1))
    assert made["differences"][2][0][5] == "none (one seed)"
    assert made["arms"][2][0][4] == "–"


def test_random_alone_is_compared_with_nothing():
    made = comparisons.shown("x", compared(2, strategies=("random",)))
    assert made["figures"] == [] and made["differences"][2] == []
    assert len(made["arms"][2]) == 1


def test_names_from_outside_are_one_visible_line():
    facts = compared(2)
    for row in (*facts["differences"], *facts["arms"]):
        row["source"] = "folder:a\u202eb\n"
    made = comparisons.shown("n\nx", facts)
    assert made["title"] == "n\\u000ax"
    assert made["differences"][2][0][1] == "folder:a\\u202eb\\u000a"


def test_two_sizes_make_a_curve_of_each_source_and_probe():
    rows = [
        {"strategy": s, "remove": remove, "seed": k, "source": "self", "kind": kind,
         "n_test": 1000, "held_out": False,
         "accuracy": 0.9 - remove / 1000 + 0.001 * k - (0.05 + 0.001 * k) * (s == "top")}
        for kind in ("linear", "knn") for remove in (50, 100) for k in range(3)
        for s in ("top", "random")
    ]  # fmt: skip
    _, linear, knn = comparisons.shown("x", summarised(rows))["figures"]
    for (drawn, finding, note), probe in ((linear, "Linear"), (knn, "K-NN")):
        assert finding == (
            f"{probe} probe on the run’s own labels: of the intervals of 2 differences from "
            "random, 0 lie above 0 and 2 below."
        )
        assert "removed (images)" in drawn.svg and "test accuracy (%)" in drawn.svg
        assert "95\u00a0% t-intervals" in note
    assert linear[0].name != knn[0].name
