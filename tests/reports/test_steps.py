import dataclasses
from pathlib import Path

import pytest

from curate.reports.material import gather
from curate.reports.steps import steps
from tests.reports.made_run import make_run


def commands(material):
    return [step.command for step in steps(material) if step.command]


def test_a_run_without_signal_is_told_to_get_one_first(tmp_path):
    path = make_run(tmp_path / "run", kind="pair", effect=0.0, n=200)
    material = gather(path)
    first = steps(material)[0]
    assert "Do not select by these scores" in first.advice
    assert first.command == f"curate score {path} --set train.epochs=200 --retrain"
    assert not any("curate select" in c or "curate export" in c for c in commands(material))


@pytest.mark.parametrize("kind", ["pair", "halves", "subsets"])
def test_a_group_without_a_ranking_is_told_to_add_encoders_and_no_more(runs, kind):
    found = commands(gather(runs[kind]))
    assert found[0] == f"curate score {runs[kind]} --until reliability=0.4"
    assert not any("curate select" in c or "curate compare" in c for c in found)


def test_a_ranking_is_compared_and_selected_by(runs):
    path = runs["folds"]
    found = commands(gather(path))
    assert f"curate select {path} --top 202" in found
    assert f"curate compare {path} --remove 27 --strategies top,random --seeds 5" in found


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
    assert "curate inspect digits" not in found and any("digits" in c for c in found)
