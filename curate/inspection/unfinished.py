"""Unfinished searches for copies: what was matched stays, and the same search goes on behind it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.runtime.files import write_table

PREFIX = ".search-"
"""Folders of unfinished searches begin so; a search that ended leaves none."""
DECOY = "decoy"


@dataclass(frozen=True)
class Unfinished:
    """Parts of a search in a folder, by the position that each begins at.

    A part is old or new at every moment, since files are written atomically. What it was made
    from is in the name of the folder, so that another search never takes it.

    Attributes:
        folder: Where they lie; None keeps nothing.
    """

    folder: Path | None

    @classmethod
    def of(cls, home: Path | None, made_from: str) -> Unfinished:
        """Open the search of some images in a folder, and remove those of others.

        Args:
            home: Where its folder lies; None keeps nothing.
            made_from: Names the images, the device and the code.
        """
        if home is None:
            return cls(None)
        name = PREFIX + hashlib.sha256(made_from.encode()).hexdigest()[:16]
        for other in home.glob(f"{PREFIX}*"):
            if other.name != name:
                shutil.rmtree(other, ignore_errors=True)
        return cls(home / name)

    def part(self, start: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]] | None:
        """Return the columns of pairs and of decoys of the part at a position; None without one."""
        if self.folder is None or not self._file(start).is_file():
            return None
        try:
            table = pq.read_table(self._file(start))
        except (pa.ArrowException, OSError):
            return None  # matched again, and written over
        decoy = table[DECOY].to_numpy()
        columns = {name: table[name].to_numpy() for name in table.column_names if name != DECOY}
        pairs, decoys = (
            {name: values[mask] for name, values in columns.items()} for mask in (~decoy, decoy)
        )
        return pairs, decoys

    def keep(
        self, start: int, found: Mapping[str, np.ndarray], decoys: Mapping[str, np.ndarray]
    ) -> None:
        """Keep the columns of pairs and of decoys of the part at a position."""
        if self.folder is None:
            return
        table = pa.table(
            {
                **{name: np.append(values, decoys[name]) for name, values in found.items()},
                DECOY: np.repeat(
                    [False, True], [len(next(iter(c.values()))) for c in (found, decoys)]
                ),
            }
        )
        write_table(self._file(start), table)

    def end(self) -> None:
        """Remove all parts: what they were for is written."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, start: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{start:012d}.parquet"


NOTHING_KEPT = Unfinished(None)


def _rows(columns: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(columns.values())))
