"""Names of exported files and folders: those they had, safe on every file system, each one once."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from curate.data.decoding import ENDINGS, looks_like
from curate.data.sources.base import EXTENSIONS, HEAD, MORE_EXTENSIONS

SPELLINGS = {
    "jpg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "tif": (".tif", ".tiff"),
    "ppm": (".ppm", ".pgm", ".pbm", ".pnm"),
    "heic": (".heic", ".heif", ".hif"),
}
"""Endings that say the same of a file."""
PLAIN = " ._-+=@,()~&'"
"""What a name may have besides letters, marks and digits of any script: no reader of paths,
patterns or addresses takes one of these for anything else."""
LONGEST = 150
"""Bytes of a name at most, without its ending and a number: file systems hold 255."""
DEVICES = frozenset(
    ("con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10)))
)
"""What Windows takes for a device, whatever the ending."""
UNLABELLED = "unlabelled"
"""Folder of the images without a label."""


def safe(name: str, otherwise: str) -> str:
    """Return a name that every file system can hold, as near to ``name`` as can be.

    What could lead out of a folder, hide a file, or be read as a pattern becomes ``_``.

    Args:
        name: Any text.
        otherwise: What stands for a name that has nothing to be called by.
    """
    text = unicodedata.normalize("NFC", name)
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" or c in PLAIN else "_" for c in text)
    cut = kept.encode()[:LONGEST].decode(errors="ignore").strip(" ").rstrip(". ")
    if not cut.strip("-._ "):
        return otherwise
    if cut.startswith((".", "-")):
        cut = f"_{cut[1:]}"
    return f"{cut}_" if cut.partition(".")[0].lower() in DEVICES else cut


class Names:
    """Gives names that differ, also where upper and lower case or accents are one to a disk."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._numbers: dict[str, int] = {}

    def take(self, name: str) -> str:
        """Return ``name``, or ``name-1``, ``name-2``... if it was given before."""
        taken, base = name, _folded(name)
        while _folded(taken) in self._used:
            self._numbers[base] = self._numbers.get(base, 0) + 1
            taken = f"{name}-{self._numbers[base]}"
        self._used.add(_folded(taken))
        return taken


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())


def file_name(path: str, data: bytes) -> tuple[str, str]:
    """Return the safe name of an image by its original path, and its ending with the dot.

    An ending that says what the image is stays as it was written; another image's is replaced.

    Args:
        path: Where the image came from, as its source named it.
        data: Its bytes.
    """
    base = path.rpartition("/")[2]
    kind = kind_of(data)
    suffix = PurePosixPath(base).suffix
    known = suffix.lower() in EXTENSIONS or suffix.lower() in MORE_EXTENSIONS
    right = suffix.lower() in SPELLINGS.get(kind, (f".{kind}",))
    stem = base[: -len(suffix)] if known else base
    return safe(stem, "image"), suffix if right else f".{kind}"


def kind_of(data: bytes) -> str:
    """Return the file extension that the first bytes of an image stand for."""
    if data.startswith(b"BM"):
        return "bmp"
    kind = looks_like(data[:HEAD])
    return "ppm" if kind is None else ENDINGS[kind]


def class_folders(classes: Sequence[str], labels: Iterable[int | None]) -> dict[int | None, str]:
    """Return the folder of each label: its class's name, or its number where it has none.

    Readers number the folders they find in the order of their names. Where the order of the names
    is not that of the labels, the label goes first, so that they find the same order.

    Args:
        classes: Name of each class by its label; empty where labels have no names.
        labels: All labels there are, and None where an image has none.
    """
    present = set(labels)
    numbers = sorted({label for label in present if label is not None} | {*range(len(classes))})
    width = len(str(numbers[-1])) if numbers else 1
    digits = {label: f"{label:0{width}d}" for label in numbers}

    def folders(first: bool) -> dict[int | None, str]:
        names = Names()
        by_label: dict[int | None, str] = {}
        for label in numbers:
            name = digits[label]
            if 0 <= label < len(classes):
                cleaned = safe(classes[label], digits[label])
                name = f"{digits[label]}-{cleaned}" if first else cleaned
            by_label[label] = names.take(name)
        if None in present:
            by_label[None] = names.take(UNLABELLED)
        return by_label

    plain = folders(False)
    return plain if list(plain.values()) == sorted(plain.values()) else folders(True)
