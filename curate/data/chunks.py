"""Columns of any length: Arrow counts in 32 bits, which the texts of 67 million uids exceed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import DataError

MOST = 2**31 - 1
"""Bytes of texts, or values of lists, that Arrow has in one array whose offsets are of 32 bits."""


def one_chunk(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, which copies it only where it is in several parts.

    Strings of more than ``MOST`` bytes come as ``large_string``, which Arrow's functions take
    beside ``string``.
    """
    if isinstance(column, pa.Array):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    if pa.types.is_string(column.type) and (pc.sum(pc.binary_length(column)).as_py() or 0) > MOST:
        column = column.cast(pa.large_string())
    return column.combine_chunks()


def as_strings(column: pa.Array) -> pa.Array | pa.ChunkedArray:
    """Return a ``large_string`` array as ``string``, in as many parts as that takes; others as is.

    So what is written has one type, whatever its size.

    Raises:
        DataError: If one text alone has more than ``MOST`` bytes.
    """
    if not pa.types.is_large_string(column.type):
        return column
    content, ends, start, parts = column.buffers()[2], offsets(column), 0, []
    while start < len(column):
        stop = int(np.searchsorted(ends, ends[start] + MOST, side="right")) - 1
        stop = max(stop, start + 1)
        ends_here = ends[start : stop + 1] - ends[start]
        if ends_here[-1] > MOST:
            raise DataError(f"a text of {ends_here[-1]:,} bytes cannot be stored.")
        # Arrow casts no part whose place in its buffer is beyond 32 bits.
        mask = column.slice(start, stop - start).is_valid().buffers()[1]
        texts = (content or pa.py_buffer(b"")).slice(int(ends[start]), int(ends_here[-1]))
        places = pa.py_buffer(ends_here.astype(np.int32))
        parts.append(pa.Array.from_buffers(pa.string(), stop - start, [mask, places, texts]))
        start = stop
    return parts[0] if len(parts) == 1 else pa.chunked_array(parts, pa.string())


def offsets(texts: pa.Array) -> np.ndarray:
    """Return where (N,) texts begin in their buffer, and where the last ends, (N + 1,)."""
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    starts = texts.buffers()[1]
    if starts is None or not len(texts):
        return np.zeros(1, kind)
    return np.frombuffer(starts, dtype=kind)[texts.offset : texts.offset + len(texts) + 1]


def lists(values: np.ndarray, kind: pa.DataType) -> pa.ChunkedArray:
    """Return (N, k) values as N lists, in as many parts as offsets of 32 bits take."""
    k = values.shape[1]
    rows = max(1, MOST // max(k, 1))
    parts = []
    for start in range(0, max(len(values), 1), rows):
        block = values[start : start + rows]
        ends = pa.array(np.arange(len(block) + 1) * k, pa.int32())
        parts.append(pa.ListArray.from_arrays(ends, pa.array(block.ravel(), kind)))
    return pa.chunked_array(parts, pa.list_(kind))
