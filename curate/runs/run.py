"""Run directory: completion records and run.json.

A unit of work writes its files under temporary names, renames them, and then writes its completion
record. A unit is done when its record is there and so is what the record names; everything else may
be made again. Resume, several processes and several machines rest on this alone.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import DataError, MismatchError, UsageError
from curate.runs import late, units
from curate.runs.lock import in_use, locked
from curate.runs.recipe import Recipe, parse
from curate.runtime import versions
from curate.runtime.files import TEMPORARY, read_json, sealed, sweep, write_json
from curate.runtime.options import option

if TYPE_CHECKING:
    from curate.encoders.backbone import Encoder
    from curate.scores.summary import ScoreSummary

log = logging.getLogger("curate")

SCHEMA_VERSION = 2


class Run:
    """One run directory. Opening it reads nothing but ``run.json``; see ``create`` and ``open``."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.path = path
        self.recipe = recipe
        self._seen: tuple[tuple[int, int, int], dict[str, Any]] | None = None

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def resolved(self) -> dict[str, Any]:
        """The recipe as plain data with every default filled in, as ``run.json`` has it now."""
        return dict(self._read()["recipe"])

    @property
    def added(self) -> list[dict[str, Any]]:
        """What was added to its images, as ``run.json`` has it now (``added.additions``)."""
        return list(self._read().get("added", []))

    def _read(self) -> dict[str, Any]:
        stat = (self.path / "run.json").stat()
        at = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if self._seen is None or self._seen[0] != at:
            self._seen = at, self.facts()
        return self._seen[1]

    @property
    def name(self) -> str:
        """Name of the run: its folder's name."""
        return self.path.name

    @classmethod
    def open(cls, path: Path) -> Run:
        """Open an existing run.

        Raises:
            DataError: If ``path`` holds no run.
            MismatchError: If another version of curate made it.
        """
        facts = read_json(path / "run.json")
        if facts.get("schema_version") != SCHEMA_VERSION:
            raise MismatchError(
                f"run {path} was made by another version of curate; start over with "
                f"{option(fresh=True)}."
            )
        # Complete and checked when it was stored, so that no method needs to be loaded for it.
        return cls(path, parse(facts.get("recipe", {}), where=str(path / "run.json")))

    @classmethod
    def create(
        cls, path: Path, recipe: Recipe, facts: Mapping[str, Any], *, retrain: bool = False
    ) -> Run:
        """Create a run, or open the one there is and have it take the recipe (``taking``).

        Args:
            path: The run directory.
            recipe: What the run is to be.
            facts: What else ``run.json`` records at the start (versions, overrides).
            retrain: Whether a run that is there may be given settings that train it anew.

        Raises:
            MismatchError: If they would, and may not; the differing settings are shown.
        """
        if (path / "run.json").is_file():
            return cls.open(path).taking(recipe, facts, retrain=retrain)
        # What a process left that was killed while it wrote the first run.json is swept up later.
        if path.exists() and any(not p.name.endswith(TEMPORARY) for p in path.iterdir()):
            raise UsageError(
                f"{path} is not empty and has no run.json; choose another {option(runs=...)} "
                f"folder, put back what was there, or use {option(fresh=True)}, which sets the "
                "folder aside."
            )
        run = cls(path, recipe)
        run._write_facts(
            {
                "schema_version": SCHEMA_VERSION,
                "name": path.name,
                "recipe": recipe.resolved(),
                "recipe_fingerprint": recipe.fingerprint(),
                "seeds": {
                    section: getattr(recipe, section).seed
                    for section in ("plan", "train", "score", "select")
                },
                "seconds": {},
                **facts,
            }
        )
        return run

    def taking(self, recipe: Recipe, facts: Mapping[str, Any], *, retrain: bool = False) -> Run:
        """Return the run with another recipe; what was made by settings that stay the same stays.

        Args:
            recipe: What the run is to be from now on.
            facts: Its ``overrides`` and ``recipe_sha256`` replace those of ``run.json``.
            retrain: Whether it may have settings that train its encoders anew.

        Raises:
            MismatchError: If it has, and may not; the differing settings are shown.
        """
        change = late.change(self.resolved, recipe.resolved())
        if retrain:
            # Noted, since a training that is cut short is gone on with by whatever command.
            facts = {**facts, "retrain": recipe.fingerprint()}
        if not change.differences:
            if retrain:
                self.note(retrain=facts["retrain"])
            return Run(self.path, recipe)
        if change.retrains and not retrain:
            raise MismatchError(late.refusal(self, change))
        with locked(self.path):
            self._write_facts(
                {
                    **self.facts(),
                    "recipe": recipe.resolved(),
                    "recipe_fingerprint": recipe.fingerprint(),
                    **{
                        k: facts[k] for k in ("overrides", "recipe_sha256", "retrain") if k in facts
                    },
                }
            )
        log.info("%s", late.notice(self, change))
        return Run(self.path, recipe)

    def extended(self, *, repeats: int | None = None, views: int | None = None) -> Run:
        """Return the run with more repeats of its plan, or more views.

        Earlier repeats and views are the same whatever follows them. What a command says of the
        recipe later is compared with that.
        """
        requested = {"plan.repeats": repeats, "score.views": views}
        changes = {key: value for key, value in requested.items() if value is not None}
        sections = {
            key.partition(".")[0]: getattr(self.recipe, key.partition(".")[0]).model_copy(
                update={key.partition(".")[2]: value}
            )
            for key, value in changes.items()
        }
        there = self.facts().get("overrides", {})
        recipe = self.recipe.model_copy(update=sections)
        return self.taking(recipe, {"overrides": {**there, **changes}})

    # run.json

    def facts(self) -> dict[str, Any]:
        """Return the content of ``run.json``."""
        return read_json(self.path / "run.json")

    def note(self, **facts: Any) -> None:
        """Add facts to ``run.json``."""
        there = self.facts()
        if any(there.get(name) != value for name, value in facts.items()):
            self._write_facts({**there, **facts})

    def looks(self) -> int:
        """Return how often ``--until`` has looked at the run; 0 for never."""
        return int(self.facts().get("looks", {}).get("n", 0))

    def look(self, at: Mapping[str, Any]) -> None:
        """Count a look at the run as it is now (``at``), if the last one was at something else."""
        if self.facts().get("looks", {}).get("at") != dict(at):
            self.note(looks={"n": self.looks() + 1, "at": dict(at)})

    def _write_facts(self, facts: Mapping[str, Any]) -> None:
        write_json(self.path / "run.json", sealed(facts))

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds a block takes to ``run.json``, also when it is interrupted."""
        started = time.monotonic()
        try:
            yield
        finally:
            spent = self.facts()["seconds"]
            seconds = spent.get(stage, 0.0) + time.monotonic() - started
            self.note(seconds={**spent, stage: round(seconds, 3)})

    # The lock

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process; the operating system frees it when the process dies.

        Raises:
            InUseError: At once, if another process holds it; its host and pid are named.
        """
        with locked(self.path):
            # Left by a process that was killed while it wrote.
            sweep(self.path.rglob(f"*{TEMPORARY}"))
            self._sweep_states()
            yield

    def in_use(self) -> bool:
        """Return whether another process holds the run."""
        return in_use(self.path)

    def _sweep_states(self) -> None:
        """Delete the states of units whose record a killed process could still write."""
        states = self.path / "cache" / "states"
        # Any file: a kill while they were deleted may have left tensors without their JSON.
        for folder in {path.parent for path in states.rglob("*") if path.is_file()}:
            if self.record_path(str(folder.relative_to(states))).is_file():
                shutil.rmtree(folder)

    # Completion records

    def record(self, unit: str) -> dict[str, Any] | None:
        """Return the completion record of a unit, whatever became of its files; None for none."""
        path = self.record_path(unit)
        if not path.is_file():
            return None
        try:
            record = read_json(path)
            if {"key", "parts", "outputs"} <= set(record):
                return record
        except DataError:
            pass
        log.warning("%s is damaged; what it records is made again.", path)
        return None

    def done(self, unit: str) -> dict[str, Any] | None:
        """Return the completion record of a unit such as ``train/f``, or None if it is to be done.

        Files that were deleted or cut short since are noticed by their size.
        """
        record = self.record(unit)
        if record is None:
            return None
        for name, output in record["outputs"].items():
            file = self.path / name
            if not file.is_file() or file.stat().st_size != output["bytes"]:
                log.warning("%s is missing or cut short; it is made again.", file)
                return None
        return record

    def states(self, unit: str) -> Path:
        """Return the folder in which a unit that takes long keeps how far it is."""
        return self.path / "cache" / "states" / unit

    def check_code(
        self, stage: str, units: Iterable[units.Unit], device: str | None = None
    ) -> None:
        """Check that the units of a stage that are done were made by this very code, on this kind.

        A stage is made by one code on one kind of device from its first unit to its last, or the
        units would differ by that as well; a later stage may be made by a newer one, elsewhere.

        Args:
            stage: Its name.
            units: All of them.
            device: ``cpu`` or ``cuda``, where it changes what they are.

        Raises:
            MismatchError: If not; what changed is shown.
        """
        records = (unit.done() for unit in units)
        self.check_records(stage, (record for record in records if record), device)

    def check_records(
        self, stage: str, records: Iterable[Mapping[str, Any]], device: str | None = None
    ) -> None:
        """Check what is done of a stage, as ``check_code`` does, by its records.

        Raises:
            MismatchError: If it was made by other code or on another kind of device.
        """
        for record in records:
            what = f"a part of {stage!r} of run {self.path}"
            versions.refuse_other_code(record.get("code", {}), stage, what)
            if device is not None:
                versions.refuse_other_device(record.get("device"), device, what)
            return  # The others agree with it, since each was made after this check.

    def check_settings(self, wanted: Iterable[units.Unit]) -> None:
        """Check that what is to be trained was not trained by other settings, unless it may be.

        Settings that come late are held against ``run.json``, and this is for one that is not what
        the encoders were made by: another run's.

        Raises:
            MismatchError: If so; what differs is shown.
        """
        if self.facts().get("retrain") == self.recipe.fingerprint():
            return
        for unit in wanted:
            record = self.record(unit.name)
            if record is not None and record["key"] != unit.key:
                differs = "; ".join(versions.difference(record["parts"], unit.parts))
                raise MismatchError(
                    f"{self.record_path(unit.name)} is of an encoder with other settings or images "
                    f"than {self.path / 'run.json'} names ({differs}). Put back the one that is "
                    f"not of this run, or use {option(retrain=True)} to train anew."
                )

    def record_path(self, unit: str) -> Path:
        """Return where the completion record of a unit lies."""
        return self.path / "records" / f"{unit}.json"

    # What a run holds

    def scores(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return ``scores.parquet``, or uid and some of its columns.

        Raises:
            DataError: If the run is not scored yet, or has other settings since, or the file is not
                what was recorded.
        """
        from curate.scores.table import ScoreTable

        path, unit = self.path / "scores.parquet", units.score(self)
        record = self.record(unit.name)
        if record is None:
            what = f"run {self.path} has no scores yet"
            if path.is_file():
                what = f"{path} has no record, so that nobody knows whether it is whole"
            raise DataError(f"{what}; type 'curate score {self.name}'.")
        if not unit.same_but_code(record):
            raise DataError(
                f"the scores of run {self.path} are older than its settings or its encoders; type "
                f"'curate score {self.name}'."
            )
        return ScoreTable.read(self.held(unit.name, path.name), columns).table

    def summary(self) -> ScoreSummary:
        """Return what ``scores.json`` says of the scores.

        Raises:
            DataError: If the run is not scored yet, or the file is not what was recorded.
        """
        from curate.scores.summary import ScoreSummary

        return ScoreSummary.load(self.held("score", "scores.json"))

    def held(self, unit: str, name: str) -> Path:
        """Return the path of a file of a unit of work, which is what was recorded of it.

        A file that no record names is nowhere said to be whole (``verify``), and is passed.

        Args:
            unit: Name of the unit, such as ``inspect``.
            name: Of the file, relative to the run.

        Raises:
            DataError: If the file is missing or changed since it was made; how to make it again.
        """
        path, record = self.path / name, self.record(unit)
        output = record["outputs"].get(name) if record else None
        if output is None or units.unchanged(path, output["sha256"]):
            return path
        stage = unit.partition("/")[0]
        command = stage if stage in ("inspect", "measure", "localize", "compare") else "score"
        raise DataError(
            f"{path} is missing or changed since it was made; type 'curate {command} {self.name}', "
            "which makes it again."
        )

    def held_encoder(self, folder: Path) -> Path:
        """Return the folder of a trained encoder of the run, whose files are what was recorded.

        Raises:
            DataError: As ``held``.
        """
        place = folder.resolve().relative_to(self.path.resolve()).as_posix()
        for kind in ("train", "retrain", "compare"):
            for path in sorted((self.path / "records" / kind).rglob("*.json")):
                unit = path.relative_to(self.path / "records").with_suffix("").as_posix()
                for name in (self.record(unit) or {"outputs": ()})["outputs"]:
                    if name.rpartition("/")[0] == place:
                        self.held(unit, name)
        return folder

    def manifest(self, name: str) -> pa.Table:
        """Return the manifest ``name`` of the run, checked against its own digest."""
        from curate.selection.manifest import Manifest

        return Manifest.read(self.path / "manifests" / f"{name}.parquet").table

    def encoder(self, name: str, device: str = "cpu") -> Encoder:
        """Return a trained encoder of the plan, in evaluation mode."""
        from curate.encoders.backbone import load_encoder

        return load_encoder(self.held_encoder(self.path / "encoders" / name), device=device)

    def image(self, uid: str) -> np.ndarray:
        """Return the decoded image of a sample at its own size, (C, H, W) uint8.

        Raises:
            DataError: If there is no such sample.
        """
        from curate.data.canvas import decode
        from curate.data.shards import Reader

        reader = Reader(self.path / "shards")
        uids = reader.index(["uid"])["uid"]
        rows = np.flatnonzero(pc.equal(uids, uid).to_numpy())
        if not len(rows):
            raise DataError(f"run {self.path} has no sample {uid}.")
        return decode(next(iter(reader.read(rows))), channels=self.recipe.data.channels)


def set_aside(path: Path) -> Path | None:
    """Rename a run to the first free ``NAME.old-K`` beside it, for ``--fresh``; None if none.

    Raises:
        InUseError: If a process works on it.
    """
    if not path.exists():
        return None
    k = 1
    while (beside := path.with_name(f"{path.name}.old-{k}")).exists():
        k += 1
    with locked(path):
        (path / ".owner.json").unlink()
        path.rename(beside)
    return beside


def newest(runs: Path) -> Path:
    """Return the newest run under ``runs``.

    Raises:
        UsageError: If there is no run.
    """
    paths = [runs / name for name in names(runs)]
    if not paths:
        raise UsageError(f"no run under {runs}/; make one with 'curate run digits'.")
    return max(paths, key=lambda path: (path / "run.json").stat().st_mtime_ns)


def names(runs: Path) -> list[str]:
    """Return the names of the runs under ``runs``, without those set aside."""
    run_names = sorted(path.parent.name for path in runs.glob("*/run.json"))
    return [name for name in run_names if ".old-" not in name]


def enclosing(path: Path) -> Path | None:
    """Return the run directory that a file or folder lies in; None if it lies in none."""
    return next((p for p in path.resolve().parents if (p / "run.json").is_file()), None)
