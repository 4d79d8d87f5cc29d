"""Run directory: completion records, the lock, and run.json.

A unit of work writes its files under temporary names, renames them, and then writes its completion
record. A unit is done when its record is there and so is what the record names; everything else may
be made again. Resume, several processes and several machines rest on this alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import DataError, InUseError, MismatchError, UsageError
from curate.runs.recipe import Recipe, parse, without_neutral_keys
from curate.runtime import versions
from curate.runtime.files import TEMPORARY, file_sha256, read_json, write_json
from curate.runtime.versions import difference, refuse_other_code

if TYPE_CHECKING:
    from curate.encoders.backbone import Encoder

log = logging.getLogger("curate")

SCHEMA_VERSION = 1


class Run:
    """One run directory. Opening it reads nothing but ``run.json``; see ``create`` and ``open``."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.path = path
        self.recipe = recipe

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
                f"run {path} was made by another version of curate; start over with --fresh."
            )
        # Complete and checked when it was stored, so that no method needs to be loaded for it.
        return cls(path, parse(facts.get("recipe", {}), where=str(path / "run.json")))

    @classmethod
    def create(cls, path: Path, recipe: Recipe, facts: Mapping[str, Any]) -> Run:
        """Create a run, or open the one there is if its recipe is the same.

        A recipe that asks for more of the same, and for nothing else (``more``), extends the run:
        its encoders stay, and what was made from all of them is to be made again.

        Args:
            path: The run directory.
            recipe: What the run is to be.
            facts: What else ``run.json`` records at the start (versions, overrides).

        Raises:
            MismatchError: If a run with another recipe is there; the differing keys are shown.
        """
        if (path / "run.json").is_file():
            there = without_neutral_keys(cls.open(path).recipe.resolved())
            wanted = without_neutral_keys(recipe.resolved())
            changes = difference(there, wanted)
            if changes and more(there, wanted):
                return cls(path, recipe)._extended(facts)
            if changes:
                raise MismatchError(
                    f"run {path} was made with other settings: {'; '.join(changes)}. "
                    "Use --fresh to start over beside it, or give the recipe another name."
                )
            return cls(path, recipe)
        # What a process left that was killed while it wrote the first run.json is swept up later.
        if path.exists() and any(not p.name.endswith(TEMPORARY) for p in path.iterdir()):
            raise UsageError(f"{path} is not empty and holds no run; choose another --runs folder.")
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

    def _extended(self, facts: Mapping[str, Any]) -> Run:
        """Take the recipe, which asks for more, for what the run is to be; returns the run."""
        with locked(self.path):
            # First: a run that has forgotten more than it had to makes it again, and no more.
            self.forget("plan", "score", "snapshots", "inspect", "compare")
            if self.recipe.score.views != self.open(self.path).recipe.score.views:
                # Samples in doubt that had more views than the others start over with all.
                self.forget("align", "views")
            self._write_facts(
                {
                    **self.facts(),
                    "recipe": self.recipe.resolved(),
                    "recipe_fingerprint": self.recipe.fingerprint(),
                    **{k: facts[k] for k in ("overrides", "recipe_sha256") if k in facts},
                }
            )
        return self

    def extended(self, *, repeats: int | None = None, views: int | None = None) -> Run:
        """Return the run with more repeats of its plan, or more views; see ``create``.

        What a command says of the recipe later is compared with that.
        """
        asked = {"plan.repeats": repeats, "score.views": views}
        given = {key: value for key, value in asked.items() if value is not None}
        sections = {
            key.partition(".")[0]: getattr(self.recipe, key.partition(".")[0]).model_copy(
                update={key.partition(".")[2]: value}
            )
            for key, value in given.items()
        }
        there = self.facts().get("overrides", {})
        run = Run(self.path, self.recipe.model_copy(update=sections))
        return run._extended({"overrides": {**there, **given}})

    # run.json

    def facts(self) -> dict[str, Any]:
        """Return the content of ``run.json``."""
        return read_json(self.path / "run.json")

    def note(self, **facts: Any) -> None:
        """Add facts to ``run.json``."""
        there = self.facts()
        if any(there.get(name) != value for name, value in facts.items()):
            self._write_facts({**there, **facts})

    def _write_facts(self, facts: Mapping[str, Any]) -> None:
        write_json(self.path / "run.json", facts)

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
            for stale in self.path.rglob(f"*{TEMPORARY}"):
                # Left by a process that was killed while it wrote.
                stale.unlink(missing_ok=True)
            self._sweep_states()
            yield

    def _sweep_states(self) -> None:
        """Delete the states of units whose record a killed process could still write."""
        states = self.path / "cache" / "states"
        # Any file: a kill while they were deleted may have left tensors without their JSON.
        for folder in {path.parent for path in states.rglob("*") if path.is_file()}:
            if self._record(str(folder.relative_to(states))).is_file():
                shutil.rmtree(folder)

    # Completion records

    def done(self, unit: str) -> dict[str, Any] | None:
        """Return the completion record of a unit such as ``train/f``, or None if it is to be done.

        Files that were deleted or cut short since are noticed by their size.
        """
        path = self._record(unit)
        if not path.is_file():
            return None
        record = read_json(path)
        for name, output in record["outputs"].items():
            file = self.path / name
            if not file.is_file() or file.stat().st_size != output["bytes"]:
                log.warning("%s is missing or cut short; it is made again.", file)
                return None
        return record

    def complete(self, unit: str, outputs: list[Path], **facts: Any) -> None:
        """Write the completion record of a unit, with size and digest of everything it made."""
        made = {
            str(path.relative_to(self.path)): {
                "bytes": path.stat().st_size,
                "sha256": file_sha256(path),
            }
            for path in sorted(outputs)
        }
        about = {"unit": unit, "code": versions.of_training(), "outputs": made}
        write_json(self._record(unit), {**facts, **about})
        shutil.rmtree(self.states(unit), ignore_errors=True)

    def states(self, unit: str) -> Path:
        """Return the folder in which a unit that takes long keeps how far it is."""
        return self.path / "cache" / "states" / unit

    def check_code(self, family: str) -> None:
        """Check that the done units of a family, such as ``train``, were made by this very code.

        A stage is made by one code from its first unit to its last; a later stage may be made by a
        newer one.

        Raises:
            MismatchError: If not; what changed is shown.
        """
        for record in (self.path / "records" / family).rglob("*.json"):
            # The others agree with it, since each was made after this check.
            refuse_other_code(
                read_json(record).get("code", {}), f"a part of {family!r} of run {self.path}"
            )
            return

    def forget(self, *units: str) -> None:
        """Drop the records of units and of all below them: what they were made from is made anew.

        Args:
            units: Names such as ``score``, or ``align/f`` for every shard of it.
        """
        for unit in units:
            self._record(unit).unlink(missing_ok=True)
            shutil.rmtree(self.path / "records" / unit, ignore_errors=True)

    def _record(self, unit: str) -> Path:
        return self.path / "records" / f"{unit}.json"

    # What a run holds

    def scores(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return ``scores.parquet``, or uid and some of its columns.

        Raises:
            DataError: If the run is not scored yet.
        """
        from curate.scores.table import ScoreTable

        path = self.path / "scores.parquet"
        if not path.is_file() or not self._record("score").is_file():
            raise DataError(f"run {self.path} has no scores yet; type 'curate score {self.name}'.")
        return ScoreTable.read(path, columns).table

    def manifest(self, name: str) -> pa.Table:
        """Return the manifest ``name`` of the run, checked against its own digest."""
        from curate.selection.manifest import Manifest

        return Manifest.read(self.path / "manifests" / f"{name}.parquet").table

    def encoder(self, name: str, device: str = "cpu") -> Encoder:
        """Return a trained encoder of the plan, in evaluation mode."""
        from curate.encoders.backbone import load_encoder

        return load_encoder(self.path / "encoders" / name, device=device)

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


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a run directory for this process.

    Raises:
        InUseError: At once, if another process holds it; its host and pid are named.
    """
    path.mkdir(parents=True, exist_ok=True)
    owner = path / ".owner.json"
    lock = filelock.FileLock(path / ".lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        who = ""
        with contextlib.suppress(DataError, KeyError):
            held = read_json(owner)
            who = f" (process {held['pid']} on {held['host']})"
        raise InUseError(f"run {path} is in use{who}; wait for it, or stop it.") from error
    try:
        write_json(owner, {"pid": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


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
    found = [runs / name for name in names(runs)]
    if not found:
        raise UsageError(f"no run under {runs}/; make one with 'curate run digits'.")
    return max(found, key=lambda path: (path / "run.json").stat().st_mtime_ns)


def names(runs: Path) -> list[str]:
    """Return the names of the runs under ``runs``, without those set aside."""
    found = sorted(path.parent.name for path in runs.glob("*/run.json"))
    return [name for name in found if ".old-" not in name]


def enclosing(path: Path) -> Path | None:
    """Return the run directory that a file or folder lies in; None if it lies in none."""
    return next((p for p in path.resolve().parents if (p / "run.json").is_file()), None)


MORE = (("plan", "repeats"), ("score", "views"))
"""What a run may be given more of: earlier repeats and views are the same whatever follows them."""


def more(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return whether a recipe asks for more of ``MORE`` than another, and differs in nothing else.

    Args:
        old: A resolved recipe.
        new: The other.
    """
    raised = {s: dict(v) if isinstance(v, dict) else v for s, v in old.items()}
    for section, key in MORE:
        if new[section].get(key) < old[section].get(key):
            return False
        raised[section][key] = new[section][key]
    return raised == new
