"""Pairs: images with a number for every pixel, a mask or a depth, in folders or parquet files."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curate.data import splits, tables
from curate.data.canvas import Fit, numbers_on_canvas, on_canvas
from curate.data.decoding import check, encode_png, levels, quiet
from curate.data.sample import uid_of
from curate.data.sources.base import EXTENSIONS, MORE_EXTENSIONS, files_below, read_file
from curate.errors import DataError
from curate.runtime.files import need_space, replacing
from curate.runtime.progress import Progress, silent
from curate.runtime.threads import in_order

log = logging.getLogger("curate")

IMAGES = ("images", "image", "rgb")
"""What the folder of images may be called, within which each split has a folder."""
TRAIN, TEST = "train", "test"
"""Roles of the two splits that are read."""
FILE = 2**20
"""Bytes that a file is taken for before it is read."""
ROWS = 4
"""Rows of a table in memory at a time: as lists, pixels take a hundred times what a file does."""


@dataclass(frozen=True)
class Kind:
    """What stands beside the images.

    Attributes:
        name: What a message calls it.
        folders: What its folder may be called.
        columns: What its column of a table may be called; none where tables are not read.
    """

    name: str
    folders: tuple[str, ...]
    columns: tuple[str, ...] = ()


MASKS = Kind("mask", ("annotations", "masks", "labels"))
DEPTHS = Kind("depth", ("depths", "depth"), ("depth", "depth_map", "depths"))


@dataclass(frozen=True)
class Pair:
    """An image and what stands beside it, not read yet.

    Attributes:
        path: Where it came from, within the collection.
        held: Bytes that it holds until it is read.
        image: Returns the encoded image.
        numbers: Returns one number a pixel, (H, W).
    """

    path: str
    held: int
    image: Callable[[], bytes]
    numbers: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Pairs:
    """A collection of pairs.

    Attributes:
        root: Where it lies.
        splits: Names of the splits that are read, by role (``TRAIN``, ``TEST``).
        counts: Pairs of each, by role.
        read: Returns the pairs of a role, in order.
    """

    root: Path
    splits: Mapping[str, str]
    counts: Mapping[str, int]
    read: Callable[[str], Iterator[Pair]]


def open_pairs(root: Path, kind: Kind) -> Pairs:
    """Open a folder: ``images/SPLIT/...`` beside ``annotations/SPLIT/...``, or parquet files.

    It is trained on the split for training, and tested on the one for tests, else for validation.

    Args:
        root: The folder.
        kind: What stands beside the images.

    Raises:
        DataError: If it is laid out otherwise, or an image has nothing beside it.
    """
    files = list(files_below(root))
    parquet = [path for path in files if path.endswith(".parquet")]
    if kind.columns and parquet:
        return _of_tables(root, parquet, kind)
    return _of_folders(root, files, kind)


def _roles(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Return which splits are trained and tested on.

    Raises:
        DataError: If one is missing.
    """
    kinds = {name: splits.WORDS.get(name.lower()) for name in names}
    train = next((name for name in names if kinds[name] == splits.TRAIN), None)
    test = splits.for_tests(names, train or "")
    if train is None or test is None:
        have = splits.shown(names) or "none"
        raise DataError(
            f"{root} has the splits {have}; it needs one called train, and one called test or val."
        )
    return {TRAIN: train, TEST: test}


# Folders


def _of_folders(root: Path, files: Sequence[str], kind: Kind) -> Pairs:
    tops = {path.partition("/")[0] for path in files if "/" in path}
    images = next((name for name in IMAGES if name in tops), None)
    beside = next((name for name in kind.folders if name in tops), None)
    if images is None or beside is None:
        raise DataError(
            f"{root} has no folders {IMAGES[0]}/SPLIT and {kind.folders[0]}/SPLIT with one "
            f"{kind.name} for each image; lay it out so."
        )
    targets: dict[str, dict[str, str]] = {}
    for path in files:
        top, _, inner = path.partition("/")
        split, slash, inside = inner.partition("/")
        if top == beside and slash and not Path(inside).name.startswith("."):
            targets.setdefault(split, {})[str(Path(inside).with_suffix(""))] = path
    by_split: dict[str, list[tuple[str, str | None]]] = {}
    for path in files:
        top, _, inner = path.partition("/")
        split, slash, inside = inner.partition("/")
        suffix = Path(inside).suffix.lower()
        if top != images or not slash or Path(inside).name.startswith("."):
            continue
        if suffix in EXTENSIONS or suffix in MORE_EXTENSIONS:
            mine = targets.get(split, {}).get(str(Path(inside).with_suffix("")))
            by_split.setdefault(split, []).append((path, mine))
    roles = _roles(root / images, sorted(by_split))
    for split in roles.values():
        lacking = [path for path, mine in by_split[split] if mine is None]
        if lacking:
            stem = lacking[0].removeprefix(f"{images}/").rpartition(".")[0]
            raise DataError(
                f"{len(lacking):,} of {len(by_split[split]):,} images of {root / images / split} "
                f"have no {kind.name}; the first is {lacking[0]}, whose {kind.name} would be "
                f"{beside}/{stem}.png. Add it, or take the image away."
            )

    def read(role: str) -> Iterator[Pair]:
        for path, mine in by_split[roles[role]]:
            assert mine is not None
            yield Pair(path, FILE, _reader(root / path), _number_reader(root / mine))

    return Pairs(root, roles, {role: len(by_split[split]) for role, split in roles.items()}, read)


