"""Spaces in which neighbours are looked for: an encoder's, a pretrained network's, or a file's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.data.canvas import Canvas
from curate.data.chunks import one_chunk
from curate.encoders import backbone, pretrained, representation
from curate.encoders.backbone import Encoder
from curate.encoders.pretrained import TIMM, TIMM_RANDOM, Given
from curate.errors import DataError, UsageError, unknown
from curate.inspection.config import InspectConfig
from curate.runtime.files import file_sha256
from curate.runtime.options import option
from curate.runtime.progress import Progress


@dataclass(frozen=True)
class Space:
    """Where neighbours are looked for.

    Attributes:
        kind: ``plan`` (an encoder of the run), ``saved`` (a folder of another encoder), ``timm``
            (a pretrained network), ``weights`` (a file of them) or ``file`` (embeddings).
        name: As the recipe names it.
        backbone: Network of a file of weights.
        given: How a network from elsewhere wants images.
    """

    kind: Literal["plan", "saved", "timm", "weights", "file"]
    name: str
    backbone: str | None = None
    given: Given = field(default_factory=Given)

    def digest(self) -> str | None:
        """Return the sha256 of what the space is made by where it is not of the run itself."""
        if self.kind in ("file", "weights"):
            return file_sha256(Path(self.name))
        if self.kind == "saved":
            return file_sha256(Path(self.name) / "weights.safetensors")
        return None


def space_of(
    config: InspectConfig, encoders: Sequence[str], *, key: str = "inspect.encoder"
) -> Space:
    """Return the space that a recipe asks for.

    Args:
        config: Of ``inspect``; its ``encoder`` is one of the plan, ``timm:NAME`` or
            ``timm-random:NAME``, the folder of a saved encoder, a file of weights, or a ``.npy`` or
            ``.parquet`` file of embeddings; None for the first encoder of the plan.
        encoders: Names of the plan's encoders; there may be none.
        key: The setting that asks.

    Raises:
        UsageError: If it is none of these.
    """
    name = config.encoder
    if encoders and (name is None or name in encoders):
        return Space("plan", name or encoders[0])
    kinds = ["timm:NAME", "timm-random:NAME", "FOLDER", "WEIGHTS", "FILE.npy"]
    if name is None:
        raise UsageError(f"say which encoder gives the space: {', '.join(kinds)}.")
    given = Given(size=config.size, prefix=config.prefix)
    if name.startswith((TIMM, TIMM_RANDOM)):
        pretrained.check_pretrained(name.partition(":")[2])
        return Space("timm", name, given=given)
    path = Path(name)
    if path.suffix in (".npy", ".parquet"):
        if not path.is_file():
            raise UsageError(f"{key}: there is no file {path}.")
        return Space("file", name)
    if (path / "weights.safetensors").is_file():
        return Space("saved", name)
    if path.is_file():
        if config.backbone is None:
            raise UsageError(
                f"say of which network {name} has the weights, such as "
                f"{option(backbone='timm:resnet50')}."
            )
        return Space("weights", name, config.backbone, given)
    raise unknown(key, name, [*encoders, *kinds])


def network_of(space: Space, encoders: Path | None, device: str) -> Encoder:
    """Return the encoder that gives a space, in evaluation mode.

    Args:
        space: From ``space_of``, of any kind but ``file``.
        encoders: Folder of the plan's encoders, for one of them.
        device: ``cpu`` or ``cuda``.

    Raises:
        UsageError: If its backbone or side cannot be had.
        DataError: If its weights are damaged, or not those of its backbone.
        ResourceError: If pretrained weights cannot be had.
    """
    if space.kind in ("timm", "weights"):
        network, _ = pretrained.read_encoder(space.name, space.backbone, given=space.given)
        return network.to(device)
    assert encoders is not None or space.kind == "saved"
    folder = (
        Path(space.name) if encoders is None or space.kind == "saved" else encoders / space.name
    )
    return backbone.load_encoder(folder, device=device)


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
        needed = {"uid": pa.array(images.uids[rows]).cast(pa.string())}
        return read_embeddings(Path(space.name), "uid", uids, needed)
    encoder = network_of(space, encoders, device)
    if space.kind in ("plan", "saved") and encoder.channels != images.array.shape[1]:
        raise DataError(
            f"the encoder {space.name} takes images of {encoder.channels} channels, the run's have "
            f"{images.array.shape[1]}."
        )
    return representation.features(encoder, images, rows, progress)


def check_rows(path: Path, n: int, order: str) -> np.ndarray:
    """Return the array of a ``.npy``, memory-mapped, which has n rows of numbers.

    Args:
        path: The file.
        n: How many samples there are.
        order: Whose order they are in, for messages.

    Raises:
        DataError: If it cannot be read, has another number of rows, or is no table of numbers.
    """
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a foreign header makes numpy raise nearly anything
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"cannot read embeddings from {path}: {line[:300]}.") from error
    if array.ndim != 2 or array.dtype.kind not in "fiu" or len(array) != n:
        raise DataError(
            f"{path} holds {array.dtype} of shape {array.shape}; {n:,} rows of numbers are needed, "
            f"in the order of {order}."
        )
    return array


def read_embeddings(
    path: Path,
    by: str,
    names: pa.ChunkedArray,
    needed: Mapping[str, pa.Array],
    *,
    order: str = "shards/index.parquet",
) -> np.ndarray:
    """Return the embeddings that a file has for some samples, (n, D) float32.

    Args:
        path: A ``.npy``, (N, D) numbers, or a ``.parquet`` of one column of lists of D numbers and
            another that names the samples.
        by: Of which name the rows of an array are in order: ``uid`` or ``path``.
        names: (N,) those names.
        needed: (n,) names of the samples that are needed, by what they are: ``uid``, ``path``.
        order: Whose order it is, for messages.

    Raises:
        DataError: If it cannot be read, has another number of rows, lacks a sample, or is no table
            of numbers.
    """
    if path.suffix == ".npy":
        array = check_rows(path, len(names), order)
        rows = pc.index_in(needed[by], value_set=names.combine_chunks()).to_numpy()
        return np.asarray(array[rows], dtype=np.float32)
    try:
        table = pq.read_table(path, partitioning=None)
        key = next((name for name in needed if name in table.column_names), None)
        keys = one_chunk(table[key].cast(pa.string())) if key else None
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"cannot read embeddings from {path}: {line[:300]}.") from error
    lists = [f.name for f in table.schema if pa.types.is_list(f.type) or _fixed(f.type)]
    if key is None or len(lists) != 1:
        columns = " or ".join(map(repr, needed))
        raise DataError(f"{path} needs a column {columns} and one column of lists of numbers.")
    place = pc.index_in(needed[key], value_set=keys)
    if place.null_count:
        missing = needed[key].filter(place.is_null())
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
