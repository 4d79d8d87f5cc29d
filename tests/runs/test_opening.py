"""What a name on the command line means, and what a new run records of its making."""

import pytest

import curate
from curate.errors import MismatchError, UsageError
from tests.command import TINY


def test_a_run_remembers_its_recipe_and_overrides(tmp_path):
    made = curate.open_run(str(TINY), runs=tmp_path, overrides={"train.epochs": 1}, data=tmp_path)
    facts = made.facts()
    assert facts["recipe_origin"] == str(TINY)
    assert facts["overrides"] == {"train.epochs": 1}
    assert facts["data_path"] == str(tmp_path)
    for name in ("tiny", str(TINY), str(tmp_path / "tiny")):
        assert curate.open_run(name, runs=tmp_path).recipe.train.epochs == 1
    # The same again, or one more way of saying what it is already.
    same = {"train.epochs": "1", "data.limit": "80"}
    assert curate.open_run("tiny", runs=tmp_path, overrides=same).path == made.path
    with pytest.raises(MismatchError, match=r"train\.lr: 0\.002 -> 0\.1\."):
        curate.open_run("tiny", runs=tmp_path, overrides={"train.lr": 0.1})
    fresh = curate.open_run("tiny", runs=tmp_path, fresh=True)
    # A fresh start keeps what was set, and the data.
    assert fresh.recipe.train.epochs == 1
    assert fresh.facts()["data_path"] == str(tmp_path)
    assert (tmp_path / "tiny.old-1" / "run.json").is_file()


def test_a_recipe_that_changed_under_a_run_is_noticed(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(TINY.read_text())
    curate.open_run(str(recipe), runs=tmp_path)
    recipe.write_text(TINY.read_text().replace("folds: 2", "folds: 3"))
    with pytest.raises(MismatchError, match=r"plan\.folds: 2 -> 3"):
        curate.open_run("tiny", runs=tmp_path)
    recipe.write_text(TINY.read_text() + "# only a comment\n")
    assert curate.open_run("tiny", runs=tmp_path).recipe.plan.folds == 2
    # Commands on what is there do not ask for the recipe, nor does a run whose recipe is gone.
    recipe.unlink()
    assert curate.open_run("tiny", runs=tmp_path, create=False).recipe.plan.folds == 2
    assert curate.open_run("tiny", runs=tmp_path).recipe.plan.folds == 2
    with pytest.raises(MismatchError, match=r"plan\.folds: 2 -> 4"):
        curate.open_run("tiny", runs=tmp_path, overrides={"plan.folds": "4"})


def test_a_run_may_be_made_from_a_recipe_in_memory(tmp_path):
    recipe = curate.load_recipe(str(TINY), {"name": "mine", "train.epochs": 3})
    made = curate.open_run(recipe, runs=tmp_path, overrides={"train.epochs": 1})
    assert (made.name, made.recipe.train.epochs) == ("mine", 1)
    assert curate.open_run("mine", runs=tmp_path).recipe.train.epochs == 1
    with pytest.raises(MismatchError, match=r"train\.epochs: 1 -> 3"):
        curate.open_run(recipe, runs=tmp_path)
    with pytest.raises(UsageError, match="unknown recipe 'mien'"):
        curate.open_run("mien", runs=tmp_path)
