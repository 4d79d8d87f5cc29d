import dataclasses
from pathlib import Path

import pytest

from curate.reports.material import gather
from curate.reports.steps import steps
from tests.reports.made_run import make_run


def commands(material):
    return [command for _, command in steps(material) if command]


def test_a_run_without_signal_is_told_to_get_one_first(tmp_path):
    path = make_run(tmp_path / "run", kind="pair", effect=0.0, n=200)
    material = gather(path)
    advice, command = steps(material)[0]
    assert "Do not select by these scores" in advice
    assert command == f"curate run {path} --set train.epochs=200 --fresh"
    assert not any("curate select" in c or "curate export" in c for c in commands(material))


@pytest.mark.parametrize("kind", ["pair", "halves", "folds", "subsets"])
def test_more_encoders_are_asked_for_until_they_are_enough(runs, kind):
    assert f"curate score {runs[kind]} --until reliability=0.8" in commands(gather(runs[kind]))


def test_a_plan_that_leaves_samples_unscored_says_what_to_do_with_them(runs):
    some, all_ = runs["pair"], runs["folds"]
    assert f"curate select {some} --fraction 0.8 --unscored keep" in commands(gather(some))
    assert f"curate select {all_} --fraction 0.8" in commands(gather(all_))


def test_a_comparison_removes_fewer_than_there_are(runs):
    path = runs["folds"]
    want = f"curate compare {path} --remove 27 --strategies top,random --seeds 3"
    assert want in commands(gather(path))


def test_what_was_done_is_not_advised_again(full_run):
    found = commands(gather(full_run))
    assert not any(command.startswith("curate compare") for command in found)
    assert f"curate export {full_run}/manifests/drop-50.parquet --to paths --out kept.txt" in found


def test_a_hostile_name_is_one_word_of_the_command(runs):
    found = gather(runs["folds"])
    found = dataclasses.replace(found, path=Path("runs/x; rm -rf ~\n"))
    assert all("'x; rm -rf ~\\u000a'" in command for command in commands(found))


def test_a_run_where_runs_lie_is_called_by_its_name(tmp_path, monkeypatch):
    make_run(tmp_path / "runs" / "digits", n=60)
    monkeypatch.chdir(tmp_path)
    found = commands(gather(Path("runs/digits")))
    assert "curate select digits --fraction 0.8" in found
