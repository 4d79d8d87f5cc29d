"""Adopt: a run of encoders that were trained elsewhere, by what each saw; none is trained."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.data import addresses, sources
from curate.encoders.pretrained import Given, read_encoder
from curate.encoders.training import write_encoder
from curate.errors import DataError, MismatchError, UsageError
from curate.runs import adopted, fitting, late
from curate.runs.opening import made_by
from curate.runs.recipe import Recipe, load_recipe
from curate.runs.run import Run
from curate.runtime.files import file_sha256, write_text
from curate.runtime.progress import Progress, silent
from curate.runtime.results import Result
from curate.selection.manifest import Manifest
from curate.stages import shard, train
from curate.stages.context import Context

SPLIT = "split:"
NAMED = 3
"""Names of a list that a message gives."""


@dataclass(frozen=True)
class Encoder:
    """What is to be adopted as one encoder.

    Attributes:
        weights: A file of weights, or ``timm:NAME`` for those that timm has.
        saw: What it was trained on: a file of uids, paths or keys, one a line; a manifest, of which
            it saw what is kept; ``split:NAME``; ``all`` or ``none``.
        backbone: ``timm:NAME`` or a backbone of ours, for a file.
        given: How it wants images, where that is not as timm or our own networks have it.
    """

    weights: str
    saw: str
    backbone: str | None = None
    given: Given = field(default_factory=Given)


@dataclass(frozen=True)
class AdoptedEncoder(Result):
    """An encoder that was adopted.

    Attributes:
        backbone: Its network.
        size: Side of its images in pixels.
        saw: How many of the run's images it was trained on.
        left_out: Names in its file that are no part of it.
    """

    backbone: str
    size: int
    saw: int
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Adopted(Result):
    """A run of encoders that were trained elsewhere.

    Attributes:
        run: Its folder.
        images: How many images it has, held-out ones included.
        scored: How many of them some encoders saw and others did not, so that they can be scored.
        encoders: By name.
    """

    run: Path
    images: int
    scored: int
    encoders: dict[str, AdoptedEncoder]


def adopt(
    name: str,
    source: str,
    encoders: Mapping[str, Encoder],
    *,
    recipe: str = fitting.GENERAL,
    runs: str | Path = "runs",
    overrides: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    progress: Progress = silent,
) -> Adopted:
    """Make a run of encoders that were trained elsewhere, to be scored like any other.

    Two are f and g of a pair. Of more, names tell the repeats: ``f-1`` and ``g-1`` are trained
    independently of ``f`` and ``g``. The images' canvas has the side of the largest.

    Args:
        name: Of the run. One that was adopted before takes these encoders from now on.
        source: Its images, a SOURCE.
        encoders: By name.
        recipe: How views, scores and selections are made, and what comparisons train.
        runs: Folder that holds the runs.
        overrides: ``{"section.key": value}`` of the recipe.
        data: Where the source lies on this machine.
        progress: Progress callback.

    Raises:
        UsageError: If something cannot be understood: a backbone, a list, a setting.
        DataError: If weights are not those of their backbone, or a list names unknown images.
        MismatchError: If a run of that name is of other images, or trained its own encoders.
    """
    if not encoders:
        raise UsageError("name one encoder or more to adopt.")
    overridden, home = dict(overrides or {}), Path(runs)
    place, full = addresses.placed(data), fitting.whole_source(source)
    # Everything is read before anything is made.
    loaded = load_recipe(recipe, {**overridden, "data.source": full})
    opened = sources.open_data(loaded.data, data=place)
    lists = {e: _list(e, encoder.saw, loaded, place) for e, encoder in encoders.items()}
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".adopt-") as beside:
        left_out: dict[str, tuple[str, ...]] = {}
        planned: list[dict[str, Any]] = []
        for e, encoder in encoders.items():
            folder = Path(beside) / e
            network, left_out[e] = read_encoder(
                encoder.weights, encoder.backbone, given=encoder.given, pooling="tokens"
            )
            write_encoder(folder, network, {"encoder": network.about(), "from": encoder.weights})
            write_text(folder / adopted.SAW, "".join(f"{line}\n" for line in lists[e]))
            about = network.about()
            planned.append(
                {
                    "name": e,
                    "weights": file_sha256(folder / "weights.safetensors"),
                    "backbone": about["backbone"],
                    "preprocessing": about["preprocessing"],
                    "saw": file_sha256(folder / adopted.SAW),
                }
            )
        settings = {**_fitted(loaded, opened, recipe), **_canvas(planned), **overridden}
        plan = {"kind": "adopted", "encoders": planned}
        # No file has all of such a recipe, so that it is called like the run.
        settings |= {"name": name, "data.source": full, "plan": plan}
        run = _run(home / name, load_recipe(recipe, settings), settings, place)
        context = Context.of(run, data, "cpu", 1, progress)
        with run.lock():
            shard.shard_run(run, context)
            for e, encoder in encoders.items():
                _check_list(run, e, encoder.saw, lists[e])
            for e in encoders:
                target = run.path / "encoders" / e
                shutil.rmtree(target, ignore_errors=True)
                target.parent.mkdir(parents=True, exist_ok=True)
                (Path(beside) / e).rename(target)
            encoder_plan = train.train_run(run, context)
    counts = encoder_plan.inclusion.sum(axis=0)
    some = encoder_plan.inclusion.any(axis=1) & ~encoder_plan.inclusion.all(axis=1)
    return Adopted(
        run=run.path,
        images=len(encoder_plan.uids),
        scored=int(some.sum()),
        encoders={
            one["name"]: AdoptedEncoder(
                one["backbone"], one["preprocessing"]["size"], int(n), left_out[one["name"]]
            )
            for one, n in zip(planned, counts, strict=True)
        },
    )


def _list(name: str, saw: str, recipe: Recipe, data: Path | None) -> list[str]:
    """Return what an encoder saw as sorted lines, as ``adopted.found`` reads them.

    Raises:
        UsageError: If there is no such list.
        DataError: If there is no such split, or the file cannot be read.
    """
    path = Path(saw)
    if saw in ("all", "none"):
        return [adopted.EVERYTHING] if saw == "all" else []
    if saw.startswith(SPLIT):
        split = sources.open_data(recipe.data, data=data, split=saw.removeprefix(SPLIT))
        return sorted(set(split.paths()))
    if not path.is_file():
        raise UsageError(
            f"encoder {name}: there is no list {saw}; give a file of uids or paths, a manifest, "
            f"{SPLIT}NAME, all or none."
        )
    if path.suffix == ".parquet":
        return sorted(Manifest.read(path).kept().tolist())
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"encoder {name}: cannot read the list {saw}: {error}.") from error
    lines = text.split("\0") if "\0" in text else text.splitlines()
    root = data or Path(recipe.data.source.partition(":")[2] or recipe.data.source)
    entries = sorted({_inside(line, root) for line in lines if line.strip()})
    if not entries:
        raise DataError(f"encoder {name}: the list {saw} is empty; say none if it saw none.")
    return entries


def _inside(line: str, root: Path) -> str:
    """Return a line as paths stand in an index: within the source's folder."""
    line = line.rstrip("\r\n")
    if root.is_dir() and line.startswith(("/", "./", "../")):
        place = Path(line).absolute()
        if place.is_relative_to(root.absolute()):
            return place.relative_to(root.absolute()).as_posix()
    return line.removeprefix("./")


