"""Opening runs: what a name on the command line means, and what a new run records of its making."""

from __future__ import annotations

import logging
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.data import addresses, sources
from curate.errors import DataError, MismatchError, UsageError, unknown
from curate.runs import fitting, late, recipe_files
from curate.runs import recipe as recipes
from curate.runs import run as rundir
from curate.runs.recipe import Recipe
from curate.runs.run import Run
from curate.runtime.files import read_json
from curate.runtime.options import option
from curate.runtime.versions import versions

log = logging.getLogger("curate")


def open_run(
    name: str | Recipe | None = None,
    *,
    runs: str | Path = "runs",
    overrides: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    fresh: bool = False,
    create: bool = True,
    called: str | None = None,
    retrain: bool = False,
) -> Run:
    """Return the run of a name, creating it where it is new.

    A run remembers the recipe it came from and what was overridden. Opening it by name again means
    the same recipe with the same overrides and any that are given now; if that is not what the run
    was made with, it is an error and not another run under the same name.

    Args:
        name: A run, a recipe's name or path, a SOURCE (a kind with a colon, or a path with a
            slash), for which the recipe ``images`` is fitted, a Recipe, or None for the newest run.
        runs: Folder that holds the runs.
        overrides: ``{"section.key": value}`` for the recipe.
        data: Where the recipe's source lies: a path on this machine, or an address.
        fresh: Set an existing run aside (renamed ``NAME.old-K``) and start over with its settings
            and its data, but for those that are given.
        create: Whether a run that does not exist is made; else it is an error.
        called: Name of the run; None takes that of the recipe. A new run begins with the settings
            and the data of the run ``name``, if there is one.
        retrain: Whether a run that is there may be given settings that train it anew.

    Raises:
        UsageError: If nothing has that name.
        MismatchError: If the run there was made with other settings; the difference is shown.
        InUseError: If ``fresh`` would set aside what another process works on.
    """
    folder, settings = Path(runs), dict(overrides or {})
    if name is None:
        if not settings:
            return Run.open(rundir.newest(folder))
        name = str(rundir.newest(folder))
    origin: str | None = None
    source = fitting.source_of(name) if isinstance(name, str) else None
    if source is not None:
        called = called or fitting.name_of(source)
        name = _run_of(source, called, folder) or name
    if isinstance(name, Recipe):
        recipe = _replaced(name, settings)
        path = folder / name_of(recipe, called)
    elif source is not None and name != called:
        if not create:
            raise _no_run(called or name, folder)
        settings, origin = fitting.fit(source, settings, addresses.placed(data)), fitting.GENERAL
        recipe = recipes.load_recipe(origin, settings)
        path = folder / name_of(recipe, called)
    else:
        existing = _existing(called or name, folder)
        if existing is None and not fresh:
            _refuse_half(Path(name), folder / (called or name))
        if existing is None and not create:
            raise _no_run(name, folder)
        # A command on what is there does not ask for the recipe, unless it changes something.
        asks = create or bool(settings)
        if existing is not None and not fresh and (not asks or _unchanged(existing, settings)):
            return Run.open(existing)
        # A new name beside a run that is there begins with that run's settings and data.
        beside = _existing(name, folder) if existing is None and called is not None else None
        try:
            recipe, origin = _recipe_of(name, existing or beside, settings)
        except (DataError, MismatchError):
            # A run that cannot be read any more is begun again from its recipe.
            if not fresh or _is_run(name):
                raise
            recipe, origin = _recipe_of(name, None, settings)
        path = existing or folder / name_of(recipe, called)
        stored = _stored(existing or beside or path)
        settings = _merged(stored.get("overrides", {}), settings)
        data = data or (stored.get("data_path") if beside else None)
    there = _stored(path)
    if fresh and path.exists():
        data = data or there.get("data_path")
        # Before anything is moved: a source that cannot be opened leaves the old run in its place.
        sources.open_data(recipe.data, data=addresses.placed(data))
        log.info("run %s was set aside as %s.", path, rundir.set_aside(path))
    return Run.create(path, recipe, made_by(origin, settings, data), retrain=retrain)


