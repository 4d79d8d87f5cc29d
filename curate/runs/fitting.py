"""Fitting: a recipe for images that no recipe describes, from what they and the machine are."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from curate.data import addresses
from curate.data.account import kind_of
from curate.data.decoding import picture
from curate.data.sources import SOURCES, Source, open_data
from curate.data.sources.base import chosen_by_hash
from curate.errors import DataError, UsageError
from curate.runs.recipe import Recipe, load_recipe
from curate.runs.run import Run
from curate.runtime.text import visible

log = logging.getLogger("curate")

GENERAL = "images"
"""The recipe that is fitted."""
LOOKED_AT = 200
"""Images that are opened to see how large they are and whether they have colour."""
PLAN = ("kind", "parts", "folds", "repeats")
FEWEST = 8
"""Images below which no plan can say anything."""


@dataclass(frozen=True)
class Budget:
    """What a kind of machine trains in some minutes.

    Attributes:
        side: Largest side of the canvas.
        passes: Images that are shown in all trainings together, at that side.
        per_repeat: Images that a repeat of the plan shows.
        epochs: Fewest and most.
        batch: Largest batch.
        backbone: What is trained.
    """

    side: int
    passes: int
    per_repeat: int
    epochs: tuple[int, int]
    batch: int
    backbone: str


CPU = Budget(48, 320_000, 80_000, (20, 400), 64, "convnet")
"""About five minutes of two cores for up to a thousand images (docs/performance.md)."""
CUDA = Budget(96, 20_000_000, 4_000_000, (50, 800), 512, "resnet18")
"""Counted, not measured."""


@dataclass(frozen=True)
class Look:
    """What a source holds, as far as a recipe needs it.

    Attributes:
        images: How many there are.
        classes: Their names; empty where labels have none.
        splits: Every split of the source.
        width: Median width in pixels of those that were looked at.
        height: Median height.
        grey: Whether none of them has colour.
        chosen: What the source chose, by what it is of: columns, splits.
        left_out: Items that are no images, by reason.
    """

    images: int
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    width: int
    height: int
    grey: bool
    chosen: Mapping[str, str]
    left_out: Mapping[str, int]


def source_of(name: str) -> str | None:
    """Return the SOURCE that a name on the command line is; None for a run or a recipe.

    A kind with a colon, a path with a slash or an address is a source; a bare word is not.

    Raises:
        UsageError: If a path leads nowhere, or an address names a password.
    """
    if addresses.holds_address(name):
        addresses.check(name)
        return name.rstrip("/")
    place = Path(name).expanduser()
    if name.endswith((".yaml", ".yml")) or (place / "run.json").is_file():
        return None
    kind, colon, where = name.partition(":")
    if colon and kind in SOURCES:
        inside = Path(where).expanduser()
        # Wherever the run is gone on with, it means the same images.
        return f"{kind}:{inside.resolve()}" if where and inside.exists() else name
    if "/" not in name:
        return None
    if not place.exists():
        raise UsageError(f"{name}: there is no such folder, run or recipe.")
    return str(place.resolve())


def whole_source(name: str) -> str:
    """Return the SOURCE that a name must be: a bare word is a kind, or a folder here.

    Raises:
        UsageError: If it is a run or a recipe, or leads nowhere.
    """
    full = source_of(name) or (name if name in SOURCES else source_of(f"./{name}"))
    if full is None:
        raise UsageError(
            f"{name} is a run or a recipe, not a SOURCE; 'curate recipes' prints recipes."
        )
    return full


def is_fitted(run: Run) -> bool:
    """Return whether a run's recipe was fitted to its images, and tried on no others."""
    return run.facts().get("recipe_origin") == GENERAL


def name_of(source: str) -> str:
    """Return the name of a run of a SOURCE: the last part of where it lies."""
    last = re.split(r"[/:]", source.rstrip("/*"))[-1]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-._")
    return name[:60] or GENERAL


def fit(source: str, overrides: Mapping[str, Any], data: Path | None) -> dict[str, Any]:
    """Return what is set of ``GENERAL`` for the images of a source and for this machine.

    Args:
        source: A SOURCE.
        overrides: What the user sets, which stays.
        data: Where the source lies on this machine.

    Raises:
        DataError: If there are fewer than ``FEWEST`` images.
        UsageError: If the source cannot be opened.
    """
    recipe = load_recipe(GENERAL, {**overrides, "data.source": source})
    source_look = look(open_data(recipe.data, data=data))
    fitted = {**settings(source_look, recipe), **overrides, "data.source": source}
    for line in lines(source_look, load_recipe(GENERAL, fitted)):
        log.info("%s", line)
    return fitted


def lines(seen: Look, recipe: Recipe) -> list[str]:
    """Return what was found and what it is fitted to, in lines that fit a screen."""
    classes = f" in {len(seen.classes):,} classes" if seen.classes else ""
    colour = "grey" if seen.grey else "in colour"
    plan = recipe.plan.model_dump()
    shape = ", ".join(f"{key} {plan[key]}" for key in PLAN if key in plan)
    size = f"about {seen.width} x {seen.height} pixels"
    return [
        f"images      {seen.images:,}{classes}, {size}, {colour}",
        f"fitted      {recipe.data.size} pixels, {recipe.encoder.backbone}, plan "
        f"{shape}, {recipe.train.epochs} epochs",
    ]


