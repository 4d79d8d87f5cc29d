"""The packaged recipes: every one can be built and trained, and every row of the paper has one."""

import dataclasses
import json
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

import curate
from curate.cli.results.runs import recipe_lines
from curate.data.canvas import Canvas
from curate.data.sample import content_uid
from curate.encoders.backbone import BACKBONES, SMALL, Encoder, Residual, Transformer, load_encoder
from curate.encoders.training import train_encoder
from curate.runs import recipe as recipes
from curate.runs.recipe import without_neutral_keys
from curate.runs.recipe_files import parts, read

pytestmark = pytest.mark.numeric

FOLDER = Path(__file__).parent.parent / "recipes"
PATHS = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}
SCHEDULE = {"epochs", "warmup_epochs", "batch_size", "snapshots", "save_every", "threads", "seed"}
"""Keys of ``train`` that do not change what one step computes, but for the size of its batch."""
ROWS = {
    "Table 1": """0.307 0.334 0.327 0.339 0.311 0.356 0.350 0.357 0.284 0.321 0.319 0.321
                  0.271 0.309 0.311 0.301""",
    "Table 4": "0.334 0.311",
    "Table 5": "0.182 0.107",
    "Table 7": "0.325 0.337",
    "Table 8": "0.321 0.308 0.328 0.298",
    "Table 9a": "0.322 0.326 0.319 0.288",
    "Table 9b": "0.283 0.300 0.249",
    "Table 11": "0.398 0.327 0.314 0.327",
    "Table 15": "0.350 0.315",
}
"""SSLMem of each row of arXiv 2401.12233 that is not a row of an earlier table as well."""


NARROW = {
    "dino": {"hidden_dim": 64, "out_dim": 64},
    "vicreg": {"expansion": 1},
    "barlow-twins": {"expansion": 1},
}
"""What makes the largest heads small, which take most of a step's time."""
DEEP = ("cifar10-mae", "cifar10-simclr")
"""Recipes whose step is made with the whole network as well; others have one of fewer blocks."""


@pytest.fixture(scope="module")
def loaded():
    return {name: recipes.load_recipe(str(path)) for name, path in PATHS.items()}


@pytest.fixture
def shallow(monkeypatch):
    """Every backbone with its stem, width and kind of block, but with few blocks."""
    for name, shape in BACKBONES.items():
        if isinstance(shape, Transformer):
            monkeypatch.setitem(BACKBONES, name, dataclasses.replace(shape, depth=2))
        elif isinstance(shape, Residual):
            monkeypatch.setitem(BACKBONES, name, dataclasses.replace(shape, layers=(1, 1, 1, 1)))


def tiny(recipe):
    """Return a recipe with a narrow head, on the smallest images with its stem and some patches."""
    data, encoder = recipe.data, recipe.encoder
    if encoder.backbone.startswith("vit"):
        size = min(data.size, 4 * (encoder.patch or 2))
    else:
        size = 8 if data.size <= SMALL else SMALL + 8
    content = recipe.model_dump(mode="json")
    changed = {"data.size": size, "train.batch_size": 4, "train.threads": 1}
    changed |= {f"encoder.{k}": v for k, v in NARROW.get(encoder.method, {}).items()}
    return recipes.build(content, changed, where=recipe.name)


def steps():
    """Return one recipe of each training step: they share it where all it depends on is equal."""
    found = {}
    for name, path in PATHS.items():
        whole = recipes.load_recipe(str(path)).resolved()
        train = {k: v for k, v in whole["train"].items() if k not in SCHEDULE}
        shown = {k: v for k, v in whole["views"].items() if k != "measure"}
        image = [whole["data"]["size"], whole["data"]["channels"]]
        found.setdefault(json.dumps([whole["encoder"], train, shown, image]), name)
    return sorted(found.values())


@pytest.mark.parametrize("name", sorted(PATHS))
def test_recipes_are_named_after_their_files_and_say_what_to_expect(loaded, name):
    recipe, text = loaded[name], PATHS[name].read_text()
    assert recipe.name == name
    assert recipe.description
    # What a short recipe shares is explained where it stands.
    explained = parts(PATHS[name]) or [PATHS[name]]
    assert all(path.read_text().startswith("# ") for path in explained)
    assert "\t" not in text and text.endswith("\n")