def made_by(
    origin: str | None, overrides: Mapping[str, Any], data: str | Path | None
) -> dict[str, Any]:
    """Return what a new run records of its making.

    Args:
        origin: The recipe, or its file; None for one that was put together.
        overrides: What was set of it.
        data: Where its source lies on this machine.
    """
    return {
        "recipe_origin": origin,
        "recipe_sha256": _digest(origin),
        "overrides": dict(overrides),
        "data_path": addresses.lasting(data) if data else None,
        "versions": versions(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "cores": os.cpu_count(),
    }


def run_of(manifest: Path, run: Run | str | None, *, runs: str | Path) -> Run:
    """Return the run that a manifest is used with: the one that is named, else that it lies in.

    Raises:
        UsageError: If it lies in no run and none is named.
    """
    if isinstance(run, Run):
        return run
    if run is not None:
        return open_run(run, runs=runs, create=False)
    home = rundir.enclosing(manifest)
    if home is None:
        raise UsageError(f"{manifest} lies in no run; name the run that it is of.")
    return Run.open(home)


def recipe_of(
    name: str | Recipe,
    *,
    runs: str | Path = "runs",
    overrides: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
) -> tuple[Recipe, Run | None]:
    """Return the recipe that ``open_run`` would open a run with, and the run if it is there.

    Raises:
        UsageError: If nothing has that name.
    """
    folder, settings = Path(runs), dict(overrides or {})
    source = fitting.source_of(name) if isinstance(name, str) else None
    if source is not None:
        called = fitting.name_of(source)
        if _run_of(source, called, folder) is None:
            fitted = fitting.fit(source, settings, addresses.placed(data))
            return recipes.load_recipe(fitting.GENERAL, fitted), None
        name = called
    if isinstance(name, Recipe):
        recipe, path = _replaced(name, settings), folder / name.name
    else:
        existing = _existing(name, folder)
        recipe, _ = _recipe_of(name, existing, settings)
        path = existing or folder / recipe.name
    if not (path / "run.json").is_file():
        return recipe, None
    run = Run.open(path)
    # What a run has trained by other settings says nothing of this recipe.
    return recipe, None if late.change(run.resolved, recipe.resolved()).retrains else run


def _run_of(source: str, called: str, folder: Path) -> str | None:
    """Return the name of the run that was made of a SOURCE; None where there is none.

    Raises:
        MismatchError: If the run of that name is of other images.
    """
    if not (folder / called / "run.json").is_file():
        return None
    theirs = Run.open(folder / called).recipe.data.source
    if theirs != source:
        raise MismatchError(
            f"run {folder / called} is of {theirs}, not of {source}; say "
            f"{option(called='NAME')} to make one beside it."
        )
    return called


def _is_run(name: str) -> bool:
    return (Path(name) / "run.json").is_file()


def _stored(path: Path) -> dict[str, Any]:
    """Return what ``run.json`` says; nothing where there is none, or none that can be read."""
    try:
        return read_json(path / "run.json")
    except DataError:
        return {}


def name_of(recipe: Recipe, called: str | None) -> str:
    """Return the name of a new run.

    Raises:
        UsageError: If no folder can be called so.
    """
    if called is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", called):
        raise UsageError(f"name {called!r}: use letters, digits, dots, dashes and underscores.")
    return called or recipe.name


def _replaced(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    if not settings:
        return recipe
    return recipes.build(recipe.model_dump(mode="json"), settings, where=recipe.name)


def _existing(name: str, folder: Path) -> Path | None:
    """Return the run that ``name`` stands for: its path, its name, or the recipe file it is of."""
    places = [Path(name), folder / name]
    if _is_file(name):
        path = folder / str(recipe_files.read(recipe_files.find(name)).get("name"))
        if (path / "run.json").is_file():
            origin = read_json(path / "run.json").get("recipe_origin")
            places = [path] if origin == _lasting(name) else []
    return next((p for p in places if (p / "run.json").is_file()), None)


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def _lasting(name: str) -> str:
    """Return a recipe's name, or its path such that it holds wherever a run is gone on with."""
    return str(Path(name).resolve()) if _is_file(name) else name


def _unchanged(path: Path, changes: Mapping[str, Any]) -> bool:
    """Return whether a command asks for just what a run is, so that it need not be worked out."""
    facts = read_json(path / "run.json")
    before, digest = facts.get("overrides", {}), facts.get("recipe_sha256")
    same = digest is None or digest == _digest(facts.get("recipe_origin"))
    return same and bool(_merged(before, changes) == before)


def _merged(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return overrides with others upon them; a whole section replaces what was set within it."""
    rest = {k: v for k, v in before.items() if not any(k.startswith(f"{g}.") for g in changes)}
    return {**rest, **changes}


def _digest(origin: str | None) -> str | None:
    """Return the digest of a recipe's file and its parts; None where one of them is not there."""
    try:
        return recipe_files.digest(recipe_files.find(origin)) if origin else None
    except UsageError:
        return None


def _refuse_half(*places: Path) -> None:
    """Refuse a run whose run.json is gone.

    Raises:
        DataError: If there is one in a place.
    """
    for path in places:
        if (path / "records").is_dir() and not (path / "run.json").exists():
            raise DataError(
                f"{path / 'run.json'} is missing; put it back, or start over with "
                f"{option(fresh=True)}, which sets the folder aside."
            )


def _no_run(name: str, folder: Path) -> UsageError:
    there = rundir.names(folder)
    if there:
        return unknown(f"run under {folder}/", name, there)
    return UsageError(f"no run under {folder}/; make one with 'curate run {name}'.")


def _recipe_of(
    name: str, path: Path | None, changes: Mapping[str, Any]
) -> tuple[Recipe, str | None]:
    """Return the recipe a command means by ``name``, and where that comes from (None: a Recipe)."""
    if path is None:
        return recipes.load_recipe(name, changes), _lasting(name)
    run = Run.open(path)
    facts = run.facts()
    origin, before = facts.get("recipe_origin"), facts.get("overrides", {})
    if origin is not None:
        try:
            recipe_files.find(origin)
        except UsageError:
            # A run whose recipe is no longer at hand goes on with what it stored.
            pass
        else:
            return recipes.load_recipe(origin, _merged(before, changes)), origin
    stored = run.recipe.model_dump(mode="json")
    return recipes.build(stored, changes, where=str(path / "run.json")), origin
