"""Shards of one image a format, and what is known of them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CLASSES = [f"class {i}" for i in range(21)]


KINDS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"]


def inspected(place, uids):
    """Write what inspect would say of samples beside their shards."""
    table = pa.table(
        {
            "uid": uids,
            "triage": ["tail", *["typical"] * (len(uids) - 1)],
            "triage_reason": pa.array(["noise", *[None] * (len(uids) - 1)], pa.string()),
            "outlier_score": np.linspace(0, 1, len(uids)),
            "duplicate_group": pa.array([None, 0, 0, *[None] * (len(uids) - 3)], pa.int64()),
        }
    )
    pq.write_table(table, place.parent / "inspect.parquet")
    return {row["uid"]: row for row in table.to_pylist()}


def kept(manifest):
    return [row for row in manifest.table.to_pylist() if row["decision"] == "keep"]
