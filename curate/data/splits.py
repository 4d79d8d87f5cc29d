"""Splits: which images, files or tars of a collection are for training, and which are for tests.

One resolver for every source. It goes by words (``WORDS``) in the names of folders and files, as
the hub lays data sets out (``default/train/0000.parquet``, ``train-00000-of-00003.parquet``), with
years and other digits (``train2017``). What it cannot tell it refuses, and says how to say it.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote

from curate.errors import UsageError
from curate.runtime.options import option

TRAIN, VALIDATION, TEST, MORE = "train", "validation", "test", "extra"
WORDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), TEST),
    **dict.fromkeys(("extra", "unlabeled", "unlabelled", "trainval"), MORE),
}
"""Words by which a name says that it is a split, and the kind of each. Those of the last kind say
so only beside others."""
NEUTRAL = frozenset(
    (
        *("set", "data", "dataset", "images", "imgs", "image", "img", "pictures", "photos"),
        *("split", "part", "tars", "shards", "parquet", "files", "jpg", "jpeg", "png", "raw"),
    )
)
"""Words that a split's folder may have in its name besides, and stay one."""
EVERYTHING = "all"
"""The split that is the whole collection, whatever it is laid out in."""
SHOWN = 4
"""Names that a message lists."""

_WORD = re.compile(r"[^\W\d_]+")
_PATTERN = re.compile(r"[*?\[/]")