COMMENTS = {
    "data": "The images: where they lie, and the canvas that all are brought to.",
    "plan": "Which encoder is trained on which images; more repeats make the ranking surer.",
    "encoder": "What is trained, by which method.",
    "train": "For how long, and how.",
    "views": "Random views that are trained with, and measured with.",
    "score": "Views of each image that are measured.",
    "inspect": "Outliers and near-duplicates.",
    "select": "What is kept; 'curate select' chooses again without training.",
    "probe": "What encoders are tested on.",
}
"""What each section of a fitted recipe is for."""


def init(
    source: str,
    *,
    data: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> str:
    """Return a commented recipe for the images of a source, fitted to them and to this machine.

    Args:
        source: A SOURCE.
        data: Where it lies on this machine.
        overrides: ``{"section.key": value}`` that is set as well.

    Raises:
        UsageError: If it is no source, or cannot be opened.
        DataError: If there are fewer than ``FEWEST`` images.
    """
    user_settings, place = dict(overrides or {}), addresses.placed(data)
    full = whole_source(source)
    recipe = load_recipe(GENERAL, {**user_settings, "data.source": full})
    source_look = look(open_data(recipe.data, data=place))
    fitted = {
        **settings(source_look, recipe),
        **user_settings,
        "data.source": full,
        "name": name_of(full),
    }
    content = load_recipe(GENERAL, fitted).resolved()
    head = [f"# {line}" for line in lines(source_look, load_recipe(GENERAL, fitted))]
    if source_look.classes:
        head += [f"#   class     {name}" for name in map(visible, source_look.classes[:20])]
        head += [f"#   and {len(source_look.classes) - 20:,} more"] * (
            len(source_look.classes) > 20
        )
    head += [f"#   {what:<9} {visible(str(text))}" for what, text in source_look.chosen.items()]
    head += [f"#   left out  {n:,} {visible(reason)}" for reason, n in source_look.left_out.items()]
    head.append(f"# Splits: {', '.join(map(visible, source_look.splits)) or 'none'}.")
    content["description"] = f"{source_look.images:,} images of {full}."
    text = [*head, ""]
    for key, value in content.items():
        if key in COMMENTS:
            text += ["", f"# {COMMENTS[key]}"]
        elif isinstance(value, dict):
            continue
        text.append(yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True).rstrip())
    return "\n".join(text)


def look(source: Source) -> Look:
    """Return what a source holds.

    Raises:
        DataError: If it has fewer than ``FEWEST`` images, or none of those that were looked at can
            be decoded.
    """
    paths, count = chosen_by_hash(source.paths(), LOOKED_AT)
    sampled = frozenset(paths)
    if count < FEWEST:
        raise DataError(f"{source.name} has {count} images; {FEWEST} are the fewest to score.")
    sizes, grey, reason = [], True, "damaged"
    for entry in source.entries(sampled.__contains__):
        try:
            image = picture(entry.data)
        except DataError as error:
            reason = str(error)
            continue
        sizes.append(image.size)
        grey = grey and _grey(image)
    if not sizes:
        why = source.rejected[0][1] if source.rejected else reason
        raise DataError(
            f"{source.name}: none of {len(sampled)} images can be read; such as: {why}."
        )
    width, height = np.median(np.array(sizes), axis=0).astype(int).tolist()
    return Look(
        images=count,
        classes=tuple(source.classes),
        splits=tuple(source.splits),
        width=width,
        height=height,
        grey=grey,
        chosen=dict(source.chosen),
        left_out=Counter(kind_of(reason) for _, reason in source.left_out),
    )


def _grey(image: Image.Image) -> bool:
    """Return whether an image has no colour, but for what a JPEG's rounding makes of grey."""
    pixels = np.asarray(image.convert("RGB").resize((16, 16))).astype(int)
    return int(np.ptp(pixels, axis=2).max()) <= 2


def settings(seen: Look, asked: Recipe) -> dict[str, Any]:
    """Return the settings that suit what was seen.

    Args:
        seen: What the source holds.
        asked: The general recipe with what the user sets.
    """
    # Commands that fit nothing do without torch.
    from torch import cuda

    budget = CUDA if cuda.is_available() else CPU
    n = min(seen.images, asked.data.limit or seen.images)
    side = max(8, min(seen.width, seen.height, budget.side) // 8 * 8)
    parts = 2 if n < 1000 else 4
    epochs = int(np.clip(budget.per_repeat // n, *budget.epochs))
    passes = budget.passes * (budget.side / side) ** 2
    repeats = int(np.clip(passes // (n * epochs), 2, 8))
    # At least three steps an epoch, of as many negatives as there can be.
    batch = int(np.clip(2 ** (max(n // parts // 3, 1).bit_length() - 1), 2, budget.batch))
    return {
        "data.size": side,
        "data.channels": 1 if seen.grey else 3,
        "plan.parts": parts,
        "plan.repeats": repeats,
        "encoder.backbone": budget.backbone,
        "train.epochs": epochs,
        "train.batch_size": batch,
    }
