"""Runs that are extended until their ranking is as sure as was asked."""

import json

import numpy as np
import pytest

import curate
from curate.errors import UsageError
from curate.scores.top_probability import expected_overlap
from curate.stages import refine
from curate.stages.refine import Goal
from tests.command import TINY
from tests.command import curate as typed

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("text", ["reliability", "reliability=1", "overlap=x", "rank=0.5", "=0.5"])
def test_goals_that_cannot_be_are_refused(text):
    with pytest.raises(UsageError, match="until"):
        Goal.parse(text)


@pytest.mark.parametrize("text", ["", "30", "0m", "m", "-3s", "1w"])
def test_durations_that_are_none_are_refused(text):
    with pytest.raises(UsageError, match="budget"):
        refine.seconds(text)


def test_durations_are_seconds_minutes_hours_or_days():
    assert [refine.seconds(t) for t in ("90s", "1.5m", "2h", "1d")] == [90, 90, 7200, 86400]


@pytest.mark.parametrize(
    ("repeats", "reliability", "wanted"),
    [
        (1, None, 2),
        (4, -0.2, 8),
        (10, 0.5, 20),  # 2 / 3 is twice the odds
        (10, 0.1, 30),  # 180, were so low a reliability known so well
        (10, 0.66, 11),
    ],
)
def test_spearman_and_brown_foretell_the_repeats(repeats, reliability, wanted):
    goal = Goal("reliability", 2 / 3)
    assert refine.repeats_foretold(repeats, reliability, goal) == wanted


@pytest.mark.parametrize(
    ("repeats", "high", "goal", "ruled_out"),
    [
        (10, None, 0.8, False),
        (10, 0.5, 0.8, False),  # 40
        (10, 0.03, 0.8, True),  # 1,293
        (10, -0.1, 0.1, True),
    ],
)
def test_a_goal_that_the_interval_rules_out_is_given_up(repeats, high, goal, ruled_out):
    assert refine.out_of_reach(repeats, high, Goal("reliability", goal)) is ruled_out
    assert not refine.out_of_reach(repeats, high, Goal("overlap", goal))


def test_a_goal_is_reached_by_extending_the_run(tmp_path):
    made = typed("score", TINY, "--runs", tmp_path, "--workers", "1", "--device", "cpu", "--json")
    assert made.code == 0, made.err
    before = json.loads(made.out)
    assert before["reliability"]["encoders"] is None
    more = ["--until", "reliability=0.01", "--budget", "10m", "--json"]
    found = typed("score", TINY, "--runs", tmp_path, "--workers", "1", "--device", "cpu", *more)
    assert found.code == 0, found.err
    facts = json.loads(found.out)
    rounds = facts["until"]["rounds"]
    assert [rounds[0]["encoders"], rounds[1]["encoders"]] == [2, 4]
    grown = [(r["repeats"], r["views"]) for r in rounds]
    assert grown == sorted(grown) and len(set(grown)) == len(grown)
    last = rounds[-1]
    assert len(facts["encoders"]) == last["encoders"] == 2 * last["repeats"]
    assert facts["until"]["value"] == facts["reliability"]["encoders"] == last["value"]
    assert facts["until"]["reached"] == (last["value"] >= 0.01)
    run = curate.open_run("tiny", runs=tmp_path, create=False)
    assert run.facts()["until"] == facts["until"]
    assert run.recipe.plan.repeats == last["repeats"]
    # Each look spent half of the probability to be wrong that was left; none was free.
    assert facts["looks"] == run.looks() == len(rounds)
    assert facts["reliability"]["confidence"] == pytest.approx(1 - 0.05 / 2 ** len(rounds))
    again = typed("score", TINY, "--runs", tmp_path, "--workers", "1", "--device", "cpu", *more)
    assert again.code == 0, again.err
    assert json.loads(again.out)["looks"] >= facts["looks"]


def test_no_round_begins_that_would_exceed_the_budget(tiny_runs):
    run = curate.open_run("tiny", runs=tiny_runs, create=False)
    refined = curate.refine(run, "overlap=0.99", budget="0.001s", device="cpu")
    assert not refined.reached and refined.why == "budget"
    assert len(refined.rounds) == 1
    assert curate.score(run).already


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--budget", "5m"], "--budget goes with --until"),
        (["--until", "reliability=2"], "between 0 and 1"),
        (["--until", "overlap=0.5", "--budget", "soon"], "expected a duration"),
        (["--fdr", "1.5"], "expected a share between 0 and 1"),
    ],
)
def test_wrong_wishes_cost_nothing(tmp_path, arguments, says):
    found = typed("score", TINY, "--runs", tmp_path / "runs", *arguments)
    assert found.code == 2 and says in found.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("strategy", "sign"), [("top", 1), ("drop-top", 1), ("bottom", -1)])
def test_an_overlap_is_that_of_the_end_which_the_recipe_selects(tiny_runs, strategy, sign):
    settings = {"select.strategy": strategy, "select.fraction": 0.25, "plan.repeats": 2}
    run = curate.open_run("tiny", runs=tiny_runs, overrides=settings, create=False)
    refined = curate.refine(run, "overlap=0.99", budget="0.001s", device="cpu")
    scores = run.scores(["memorization", "se"]).to_pydict()
    m, se = (np.array(scores[name], dtype=float) for name in ("memorization", "se"))
    scored = np.isfinite(m)
    wanted = expected_overlap(
        sign * m[scored],
        se[scored],
        round(scored.sum() / 4),
        reliability=run.summary().reliability.encoders,
    )
    assert refined.value == pytest.approx(wanted)


@pytest.mark.parametrize("settings", [
    {"select.strategy": "random"}, {"select.by": "expected"},
])  # fmt: skip
def test_an_overlap_is_told_of_memorization_alone(tiny_runs, settings):
    given = [word for pair in settings.items() for word in ("--set", "=".join(pair))]
    found = typed("score", "tiny", "--runs", tiny_runs, "--until", "overlap=0.9", *given)
    assert found.code == 2 and "give reliability=X" in found.err
