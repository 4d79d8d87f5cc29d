"""The store beside the runs: what has an equal key is made once, and lies in every run that has it.

``RUNS/.store/KIND/KEY/`` holds the files of a unit and its record. A run links them, or copies them
where the file system refuses links, so that a run that is copied or moved stays whole. Files of the
store never change: they are read-only, and mending replaces a file and does not write into it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from curate.errors import DataError, ResourceError
from curate.runtime.files import (
    TEMPORARY,
    beside,
    file_sha256,
    read_json,
    sealed,
    sweep,
    write_json,
)

FOLDER = ".store"
RECORD = "record.json"
COPIED = "log.jsonl"
"""Is copied and not linked, since it says how a thing was made and not what it is."""


@dataclass(frozen=True)
class Entry:
    """The place of a unit in the store.

    Attributes:
        runs: Folder that holds the runs.
        kind: ``shard``, ``train``, ``align`` or ``canvas``.
        key: The unit's key, with the kind of device where that changes the bytes; of shards the
            digest of their files.
    """

    runs: Path
    kind: str
    key: str

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self.runs / FOLDER / self.kind / self.key

    def take(self, run: Path, unit: str) -> dict[str, Any] | None:
        """Put the files of the unit into a run; returns the record, None where there is none.

        Args:
            run: The run directory.
            unit: Name that the unit has in this run; where that of an encoder is another than in
                the run that made it, so are the names of the files.
        """
        with locked(self.runs):
            try:
                record = read_json(self.folder / RECORD)
                if record["stored"] != f"{self.kind}/{self.key}":
                    return None
                old, new = (
                    f"/{name.split('/')[1]}/" for name in (f"{record['unit']}/", f"{unit}/")
                )
                names = {name: name.replace(old, new, 1) for name in record["outputs"]}
                home = _home(record["outputs"])
                for name, output in record["outputs"].items():
                    stored = self.folder / Path(name).relative_to(home)
                    # A file that changed since is no longer what the key says.
                    if file_sha256(stored) != output["sha256"]:
                        remove(self.folder)
                        return None
                    put(stored, run / names[name])
            except (DataError, OSError, KeyError, TypeError):
                return None
        outputs = {names[name]: output for name, output in record["outputs"].items()}
        return {**record, "unit": unit, "outputs": outputs}

    def keep(self, run: Path, record: Mapping[str, Any], *, copy: bool = True) -> None:
        """Take the files of a unit of a run into the store, unless they are there.

        Args:
            run: The run directory.
            record: Of the unit.
            copy: Whether files are copied where links are refused; else nothing is kept there.
        """
        with locked(self.runs):
            with contextlib.suppress(DataError):
                read_json(self.folder / RECORD)
                return
            filling = beside(self.folder)
            if self.folder.exists():
                remove(self.folder)
            try:
                home = _home(record["outputs"])
                for name in record["outputs"]:
                    put(run / name, filling / Path(name).relative_to(home), copy=copy)
                write_json(filling / RECORD, sealed(record))
                filling.rename(self.folder)
            except OSError as error:
                shutil.rmtree(filling, ignore_errors=True)
                if not copy:
                    return
                raise ResourceError(f"cannot write {self.folder}: {error.strerror}.") from error


def remove(folder: Path) -> None:
    """Remove an entry: it is there whole or not at all at every moment."""
    going = beside(folder)
    folder.rename(going)
    shutil.rmtree(going)


def _home(names: Iterable[str]) -> str:
    """Return the folder that all of some files lie in."""
    return os.path.commonpath([str(Path(name).parent) for name in names])


def put(source: Path, target: Path, *, copy: bool = True) -> None:
    """Make ``target`` the file ``source``: by a link, or by a copy where that is refused.

    Raises:
        OSError: If a link is refused, and so is a copy, by the disk or by ``copy``.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside(target)
    linked = False
    if source.name != COPIED:
        with contextlib.suppress(OSError) if copy else contextlib.nullcontext():
            # A link has one mode with what it links: read-only, since neither is ever written to.
            source.chmod(0o444)
            os.link(source, temporary)
            linked = True
    if not linked:
        shutil.copyfile(source, temporary)
    temporary.replace(target)
    # Where both are links to one file already, replacing does nothing.
    temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(runs: Path) -> Iterator[None]:
    """Hold the store of a folder of runs for this process; others wait."""
    try:
        (runs / FOLDER).mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(runs / FOLDER / ".lock"):
            # Left by a process that was killed while it filled or emptied an entry.
            sweep((runs / FOLDER).glob(f"*/.*{TEMPORARY}"))
            yield
    except PermissionError as error:
        raise ResourceError(f"cannot write {runs / FOLDER}: {error.strerror}.") from error


@dataclass(frozen=True)
class Cleaned:
    """What ``clean`` removed, or would.

    Attributes:
        entries: How many units.
        bytes: What they take on the disk; a file that a run still has frees nothing.
    """

    entries: int
    bytes: int

    def to_json(self) -> dict[str, int]:
        """Return both numbers, as ``curate clean --json`` prints them."""
        return {"entries": self.entries, "bytes": self.bytes}


def clean(runs: str | Path = "runs", *, dry_run: bool = False) -> Cleaned:
    """Remove from the store what no record of any run names.

    Runs that were set aside count as well. What is removed is told by the records, never by how
    many links a file has.

    Args:
        runs: Folder that holds the runs.
        dry_run: Whether nothing is removed.
    """
    home = Path(runs)
    if not (home / FOLDER).is_dir():
        return Cleaned(0, 0)
    with locked(home):
        entry_names = set()
        for path in home.glob("*/records/**/*.json"):
            with contextlib.suppress(DataError):
                entry_names.add(str(read_json(path).get("stored")))
        entries, size = 0, 0
        for folder in sorted((home / FOLDER).glob("*/*")):
            if not folder.is_dir() or f"{folder.parent.name}/{folder.name}" in entry_names:
                continue
            if folder.name.endswith(TEMPORARY):
                continue  # another machine may be filling it (``locked`` sweeps what none does)
            entries += 1
            size += sum(p.stat().st_size for p in folder.rglob("*") if p.stat().st_nlink == 1)
            if not dry_run:
                remove(folder)
    return Cleaned(entries, size)
