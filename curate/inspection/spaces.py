"""Spaces in which neighbours are looked for: an encoder's, a pretrained network's, or a file's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.data.canvas import Canvas
from curate.data.ordering import one_chunk
from curate.encoders import backbone, pretrained, representation
from curate.errors import DataError, UsageError, unknown
from curate.runtime.files import file_sha256
from curate.runtime.progress import Progress

TIMM, TIMM_RANDOM = "timm:", "timm-random:"
"""Networks of timm with pretrained weights, and with random ones, for tests and controls."""


@dataclass(frozen=True)
class Space:
    """Where neighbours are looked for.

    Attributes:
        kind: ``plan`` (an encoder of the run), ``saved`` (a folder of another encoder), ``timm``
            (a pretrained network) or ``file`` (embeddings that are given).
        name: As the recipe names it.
    """

    kind: Literal["plan", "saved", "timm", "file"]
    name: str

    def digest(self) -> str | None:
        """Return the sha256 of what the space is made by where it is not of the run itself."""
        if self.kind == "file":
            return file_sha256(Path(self.name))
        if self.kind == "saved":
            return file_sha256(Path(self.name) / "weights.safetensors")
        return None


def space_of(name: str | None, encoders: Sequence[str], *, key: str = "inspect.encoder") -> Space:
    """Return the space that a recipe asks for.

    Args:
        name: ``inspect.encoder``: an encoder of the plan, ``timm:NAME`` or ``timm-random:NAME``,
            the folder of a saved encoder, or a ``.npy`` or ``.parquet`` file; None for the first
            encoder of the plan.
        encoders: Names of the plan's encoders.
        key: The setting that asks.

    Raises:
        UsageError: If it is none of these.
    """
    if name is None or name in encoders:
        return Space("plan", name or encoders[0])
    if name.startswith((TIMM, TIMM_RANDOM)):
        pretrained.check_pretrained(name.partition(":")[2])
        return Space("timm", name)
    path = Path(name)
    if path.suffix in (".npy", ".parquet"):
        if not path.is_file():
            raise UsageError(f"{key}: there is no file {path}.")
        return Space("file", name)
    if (path / "weights.safetensors").is_file():
        return Space("saved", name)
    raise unknown(key, name, [*encoders, "timm:NAME", "timm-random:NAME", "FOLDER", "FILE.npy"])


def embeddings(
    space: Space,
    encoders: Path,
    images: Canvas,
    uids: pa.ChunkedArray,
    rows: np.ndarray,
    device: str,
    progress: Progress,
) -> np.ndarray:
    """Return the embeddings of rows of the index, (n, D) float32.

    Args:
        space: From ``space_of``.
        encoders: Folder of the plan's encoders.
        images: The run's canvas.
        uids: (N,) uids of the index.
        rows: (n,) positions in the index.
        device: ``cpu`` or ``cuda``.
        progress: Progress callback.

    Raises:
        DataError: If embeddings that are given, or an encoder, do not fit the dataset.
        ResourceError: If pretrained weights cannot be had.
    """
    if space.kind == "file":
        return read_embeddings(Path(space.name), uids, images.uids[rows])
    if space.kind == "timm":
        kind, _, network_name = space.name.partition(":")
        random = f"{kind}:" == TIMM_RANDOM
        network = pretrained.pretrained(network_name, random=random, device=device)
        return representation.features(network, images, rows, progress)
    folder = encoders / space.name if space.kind == "plan" else Path(space.name)
    encoder = backbone.load_encoder(folder, device=device)
    if encoder.channels != images.array.shape[1]:
        raise DataError(
            f"the encoder in {folder} takes images of {encoder.channels} channels, the run's have "
            f"{images.array.shape[1]}."
        )
    return representation.features(encoder, images, rows, progress)


def read_embeddings(path: Path, uids: pa.ChunkedArray, needed: np.ndarray) -> np.ndarray:
    """Return the embeddings that a file has for some samples, (n, D) float32.

    Args:
        path: A ``.npy``, (N, D) numbers in the order of the index, or a ``.parquet`` of ``uid`` and
            one column of lists of D numbers.
        uids: (N,) uids of the index.
        needed: (n,) uids, bytes.

    Raises:
        DataError: If it cannot be read, has another number of rows, lacks a sample, or is no table
            of numbers.
    """
    names = pa.array(needed).cast(pa.string())
    if path.suffix == ".npy":
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # a foreign header makes numpy raise nearly anything
            line = (str(error) or type(error).__name__).splitlines()[0]
            raise DataError(f"cannot read embeddings from {path}: {line[:300]}.") from error
        if array.ndim != 2 or array.dtype.kind not in "fiu" or len(array) != len(uids):
            raise DataError(
                f"{path} holds {array.dtype} of shape {array.shape}; {len(uids):,} rows of numbers "
                "are needed, in the order of shards/index.parquet."
            )
        rows = pc.index_in(names, value_set=uids.combine_chunks()).to_numpy()
        return np.asarray(array[rows], dtype=np.float32)
    try:
        table = pq.read_table(path, partitioning=None)
        known = one_chunk(table["uid"].cast(pa.string())) if "uid" in table.column_names else None
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"cannot read embeddings from {path}: {line[:300]}.") from error
    lists = [f.name for f in table.schema if pa.types.is_list(f.type) or _fixed(f.type)]
    if known is None or len(lists) != 1:
        raise DataError(f"{path} needs a column 'uid' and one column of lists of numbers.")
    place = pc.index_in(names, value_set=known)
    if place.null_count:
        missing = names.filter(place.is_null())
        raise DataError(f"{path} lacks {len(missing):,} samples; the first is {missing[0]}.")
    try:
        column = one_chunk(table[lists[0]].take(place))
        sizes = pc.unique(pc.list_value_length(column)).to_pylist()
        flat = column.flatten().cast(pa.float32()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise DataError(f"{path}: column {lists[0]!r} holds no numbers.") from error
    if len(sizes) != 1 or not sizes[0] or len(flat) != len(column) * sizes[0]:
        raise DataError(f"{path}: column {lists[0]!r} holds lists of different lengths.")
    return np.asarray(flat.reshape(len(column), -1))


def _fixed(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind))
