"""Cards: what the README of a data set of the hub says of its files, and of the splits they are.

Its head is YAML between two lines ``---``; ``configs`` there lists data sets (configurations), each
with ``data_files``: patterns of paths, by split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from curate.data.splits import EVERYTHING, TRAIN, Splits, shown, training_first
from curate.errors import UsageError
from curate.runtime.options import option
from curate.runtime.yaml_text import read_yaml

CARD = "README.md"
LONGEST = 2**20
"""Bytes of a card that are read."""
DEFAULT = "default"


def splits_of(root: Path, paths: Sequence[str]) -> Splits | None:
    """Return the splits of files by the card beside them; None where it says nothing of them.

    Args:
        root: The folder of the data set.
        paths: The files, by their paths within it.

    Raises:
        UsageError: If it describes several data sets, and none of them as the default.
    """
    by_name = {}
    configurations, default = _configurations(root / CARD)
    for name, patterns in configurations.items():
        by_split: dict[str, tuple[str, ...]] = {}
        for split, pattern in patterns:
            mine = [path for path in paths if fits(pattern, path)]
            if mine:
                by_split[split] = tuple(dict.fromkeys([*by_split.get(split, ()), *mine]))
        if by_split:
            by_name[name] = by_split
    if not by_name:
        return None
    if len(by_name) > 1 and default not in by_name:
        first = next(iter(next(iter(by_name.values())).values()))[0]
        raise UsageError(
            f"{root / CARD} describes several data sets (configurations): {shown(by_name)}. Say "
            f"which files: {option(split=first, quoted=True)}, or another pattern, or "
            f"{option(split=EVERYTHING)}."
        )
    name = default if default in by_name else next(iter(by_name))
    by_split = {split: by_name[name][split] for split in sorted(by_name[name], key=training_first)}
    used = {path for files in by_split.values() for path in files}
    why = f"by {CARD}" + (f", its configuration {name}" if len(by_name) > 1 else "")
    return Splits(by_split, why, tuple(path for path in paths if path not in used))


def _configurations(card: Path) -> tuple[dict[str, list[tuple[str, str]]], str]:
    """Return (split, pattern) of each configuration, and the name of the default one."""
    try:
        with card.open("rb") as file:
            text = file.read(LONGEST).decode("utf-8", "replace")
        head = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
        header = read_yaml(head[1]) if head else None
    except (OSError, ValueError):
        return {}, DEFAULT
    listed = header.get("configs") if isinstance(header, dict) else None
    out: dict[str, list[tuple[str, str]]] = {}
    default = DEFAULT
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            name = str(one.get("config_name", DEFAULT))
            default = name if one.get("default") is True else default
            folder = one.get("data_dir")
            inside = f"{folder.strip('/')}/" if isinstance(folder, str) else ""
            files = one.get("data_files", "**" if inside else None)
            out[name] = [(split, inside + pattern) for split, pattern in _patterns(files)]
    return out, default


def _patterns(files: Any) -> Iterator[tuple[str, str]]:
    """Yield (split, pattern) of ``data_files``, in every form that it may have."""
    if isinstance(files, dict):
        files = [{"split": split, "path": path} for split, path in files.items()]
    for one in files if isinstance(files, list) else [files]:
        split, path = TRAIN, one
        if isinstance(one, dict):
            split, path = str(one.get("split", TRAIN)), one.get("path")
        for pattern in path if isinstance(path, list) else [path]:
            if isinstance(pattern, str):
                yield split, pattern.removeprefix("./")


def fits(pattern: str, path: str) -> bool:
    """Return whether a pattern fits a path: ``*`` stays within a folder, ``**`` is any of them."""
    parts = path.split("/")
    reached = {0}  # how many parts of the path the pattern so far can have taken
    for one in pattern.split("/"):
        if one == "**":
            reached = set(range(min(reached, default=len(parts) + 1), len(parts) + 1))
        else:
            reached = {n + 1 for n in reached if n < len(parts) and fnmatchcase(parts[n], one)}
    return len(parts) in reached
