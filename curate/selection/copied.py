"""Copies among the samples of a selection, from a folder that ``curate copies`` wrote.

Its tables name files by their digests, so that what is said of a file holds for every sample that
was made from it, in whatever run.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import DataError, UsageError
from curate.inspection.triage import representatives

PAIRS, GROUPS = "pairs.parquet", "groups.parquet"
DIGEST = 32
"""Hex digits of a uid that are the file's digest; a second sample of one file has more."""


def redundant(folder: Path, uids: pa.Array) -> np.ndarray:
    """Return which samples are copies of one that stands for them, (N,) bool.

    Of the samples in a group the one of most pixels stands, then of the largest file, then the
    first; what else is in the group, such as test images, does not count.

    Args:
        folder: From ``curate copies``.
        uids: (N,) strings, sorted.

    Raises:
        UsageError: If it is no such folder.
        DataError: If a table cannot be read.
    """
    table = _table(folder, GROUPS, ["uid", "group", "width", "height", "size"])
    digests = _digests(uids)
    known, at = np.unique(_digests(table["uid"]), return_index=True)
    place = np.minimum(np.searchsorted(known, digests), max(0, len(known) - 1))
    unchanged = known[place] == digests if len(known) else np.zeros(len(digests), dtype=bool)
    row = at[place] if len(known) else place

    def of(values: np.ndarray) -> np.ndarray:
        return np.where(unchanged, values[row] if len(values) else -1, -1)

    group = of(table["group"].to_numpy())
    pixels = of(table["width"].to_numpy().astype(np.int64) * table["height"].to_numpy())
    stands = representatives(group, pixels, of(table["size"].to_numpy()))
    return np.asarray((group >= 0) & ~stands)


def leaking(folder: Path, uids: pa.Array) -> np.ndarray:
    """Return which samples have a copy in another split or source, (N,) bool.

    Arguments and errors as for ``redundant``.
    """
    table = _table(folder, PAIRS, ["uid", "other_uid", "leak"])
    table = table.filter(table["leak"])
    ends = np.concatenate([_digests(table["uid"]), _digests(table["other_uid"])])
    return np.isin(_digests(uids), ends)


def _digests(uids: Iterable[pa.StringScalar]) -> np.ndarray:
    return np.array([uid.as_py()[:DIGEST] for uid in uids], dtype=f"S{DIGEST}")


def _table(folder: Path, name: str, columns: list[str]) -> pa.Table:
    path = folder / name
    if not path.is_file():
        raise UsageError(
            f"{folder} holds no {name}: name a folder that 'curate copies SOURCE --out DIR' wrote."
        )
    try:
        return pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError, ValueError) as error:
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"cannot read {path}: {line[:300]}; run 'curate copies' again.") from error
