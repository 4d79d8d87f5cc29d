"""Runs are found by what they were made with."""

import json
import logging

import pytest

import curate
from curate.runs.matching import made_like, opened
from curate.runs.recipe import load_recipe
from tests.command import TINY

PAIR = {"plan": {"kind": "pair", "shared": 40, "candidates": 20, "independent": 20}}
SMALL = {
    "plan": {"kind": "pair", "shared": 20, "candidates": 10, "independent": 10, "seed": 3},
    "data.limit": 40,
    "train.epochs": 1,
    "train.seed": 3,
    "score.seed": 3,
}


@pytest.fixture
def made(tmp_path):
    """Make a run of a recipe with some settings, untrained: its settings are what counts here."""

    def make(name, **overrides):
        curate.open_run(str(TINY), runs=tmp_path, overrides=overrides, called=name)

    make.folder = tmp_path
    return make


def found(folder, fixed=(), **overrides):
    recipe = load_recipe(str(TINY), {**PAIR, **overrides})
    return {m.run.name: m for m in made_like(opened(folder), recipe, fixed)}


def test_names_and_seeds_do_not_matter_and_what_is_never_scored_by_does_not_either(made):
    made("anything", **PAIR)
    made("seeded", **PAIR, **{"plan.seed": 1, "train.seed": 1, "score.seed": 1, "select.seed": 1})
    made("compared", **PAIR, **{"compare.seeds": 5, "plan.seed": 2, "inspect.neighbours": 4})
    made("twin", **PAIR)
    there = found(made.folder)
    assert {name: m.seeds for name, m in there.items()} == {
        "anything": (0, 0, 0),
        "compared": (2, 0, 0),
        "seeded": (1, 1, 1),
    }
    assert all(m.differences == () for m in there.values())


def test_a_run_may_be_smaller_which_is_told(made):
    made("small", **SMALL)
    (match,) = found(made.folder).values()
    assert match.seeds == (3, 3, 3)
    assert match.differences == (
        "data.limit: 80 -> 40",
        "plan.candidates: 20 -> 10",
        "plan.independent: 20 -> 10",
        "plan.shared: 40 -> 20",
        "train.epochs: 2 -> 1",
    )
    assert found(made.folder, fixed=("train.epochs",)) == {}


@pytest.mark.parametrize(
    "other",
    [
        {"encoder.temperature": 0.1},
        {"encoder.method": "simsiam"},
        {"views.measure": "noise"},
        {"views.noise": 0.2},
        {"train.alignment_lambda": 0.1},
        {"plan": {"kind": "halves"}},
        {"plan.shared": 20},  # f and g have half of their images in common, not two thirds
        {"score.calibrate": False},
        {"data.split": "test"},
    ],
)
def test_what_makes_another_experiment_is_no_match(made, other):
    made("other", **{**PAIR, **other})
    assert found(made.folder) == {}


def test_snapshots_are_wanted_where_the_recipe_has_them_and_harmless_where_not(made):
    made("along", **PAIR, **{"train.snapshots": 1})
    made("plain", **PAIR, **{"plan.seed": 1})
    assert [m.differences for m in found(made.folder).values()] == [(), ()]
    assert list(found(made.folder, **{"train.snapshots": 1})) == ["along"]


def test_what_cannot_be_read_is_passed_with_a_warning(made, caplog):
    made("good", **PAIR)
    made("old", **PAIR)
    path = made.folder / "old" / "run.json"
    path.write_text(json.dumps({"schema_version": 0}))
    with caplog.at_level(logging.WARNING, logger="curate"):
        assert list(found(made.folder)) == ["good"]
    assert "old is passed over" in caplog.text and "another version" in caplog.text
    assert opened(made.folder / "nowhere") == []
