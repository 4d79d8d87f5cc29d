import dataclasses

import pytest
from made_run import make_run

from curate.reports.material import gather
from curate.reports.steps import steps


def commands(material):
    return [command for _, command in steps(material) if command]


def test_a_run_without_signal_is_told_to_get_one_first(tmp_path):
    material = gather(make_run(tmp_path / "run", kind="pair", effect=0.0, n=200))
    advice, command = steps(material)[0]
    assert "Do not select by these scores" in advice
    assert command == "curate run digits --set train.epochs=200 --fresh"


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        ("pair", "plan.repeats=4"),
        ("halves", "plan.repeats=4"),
        ("folds", "plan.folds=10"),
        ("subsets", "plan.subsets=32"),
    ],
)
def test_more_encoders_are_asked_for_as_the_plan_allows(runs, kind, setting):
    assert f"curate score {kind} --set {setting} --fresh" in commands(gather(runs[kind]))


def test_a_plan_with_many_folds_is_repeated(runs):
    found = gather(runs["folds"])
    plan = {**found.recipe["plan"], "folds": 12}
    found = dataclasses.replace(found, run={**found.run, "recipe": {**found.recipe, "plan": plan}})
    assert "curate score folds --set plan.repeats=4 --fresh" in commands(found)


def test_a_plan_that_leaves_samples_unscored_says_what_to_do_with_them(runs):
    assert "curate select pair --fraction 0.8 --unscored keep" in commands(gather(runs["pair"]))
    assert "curate select folds --fraction 0.8" in commands(gather(runs["folds"]))


def test_a_comparison_removes_fewer_than_there_are(runs):
    found = commands(gather(runs["folds"]))
    assert "curate compare folds --remove 27 --strategies top,random --seeds 3" in found


def test_what_was_done_is_not_advised_again(full_run):
    found = commands(gather(full_run))
    assert not any(command.startswith("curate compare") for command in found)
    assert f"curate export {full_run}/manifests/drop-50.parquet --to paths --out kept.txt" in found


def test_a_hostile_name_is_one_word_of_the_command(runs):
    found = gather(runs["folds"])
    found = dataclasses.replace(found, run={**found.run, "name": "x; rm -rf ~\n"})
    assert all("'x; rm -rf ~\\u000a'" in command for command in commands(found))