@pytest.mark.parametrize("name", steps())
def test_one_step_of_every_recipe(loaded, shallow, name):
    made_and_trained(tiny(loaded[name]))


@pytest.mark.parametrize("name", DEEP)
def test_one_step_of_whole_networks(loaded, name):
    made_and_trained(tiny(loaded[name]))


def made_and_trained(recipe):
    data = recipe.data
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, data.channels, data.size, data.size), dtype=np.uint8)
    uids = np.array([content_uid(image.tobytes()) for image in images])
    canvas = Canvas(images, uids.astype(np.bytes_))
    with tempfile.TemporaryDirectory() as folder:  # weights are too large to be left lying about
        out = Path(folder)
        trained = train_encoder(
            canvas,
            uids,
            recipe.training_spec(),
            seed=0,
            out=out,
            device="cpu",
            labels=np.arange(5) % 2,
            steps=1,
        )
        kept = load_encoder(out)
    assert trained.steps == 1 and trained.skipped == 0 and math.isfinite(trained.loss)
    with torch.inference_mode():
        z = kept(torch.from_numpy(images[:1]))
    assert z.shape == (1, kept.tokens, kept.dim) and z.isfinite().all()


def test_no_two_recipes_are_the_same_under_two_names(loaded):
    made = {}
    for name, recipe in loaded.items():
        content = {**without_neutral_keys(recipe.resolved()), "name": None}
        assert made.setdefault(json.dumps(content, sort_keys=True), name) == name


def test_every_part_is_used():
    used = {part for path in PATHS.values() for part in parts(path)}
    assert used == set((FOLDER / "parts").glob("*.yaml"))


@pytest.mark.parametrize("table", ROWS)
def test_every_row_of_the_papers_tables_has_its_recipe(loaded, table):
    rows = [r.description for r in loaded.values() if f"the paper's {table}." in r.description]
    told = sorted(text.split("SSLMem ")[1].split()[0].rstrip(".") for text in rows)
    assert told == sorted(ROWS[table].split())


@pytest.mark.parametrize(
    "name", [n for n, path in PATHS.items() if "paper" in read(path).get("parts", ())]
)
def test_the_papers_partitions_fit_its_data(loaded, name):
    recipe = loaded[name]
    plan, data = recipe.plan, recipe.data
    if plan.kind == "subsets":
        assert (name, plan.fraction) == ("cifar10-feldman", 0.7)
    else:
        within = plan.shared + plan.candidates + plan.independent
        assert plan.extra == 5000 and plan.candidates == plan.independent
        assert within + (0 if data.extra else plan.extra) <= (data.limit or 50_000)
    assert recipe.encoder.representation == "full"
    assert recipe.score.pairing == "anchored" and recipe.score.distance == "l2"


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("cifar10-mae", 49_344),
        ("cifar10-dino-vit", 49_344),
        ("stl10-mae", 49_344),
        ("imagenet-100k-mae", 151_296),
        ("imagenet-100k-simclr", 100_352),
    ],
)
def test_representations_have_the_papers_lengths(loaded, name, length):
    data, encoder = loaded[name].data, loaded[name].encoder
    with torch.device("meta"):
        made = Encoder(
            encoder.backbone, size=data.size, channels=data.channels, patch=encoder.patch
        )
    assert made.tokens * made.dim == length


def test_the_list_has_a_line_and_a_sentence_for_each():
    texts = {"one": "A set of 2.5: all of it. More.", "digits": "Whole", "none": "",
             "cifar10": "x", "cifar10-mae": "y"}  # fmt: skip
    assert recipe_lines(texts) == [
        "start here:",
        "digits       Whole",
        "",
        "data sets:",
        "cifar10      x",
        "",
        "the paper's tables:",
        "cifar10-mae  y",
        "",
        "others:",
        "one          A set of 2.5: all of it.",
        "none         ",
    ]
    packaged = curate.recipe_list()
    shown = [line.split(" ")[0] for line in recipe_lines(packaged)]
    assert sorted(name for name in shown if name in packaged) == sorted(packaged)
    assert "others:" not in recipe_lines(packaged)
