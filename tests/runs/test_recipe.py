"""Recipes are complete and strict."""

import re

import pytest
import yaml

from curate.errors import UsageError
from curate.runs.recipe import (
    EFFORTS,
    NOT_SHAPING,
    Recipe,
    build,
    effort,
    load_recipe,
    without_neutral_keys,
)
from curate.runs.recipe_files import read
from curate.scores.config import COVARIATES
from tests.command import TINY


def tiny(**overrides):
    return load_recipe(str(TINY), {key.replace("__", "."): v for key, v in overrides.items()})


def test_a_resolved_recipe_is_the_recipe_again():
    recipe = tiny()
    resolved = recipe.resolved()
    again = build(yaml.safe_load(yaml.safe_dump(resolved)), {}, where="stored")
    assert again.resolved() == resolved
    assert again.fingerprint() == recipe.fingerprint()
    assert list(resolved) == list(Recipe.model_fields)
    assert resolved["encoder"]["temperature"] == recipe.method_config.temperature
    assert resolved["plan"] == {"kind": "folds", "folds": 2, "repeats": 1, "seed": 0}


def leaves(content, prefix=""):
    for key, value in content.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_the_fingerprint_changes_with_every_key_that_shapes_an_artefact():
    resolved = tiny().resolved()
    whole = without_neutral_keys(resolved)
    assert set(dict(leaves(resolved))) - set(dict(leaves(whole))) == set(NOT_SHAPING)
    before = tiny().fingerprint()
    assert re.fullmatch(r"[0-9a-f]{16}", before)
    for key, value in {
        "train.lr": 1e-4,
        "encoder.temperature": 0.3,
        "views.crop": [0.5, 1.0],
        "plan.seed": 1,
        "select.fraction": 0.6,
        "compare.seeds": 3,
    }.items():
        assert load_recipe(str(TINY), {key: value}).fingerprint() != before, key
    # Keys that came later, where they have the value that everybody had.
    assert load_recipe(str(TINY), {"train.parts": 1}).fingerprint() == before
    assert load_recipe(str(TINY), {"train.parts": 2}).fingerprint() != before
    for key, value in {"description": "x", "data.max_bad": 0.5, "score.batch_size": 7}.items():
        assert load_recipe(str(TINY), {key: value}).fingerprint() == before, key


@pytest.mark.parametrize(
    ("text", "value"),
    [("2e-3", 2e-3), ("1E3", 1000.0), ("0.5", 0.5), ("5", 5)],
)
def test_numbers_of_the_command_line_are_numbers(text, value):
    assert tiny(train__lr=text).train.lr == value


def test_what_foretells_scores_and_what_is_selected_by_are_named_ones():
    asked = {"score.covariates": "[pixels, label]", "select.by": "expected"}
    found = load_recipe("digits", asked)
    assert found.score.covariates == ("pixels", "label") and found.select.by == "expected"
    assert load_recipe("digits").score.covariates == COVARIATES and "label" not in COVARIATES
    for setting in ("score.covariates", "select.by"):
        with pytest.raises(UsageError, match="'colour'"):
            load_recipe("digits", {setting: "[colour]" if "cov" in setting else "colour"})


def test_lists_null_and_words_of_the_command_line_are_read_as_yaml():
    recipe = tiny(
        compare__remove="[5, 10]",
        data__limit="null",
        score__calibrate="false",
        data__source="wds:x",
    )
    assert recipe.compare.remove == (5, 10)
    assert recipe.data.limit is None
    assert recipe.score.calibrate is False
    assert recipe.data.source == "wds:x"


def test_overrides_leave_the_content_they_are_applied_to_alone():
    content = read(TINY)
    before = yaml.safe_dump(content)
    build(content, {"train.epochs": "1"}, where="tiny")
    assert yaml.safe_dump(content) == before