def _check_list(run: Run, name: str, saw: str, lines: list[str]) -> None:
    """Check that a list names images of a run.

    A split may have more, a limit takes all but some away, and what was rejected is known.

    Raises:
        DataError: If it does not.
    """
    if saw.startswith(SPLIT):
        return
    unknown = adopted.found(run, lines)[1]
    if run.recipe.data.limit is not None and len(unknown) < len(lines):
        return
    if unknown:
        with (run.path / "shards" / "rejected.jsonl").open(encoding="utf-8") as listing:
            rejected = {json.loads(line)["path"] for line in listing}
        unknown = [line for line in unknown if line not in rejected]
    if unknown:
        shown = ", ".join(unknown[:NAMED]) + (", ..." if len(unknown) > NAMED else "")
        raise DataError(
            f"encoder {name}: {len(unknown):,} of {len(lines):,} names of {saw} are no uid, path "
            f"or key of the images of {run.recipe.data.source}: {shown}."
        )


def _fitted(loaded: Recipe, source: sources.Source, recipe: str) -> dict[str, Any]:
    """Return what suits the images, of the general recipe; nothing of another."""
    if recipe != fitting.GENERAL:
        return {}
    settings = fitting.settings(fitting.look(source), loaded)
    return {key: value for key, value in settings.items() if not key.startswith("plan.")}


def _canvas(planned: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the canvas that suits some encoders: of the largest side, grey if all take grey.

    Images come to it by the interpolation of the encoders of that side.
    """
    looks = [one["preprocessing"] for one in planned]
    return {
        "data.interpolation": max(looks, key=lambda look: look["size"])["interpolation"],
        "data.size": max(look["size"] for look in looks),
        "data.channels": max(len(look["mean"]) for look in looks),
    }


def _run(path: Path, recipe: Recipe, settings: Mapping[str, Any], data: Path | None) -> Run:
    """Return the run, new or with these encoders from now on.

    Raises:
        MismatchError: If it is of other images, or trained its own encoders.
    """
    facts = made_by(None, settings, data)
    if not (path / "run.json").is_file():
        return Run.create(path, recipe, facts)
    run = Run.open(path)
    if not adopted.is_adopted(run):
        raise MismatchError(
            f"run {path} has encoders that it trained itself; give the adopted ones another name."
        )
    resolved = recipe.resolved()
    change = late.change({**run.resolved, "plan": resolved["plan"]}, resolved)
    if "shard" in change.stages:
        raise MismatchError(
            f"run {path} was adopted with other settings: {'; '.join(change.differences)}. Give "
            "another name, or the same settings."
        )
    return run.taking(recipe, facts, retrain=True)
