"""Order of samples: rows by uid, for millions of them, with no object a sample."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.data.chunks import as_strings, offsets, one_chunk

WORD = 8
"""Bytes of a word."""
AT_A_TIME = 1 << 18
"""Texts whose words are made at a time, so that what that takes stays in the processor's cache."""


def words(texts: pa.Array, lane: int = 0) -> np.ndarray:
    """Return bytes ``8 lane`` to ``8 lane + 7`` of each text as a big-endian number, (N,) uint64.

    Where a text ends, bytes are 0. Numbers of lane 0 are in the order of the texts.

    Args:
        texts: (N,) strings, none missing.
        lane: Which eight bytes.
    """
    out = np.zeros(len(texts), dtype=np.uint64)
    content = texts.buffers()[2]
    if not len(texts) or content is None or not content.size:
        return out
    ends = offsets(texts)
    letters = np.frombuffer(content, dtype=np.uint8)
    for start in range(0, len(texts), AT_A_TIME):
        bounds = ends[start : start + AT_A_TIME + 1]
        word = out[start : start + AT_A_TIME]
        for byte in range(WORD * lane, WORD * (lane + 1)):
            place = bounds[:-1] + byte
            inside = place < bounds[1:]
            word <<= np.uint64(8)
            # No branch where all texts are long enough, as uids are.
            if inside.all():
                word |= letters[place]
            else:
                word |= np.where(inside, letters[np.minimum(place, len(letters) - 1)], 0)
    return out


def order_of_texts(texts: pa.Array) -> np.ndarray:
    """Return the order that sorts (N,) texts by their bytes, (N,) int64.

    Numbers of their first eight bytes are sorted, and only what is equal there as text: hashes
    differ there.
    """
    numbers = words(texts)
    order = _order(numbers)
    ranked = numbers[order]
    equal = ranked[1:] == ranked[:-1]
    alike = np.zeros(len(texts), dtype=bool)
    alike[1:] |= equal
    alike[:-1] |= equal
    if alike.any():
        # Their texts lie in the order of their numbers, so that they are sorted all at once.
        tied = order[alike]
        order[alike] = tied[pc.sort_indices(texts.take(pa.array(tied))).to_numpy()]
    return order


def _order(numbers: np.ndarray) -> np.ndarray:
    """Return the stable order of (N,) uint64, (N,) int64.

    numpy sorts numbers ten times as fast as it finds their order. So the place of each number goes
    into bits of it that make room: those of its lower half first, then those of its upper.
    """
    size = np.uint64(max(1, len(numbers).bit_length()))
    places = np.arange(len(numbers), dtype=np.uint64)
    mask = (np.uint64(1) << size) - np.uint64(1)

    def sort(upper: np.ndarray) -> np.ndarray:
        upper |= places
        upper.sort()
        upper &= mask
        return upper.view(np.int64)

    first = sort(numbers << size)
    order: np.ndarray = first[sort(numbers[first] >> (np.uint64(64) - size) << size)]
    return order


def sorted_by_uid(table: pa.Table | dict[str, pa.ChunkedArray]) -> pa.Table:
    """Return a table in the order of its uids, which are strings and not missing.

    Every column is one chunk, but for strings of more than ``chunks.MOST`` bytes; a table that is
    in order already is not copied.

    Args:
        table: Has ``uid``. Columns in a dict are taken out of it one by one, so that a caller who
            holds nothing else of them does not hold them twice.
    """
    left = table if isinstance(table, dict) else dict(zip(table.column_names, table, strict=True))
    names = list(left)
    uids = one_chunk(left.pop("uid"))
    order = None
    if not pc.all(pc.less_equal(uids[:-1], uids[1:]), min_count=0).as_py():
        order = pa.array(order_of_texts(uids))
        uids = _taken(uids, order)
    columns = {"uid": uids}
    for name in names:
        if name != "uid":
            column = one_chunk(left.pop(name))
            columns[name] = column if order is None else _taken(column, order)
    return pa.table({name: as_strings(columns[name]) for name in names})


def _taken(column: pa.Array, order: pa.Array) -> pa.Array:
    """Return values of a column in an order; texts of one length in a quarter of Arrow's time."""
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if not text or column.null_count or not len(column):
        return column.take(order)
    content, ends = column.buffers()[2], offsets(column)
    width = int(ends[1] - ends[0])
    if width == 0 or (np.diff(ends) != width).any():
        return column.take(order)
    kind = pa.binary(width)
    fixed = pa.Array.from_buffers(kind, len(column), [None, content.slice(int(ends[0]))])
    places = np.arange(len(order) + 1, dtype=ends.dtype) * ends.dtype.type(width)
    buffers = [None, pa.py_buffer(places), fixed.take(order).buffers()[1]]
    return pa.Array.from_buffers(column.type, len(order), buffers)


def repeats(uids: pa.Array | pa.ChunkedArray) -> bool:
    """Return whether uids that are sorted have one twice."""
    whole = one_chunk(uids)
    return bool(pc.any(pc.equal(whole[:-1], whole[1:]), min_count=0).as_py())


def places(texts: pa.Array, among: pa.Array) -> pa.Array:
    """Return where each of some uids is among others, (n,) int64, null where it is not.

    Takes little more time than going over both where ``texts`` is sorted, and no table of hashes.

    Args:
        texts: (n,) strings.
        among: (N,) distinct strings.
    """
    mine, theirs = words(texts), words(among)
    order = np.argsort(theirs)
    theirs = theirs[order]
    first = np.searchsorted(theirs, mine)
    alike = np.searchsorted(theirs, mine, side="right") - first
    place = np.full(len(mine), -1)
    place[alike > 0] = order[first[alike > 0]]
    candidate = pa.array(place, mask=place < 0)
    same = pc.equal(among.take(candidate), texts)
    positions = pc.if_else(same, candidate, pa.scalar(None, pa.int64()))
    unsure = pa.array(alike > 1)
    if alike.max(initial=0) > 1:
        # Several begin alike: those are looked up by their whole texts.
        at = pc.index_in(texts.filter(unsure), value_set=among)
        positions = pc.replace_with_mask(positions, unsure, at.cast(pa.int64()))
    return positions
