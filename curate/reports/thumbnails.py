"""Thumbnails: images of a run's shards as data URIs, small enough to put hundreds in a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from curate.data.canvas import decode
from curate.data.chunks import one_chunk
from curate.data.shards import Reader
from curate.errors import DataError

SIDE = 144
"""Longest side of a thumbnail in pixels; smaller images keep their size."""
EXACT = 64
"""Images up to this side stay PNG: a JPEG's artefacts would be larger than what they show."""


@dataclass(frozen=True)
class Thumbnail:
    """A sample's image, and where it came from.

    Attributes:
        uri: ``data:`` URI of a PNG or JPEG.
        path: The original path, as the source named it.
        exact: Whether every pixel of the image is there.
    """

    uri: str
    path: str
    exact: bool


def thumbnails(shards: Path, uids: Iterable[str], *, channels: int) -> dict[str, Thumbnail]:
    """Return the thumbnail of each sample.

    Args:
        shards: The shards folder; every image is checked against its hash.
        uids: Which samples.
        channels: 1 or 3, as in the recipe.

    Raises:
        DataError: If a shard is damaged or a sample is not there.
    """
    reader = Reader(shards)
    names = pa.array(sorted(set(uids)), pa.string())
    index = reader.index(["uid", "path"])
    rows = pc.index_in(names, value_set=one_chunk(index["uid"]))
    if rows.null_count:
        missing = names.filter(rows.is_null())[0].as_py()
        raise DataError(f"sample {missing} is not in {shards / 'index.parquet'}; score again.")
    rows = rows.sort()
    named = index.take(rows).to_pylist()
    images = reader.read(rows.to_numpy().astype(np.int64))
    return {
        sample["uid"]: thumbnail(decode(data, channels=channels), sample["path"])
        for sample, data in zip(named, images, strict=True)
    }


def thumbnail(image: np.ndarray, path: str) -> Thumbnail:
    """Return the thumbnail of a (C, H, W) uint8 image that came from ``path``."""
    pixels = image[0] if image.shape[0] == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    picture = Image.fromarray(pixels)
    exact = max(picture.size) <= EXACT
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    if exact:
        picture.save(stream, format="PNG")
    else:
        picture.save(stream, format="JPEG", quality=82)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/{'png' if exact else 'jpeg'};base64,{data}", path, exact)
