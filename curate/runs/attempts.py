"""Attempts at a unit of work, of which there may be several at a time: one of them wins.

A unit is begun again where the machine that did it seems to be lost, and it may not be. So an
attempt makes files in a folder of its own below ``RUN/.attempts``, where they lie as they will lie
in the run. Whoever has all of them first renames them into their places and writes the record,
which names the attempt; what comes later is thrown away. What a killed process leaves is swept up
with its temporary files.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from curate.runtime.files import TEMPORARY, beside

if TYPE_CHECKING:
    from curate.runs.units import Unit

FOLDER = ".attempts"


@dataclass(frozen=True)
class Attempt:
    """One attempt at a unit.

    Attributes:
        unit: What is made.
        folder: Where the files are made, at the places that they will have in the run.
    """

    unit: Unit
    folder: Path

    @property
    def name(self) -> str:
        """The machine, what its process numbers are unique in, the process, and chance."""
        return self.folder.name.removeprefix(".").removesuffix(TEMPORARY)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold back all other attempts of the run while a block runs: they wait.

        Where the file system has no locks between machines, two may go on at a time: then a digest
        of the record tells, and the unit is made again.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self.unit.run.path / FOLDER / ".lock"):
            yield

    def complete(self, device: str | None = None, *, keep: bool = True, **facts: Any) -> bool:
        """Put the files into the run and record the unit, unless another attempt has done so.

        Args:
            device: As in ``Unit.complete``, and so is ``keep``.
            keep: Whether a unit with a device goes into the store.
            facts: What else the record says.

        Returns:
            Whether this attempt won.
        """
        with self.alone():
            if self.unit.done():
                return False
            self.put(device, keep=keep, **facts)
        return True

    def put(self, device: str | None = None, *, keep: bool = True, **facts: Any) -> None:
        """Put the files into the run and record the unit, whoever else has: within ``alone``.

        Args:
            device: As in ``Unit.complete``, and so is ``keep``.
            keep: Whether a unit with a device goes into the store.
            facts: What else the record says.
        """
        run = self.unit.run
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        outputs = [run.path / path.relative_to(self.folder) for path in files]
        for path, output in zip(files, outputs, strict=True):
            output.parent.mkdir(parents=True, exist_ok=True)
            # Not synced: a record that outlives a name names a file that is missing, and the unit
            # is made again.
            path.replace(output)
        self.unit.complete(outputs, device, keep=keep, attempt=self.name, **facts)


@contextlib.contextmanager
def attempting(unit: Unit) -> Iterator[Attempt]:
    """Make a unit apart from every other attempt at it; what is not put into the run is deleted."""
    host = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname())[:40]
    attempt = Attempt(unit, beside(unit.run.path / FOLDER / host))
    try:
        yield attempt
    finally:
        shutil.rmtree(attempt.folder, ignore_errors=True)