def _reader(path: Path) -> Callable[[], bytes]:
    return lambda: read_file(path)


def _number_reader(path: Path) -> Callable[[], np.ndarray]:
    return lambda: numbers_in(read_file(path))


def numbers_in(data: bytes) -> np.ndarray:
    """Return one number a pixel, (H, W), of an encoded image or of a numpy file (``.npy``).

    Raises:
        DataError: If there are none; the message is the reason alone.
    """
    if not data.startswith(b"\x93NUMPY"):
        return levels(data)
    try:
        values: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise DataError(f"damaged: {tables.first_line(error)}") from error
    return _plane(values)


def _plane(values: np.ndarray) -> np.ndarray:
    """Return an array (H, W), also of one with an axis of one."""
    values = values.squeeze() if values.ndim == 3 else values
    if values.ndim != 2 or values.dtype.kind not in "biuf" or not values.size:
        raise DataError(f"{values.dtype} of shape {values.shape}, and not one number a pixel")
    return values


# Tables


def _of_tables(root: Path, files: Sequence[str], kind: Kind) -> Pairs:
    laid = splits.of_files(files, str(root))
    roles = _roles(root, laid.names)
    opened = {role: tables.open_parquet(root, laid.of[split]) for role, split in roles.items()}
    for table in opened.values():
        names = table.schema.names
        columns = [
            next((n for n in names_of if n in names), None) for names_of in (IMAGES, kind.columns)
        ]
        if None in columns:
            have = splits.shown(names)
            raise DataError(
                f"{root / table.files[0]} has the columns {have}; it needs one called "
                f"{IMAGES[1]} and one called {' or '.join(kind.columns[:2])}."
            )

    def read(role: str) -> Iterator[Pair]:
        table = opened[role]
        names = table.schema.names
        image, beside = (
            next(n for n in names_of if n in names) for names_of in (IMAGES, kind.columns)
        )
        row = 0
        for batch in table.batches([image, beside], ROWS):
            for one, other in zip(batch[image], batch[beside], strict=True):
                image_of, beside_of = _packed(one), _packed(other)
                yield Pair(
                    f"row {row} of {roles[role]}",
                    _size(image_of) + _size(beside_of),
                    _encoded(image_of),
                    _numbers(beside_of),
                )
                row += 1

    return Pairs(root, roles, {role: table.rows for role, table in opened.items()}, read)


def _packed(value: Any) -> Any:
    """Return the bytes of an image as datasets has them, lists as an array, anything else as is."""
    value = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(value, list):
        return value
    try:
        packed = np.array(value)
    except ValueError:  # lists of several lengths
        return value
    if packed.dtype.kind == "f":
        return packed.astype(np.float32)
    return packed if packed.dtype.kind in "biu" else value


def _size(value: Any) -> int:
    return int(getattr(value, "nbytes", 0)) or (len(value) if isinstance(value, bytes) else FILE)