@dataclass(frozen=True)
class Splits:
    """What a collection is split into.

    Attributes:
        of: What belongs to each split: folders within the root, or files.
        why: How that was told, for people.
        strays: What lies beside the splits, and is in none.
    """

    of: Mapping[str, tuple[str, ...]]
    why: str
    strays: tuple[str, ...] = field(default=())

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the splits; ``train`` alone where there are none."""
        return tuple(self.of) or (TRAIN,)


def words_in(name: str) -> tuple[str, ...]:
    """Return the words of ``WORDS`` in a name, in lower case."""
    return tuple(word for word in _WORD.findall(name.lower()) if word in WORDS)


def rest_of(name: str) -> tuple[str, ...]:
    """Return the other words in a name, but for those that say nothing."""
    words = _WORD.findall(name.lower())
    return tuple(word for word in words if word not in WORDS and word not in NEUTRAL)


def split_of(name: str) -> str | None:
    """Return the split that a name says it is: its only word, or the first where it opens it."""
    hive = re.fullmatch(r"([^=/]+)=(.*)", name)
    if hive:
        return unquote(hive[2]) if hive[1].lower() == "split" else None
    split_words = words_in(name)
    kinds = {WORDS[word] for word in split_words}
    if len(kinds) > 1 and not re.match(rf"{split_words[0]}(?![^\W\d_])", name.lower()):
        return None
    return split_words[0] if split_words else None


def is_pattern(split: str) -> bool:
    """Return whether a split is said by a pattern of paths, ``train/*``, and not by its name."""
    return bool(_PATTERN.search(split))


def matches(pattern: str, path: str) -> bool:
    """Return whether a path fits a pattern; ``*`` stands for slashes too, and a folder for all."""
    whole = pattern.rstrip("/")
    return fnmatch.fnmatchcase(path, pattern) or path.startswith(f"{whole}/")


def prefix_of(pattern: str) -> str:
    """Return the folder that everything which fits a pattern lies in, as far as it says."""
    fixed = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    return fixed.rstrip("/") if fixed == pattern else fixed.rpartition("/")[0]


def find(split: str, have: Sequence[str], where: str) -> str:
    """Return the name, among those there are, of the split that is asked for.

    ``train`` finds ``training``, and ``val`` ``validation``, where that is the only one.

    Raises:
        UsageError: If there is none; the message names those there are.
    """
    if split in have:
        return split
    kind = WORDS.get(split.lower())
    like = [name for name in have if kind and WORDS.get(name.lower()) == kind]
    if len(like) == 1 and kind != MORE:
        return like[0]
    known = ", ".join(have) or "none"
    raise UsageError(f"{where} has no split {split!r}; it has: {known}.")


def training_first(split: str) -> tuple[bool, str]:
    """Return what sorts splits: those for training come first."""
    return WORDS.get(split.lower()) != TRAIN, split


def for_tests(have: Sequence[str], train: str) -> str | None:
    """Return the split that probes are tested on, or None: the tests', else for validation."""
    for kind in (TEST, VALIDATION):
        candidates = [name for name in have if WORDS.get(name.lower()) == kind and name != train]
        if candidates:
            return next((name for name in (kind, "val") if name in candidates), candidates[0])
    return None


def shown(names: Iterable[str]) -> str:
    """Return a few names for a message, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - SHOWN:,} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more


def ambiguous(where: str, problem: str, *, take: str) -> UsageError:
    """Return the error for a layout that can be read in two ways; it names both ways to say it."""
    return UsageError(
        f"{where}: {problem}. Say which: {option(split=take, quoted=True)} takes those alone, "
        f"{option(split=EVERYTHING)} everything as one split (and {option(test='PATTERN')} or "
        "SOURCE names the tests; in a recipe: data.split, data.test)."
    )


# Files: parquet and tars


def of_files(paths: Sequence[str], where: str) -> Splits:
    """Return the splits of files, by the folders they lie in, and else by their names.

    Args:
        paths: Their paths within one root.
        where: What a message calls the root.

    Raises:
        UsageError: If a name says two things, or there are several data sets (configurations).
    """
    split_by_path: dict[str, str | None] = {path: _split_of_file(path, where) for path in paths}
    kinds = {WORDS.get(s.lower(), s) for s in split_by_path.values() if s} - {MORE}
    if not kinds:
        return Splits({TRAIN: tuple(paths)}, "no name says otherwise")
    without = [path for path, s in split_by_path.items() if s is None]
    if without and kinds == {TRAIN}:
        raise ambiguous(
            where,
            f"some names say that they are for training, and {shown(without)} do not",
            take=f"*{next(s for s in split_by_path.values() if s)}*",
        )
    if without and TRAIN not in kinds:
        split_by_path |= dict.fromkeys(without, TRAIN)
        without = []
    _check_configurations([path for path in paths if split_by_path[path]], where)
    by_split: dict[str, tuple[str, ...]] = {}
    for path, split in split_by_path.items():
        if split:
            by_split[split] = (*by_split.get(split, ()), path)
    by = "folders" if any(_of_folders(path) for path in paths) else "files"
    by_split = {split: by_split[split] for split in sorted(by_split, key=training_first)}
    return Splits(by_split, f"by the names of {by}", tuple(without))


def _of_folders(path: str) -> str | None:
    parts = PurePosixPath(path).parts[:-1]
    return next((s for s in map(split_of, reversed(parts)) if s), None)


def _split_of_file(path: str, where: str) -> str | None:
    parts = [part for part in PurePosixPath(path).parts[:-1] if split_of(part)]
    splits_above = [str(split_of(part)) for part in parts]
    if len({WORDS.get(split.lower(), split) for split in splits_above}) > 1:
        raise ambiguous(where, f"{path} lies in {' and in '.join(parts)}", take=f"*{parts[-1]}/*")
    if splits_above:
        return splits_above[-1]
    name = path.rpartition("/")[2]
    split = split_of(name)
    if split is None and words_in(name):
        raise ambiguous(
            where, f"{path} says {' and '.join(words_in(name))}", take=path
        )  # fmt: skip
    return split


def _check_configurations(paths: Sequence[str], where: str) -> None:
    """Refuse files of one split in folders beside each other: they are several data sets."""
    homes: dict[str, str] = {}
    for path in paths:
        parts = PurePosixPath(path).parts[:-1]
        above = [p for p in parts if not split_of(p) and "=" not in p]
        homes.setdefault("/".join(above), path)
    if len(homes) > 1 and "" not in homes:
        raise UsageError(
            f"{where} holds several data sets (configurations): {shown(homes)}. Name one, "
            f"{where.rstrip('/')}/{next(iter(homes))}, or say {option(split='PATTERN')} or "
            f"{option(split=EVERYTHING)}."
        )


# Folders of images


def of_folders(
    folders: Sequence[str], where: str, *, loose: Sequence[str], nested: Iterable[str]
) -> Splits | None:
    """Return the splits that folders beside each other are, or None where they are classes.

    Args:
        folders: Names of those that hold images.
        where: What a message calls the folder they lie in.
        loose: Names of images that lie beside them.
        nested: Those of ``folders`` whose images lie in folders of their own.

    Raises:
        UsageError: If they can be read as both.
    """
    split_by_folder = {name: split_of(name) for name in folders}
    rests = {rest_of(name) for name in folders if split_by_folder[name]}
    # A name such as 'test tube' says so only where all say the same besides.
    sure = {
        n: s
        for n, s in split_by_folder.items()
        if s and (not rest_of(n) or _same_besides(split_by_folder, rests))
    }
    kinds = {WORDS.get(split.lower(), split) for split in sure.values()} - {MORE}
    if not kinds:
        return None
    plain = [name for name in folders if name not in sure]
    strays = (*(f"{name}/" for name in plain), *loose)
    inside = set(nested)
    if strays:
        deep = [name for name in sure if name in inside]
        alone = len(kinds) == 1 or TRAIN not in kinds
        if alone and not deep and not loose:
            return None  # a class that is called so, as cifar100's 'train'
        if alone or (len(plain) > len(sure) and not deep):
            raise ambiguous(
                where,
                f"{shown(f'{name}/' for name in sure)} can be a split, but {shown(strays)} "
                f"{'holds images' if plain else 'lies there'}, too",
                take=f"{next(iter(sure))}/*",
            )
    by_split: dict[str, tuple[str, ...]] = {}
    for name, split in sure.items():
        by_split[split] = (*by_split.get(split, ()), name)
    for split, names in list(by_split.items()):
        if len(names) > 1:
            del by_split[split]
            by_split |= {name: (name,) for name in names}  # train2014 beside train2017
    return Splits(by_split, "by the names of folders", strays)


def _same_besides(split_by_folder: Mapping[str, str | None], rests: set[tuple[str, ...]]) -> bool:
    kinds = {WORDS.get(s.lower(), s) for s in split_by_folder.values() if s}
    return len(rests) == 1 and len(kinds) > 1 and all(split_by_folder.values())


def first_word(path: str) -> str | None:
    """Return the word of ``WORDS`` that the name of a file begins with, if it says more."""
    name = path.rpartition("/")[2]
    first = _WORD.match(name.lower())
    if not first or first[0] not in WORDS or name[first.end() : first.end() + 1] in (".", ""):
        return None
    return first[0]


def of_names(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the splits that the names of all images begin with, or none: two kinds at least."""
    first_words: dict[str, None] = {}
    for path in paths:
        first = first_word(path)
        if first is None:
            return ()
        first_words[first] = None
    kinds = {WORDS[split] for split in first_words}
    return tuple(sorted(first_words)) if len(kinds) > 1 and TRAIN in kinds else ()
