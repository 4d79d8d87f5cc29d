"""What a manifest keeps, found in the shards of its dataset."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.records.manifest import Manifest
from curate.shards import Reader


def kept_rows(manifest: Manifest, reader: Reader) -> np.ndarray:
    """Return the positions of the kept samples in the index, ascending, (n,) int64."""
    kept = pa.array(manifest.kept().tolist(), pa.string())
    rows = pc.index_in(kept, value_set=reader.index(["uid"])["uid"].combine_chunks())
    assert not rows.null_count, "the manifest was checked against the dataset"
    return np.sort(rows.to_numpy())