def test_overrides_within_a_section_that_is_replaced_leave_the_replacement_alone():
    plan = {"kind": "folds", "folds": 2}
    recipe = build(read(TINY), {"plan": plan, "plan.seed": 3}, where="tiny")
    assert recipe.plan.seed == 3 and plan == {"kind": "folds", "folds": 2}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"train.warmup_epochs": 5}, "train.warmup_epochs 5 exceeds train.epochs 2; set both"),
        ({"select.count": 5, "select.fraction": 0.5}, "give exactly one of count and fraction"),
        ({"score.pairing": "all", "score.views": 1}, "needs at least 2 views"),
        ({"name": "a/b"}, "name: "),
        ({"data.channels": 2}, "data.channels: "),
        ({"encoder.patch": 4}, "has no patches"),
        ({"encoder.backbone": "vit_micro", "encoder.patch": 3}, "does not divide data.size 8"),
        ({"train.parts": 3}, "parts 3 does not divide batch_size 16; set one of them"),
        ({"train.parts": 2, "train.dp": {"noise": 1}}, "in one process; leave out parts"),
        ({"plan": {"folds": 2}}, "'plan.kind' is missing; it is one of pair, halves"),
        ({"plan": {"kind": "pair", "shared": 3}}, "'plan.candidates' is missing"),
        ({"train": None}, "train: "),
        ({"train.epochs.more": 1}, "has no keys"),
        ({"train.": 1}, "expected section.key=value"),
        ({"views.crop": [2, 3]}, "a crop keeps at most 1.0"),
    ],
)
def test_values_that_do_not_fit_are_named_in_one_line(overrides, message):
    with pytest.raises(UsageError, match=re.escape(message)) as found:
        load_recipe(str(TINY), overrides)
    assert len(str(found.value).splitlines()) == 1


def test_views_that_are_measured_have_the_side_of_the_image():
    for side in (None, 8):
        assert load_recipe(str(TINY), {"views.side": side}).check() is None
    with pytest.raises(UsageError, match=r"views\.side 4: .*data\.size, 8"):
        load_recipe(str(TINY), {"views.side": 4}).check()
    load_recipe(str(TINY), {"views.side": 4, "views.measure": "crop"}).check()


@pytest.mark.parametrize("name", sorted(EFFORTS))
def test_an_effort_replaces_the_plan_and_keeps_the_rest(name):
    plain = load_recipe("digits", {"plan.seed": 5})
    made = load_recipe("digits", {**effort(name), "plan.seed": 5})
    assert made.plan.kind == "parts" and made.plan.seed == 5
    assert made.train == plain.train and made.encoder == plain.encoder
    # What one was given in hand is not what the next is given.
    effort(name)["plan"]["repeats"] = 999
    assert effort(name)["plan"]["repeats"] < 999


def test_efforts_are_in_order_and_others_are_refused():
    sizes = [effort(n)["plan"]["repeats"] for n in ("quick", "standard", "thorough")]
    assert sizes == sorted(set(sizes))
    with pytest.raises(UsageError, match=r"unknown effort 'thorouh'.*thorough"):
        effort("thorouh")


@pytest.mark.parametrize(("setting", "value"), [
    ("select.seed", 5), ("select.unscored", "drop"), ("compare.seeds", 3), ("score.seed", 5),
])  # fmt: skip
def test_a_setting_leaves_the_defaults_of_a_section_that_is_not_written(setting, value):
    content = read(TINY)
    section, _, key = setting.partition(".")
    content.pop(section, None)
    plain = build(content, {}, where="here")
    changed = build(content, {setting: value}, where="here")
    assert getattr(getattr(changed, section), key) == value
    rest = {key: getattr(getattr(plain, section), key)}
    assert getattr(changed, section).model_copy(update=rest) == getattr(plain, section)


def test_one_way_to_say_a_size_takes_the_other_back():
    recipe = build(read(TINY), {"select.fraction": 0.5}, where="here")
    assert (recipe.select.count, recipe.select.fraction) == (None, 0.5)
    again = build(recipe.resolved(), {"select.count": 9}, where="here")
    assert (again.select.count, again.select.fraction) == (9, None)