def _encoded(value: Any) -> Callable[[], bytes]:
    """Return what gives the encoded image of a value: bytes, as datasets has them, or pixels."""

    def image() -> bytes:
        if isinstance(value, bytes):
            return value
        pixels = _array(value)
        if pixels.ndim == 3 and pixels.shape[0] in (1, 3):
            pixels = pixels.transpose(1, 2, 0)
        if pixels.ndim == 3 and pixels.shape[2] == 1:
            pixels = pixels[..., 0]
        if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
            raise DataError(f"pixels of shape {pixels.shape}, and not of an image")
        if pixels.dtype.kind == "f":
            # Shares of white, where none is above 1.
            full = 255.0 if np.nanmax(pixels, initial=0.0) <= 1 else 1.0
            pixels = np.rint(np.nan_to_num(pixels) * full)
        return encode_png(np.ascontiguousarray(pixels.clip(0, 255).astype(np.uint8)))

    return image


def _numbers(value: Any) -> Callable[[], np.ndarray]:
    def numbers() -> np.ndarray:
        return numbers_in(value) if isinstance(value, bytes) else _plane(_array(value))

    return numbers


def _array(value: Any) -> np.ndarray:
    """Return an array that a value is.

    Raises:
        DataError: If it is none.
    """
    if value is None:
        raise DataError("missing")
    if not isinstance(value, np.ndarray):
        raise DataError("neither an encoded image nor lists of numbers, of one length each")
    return value


# Arrays


@dataclass(frozen=True)
class Written:
    """What ``write_pairs`` wrote of one role.

    Attributes:
        uids: (n,) names of the images: the uid of the bytes, with -1, -2... for repeats.
        digest: 32 hex digits of images and numbers.
    """

    uids: tuple[str, ...]
    digest: str


def write_pairs(
    pairs: Pairs,
    role: str,
    folder: Path,
    target: Callable[[np.ndarray], np.ndarray],
    *,
    size: int,
    channels: int,
    fit: Fit,
    kind: Kind,
    progress: Progress = silent,
) -> Written:
    """Bring the pairs of a role to a canvas: ``ROLE.images.npy`` and ``ROLE.targets.npy``.

    Images are resampled as ``on_canvas`` does it, the numbers beside them to the nearest. What
    passes through memory is a pair at a time for each thread.

    Args:
        pairs: The collection.
        role: ``TRAIN`` or ``TEST``.
        folder: Where to; it is made.
        target: What is made of the numbers of a pair, (H, W) to (H, W), before they are resized.
        size: Side of the canvas.
        channels: 1 or 3.
        fit: How an image that is not square fills it.
        kind: What stands beside the images.
        progress: Progress callback.

    Raises:
        DataError: If a file cannot be read, or what stands beside an image has another size.
        ResourceError: If the disk is too small.
    """
    n, done = pairs.counts[role], 0
    need_space(folder, n * size * size * (channels + 4), f"{pairs.root} at {size} pixels")
    seen: dict[str, int] = {}
    uids, digest = [], hashlib.sha256()

    def brought(pair: Pair) -> tuple[str, np.ndarray, np.ndarray]:
        try:
            data, numbers = pair.image(), pair.numbers()
            checked = check(data)
            if numbers.shape != (checked.height, checked.width):
                height, width = numbers.shape
                raise DataError(
                    f"it is {checked.width} x {checked.height} pixels and its {kind.name} "
                    f"{width} x {height}; both must be of one size"
                )
            image = on_canvas(data, size=size, channels=channels, fit=fit)
            beside = numbers_on_canvas(target(numbers), size=size, fit=fit, outside=np.nan)
        except DataError as error:
            raise DataError(f"{pairs.root}: {pair.path}: {str(error).rstrip('.')}.") from error
        return uid_of(hashlib.sha256(data).hexdigest()), image, beside

    places = [folder / f"{role}.{name}.npy" for name in ("images", "targets")]
    shapes = ((n, channels, size, size), (n, size, size))
    with (
        quiet(),
        replacing(places[0]) as images,
        replacing(places[1]) as targets,
        images.open("wb") as pixels,
        targets.open("wb") as numbers,
    ):
        for stream, shape, kind_of in zip((pixels, numbers), shapes, ("|u1", "<f4"), strict=True):
            header = {"descr": kind_of, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
        for uid, image, beside in in_order(brought, pairs.read(role), size=lambda pair: pair.held):
            pixels.write(image.tobytes())
            numbers.write(beside.astype("<f4").tobytes())
            again = seen.get(uid, 0)
            seen[uid] = again + 1
            uids.append(f"{uid}-{again}" if again else uid)
            for part in (uid.encode(), image.tobytes(), beside.astype("<f4").tobytes()):
                digest.update(part)
            done += 1
            progress("decode", done, n)
    assert done == n
    return Written(tuple(uids), digest.hexdigest()[:32])
