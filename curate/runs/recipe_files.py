"""Recipe files: where they lie, how they are read, and how one is composed of shared parts."""

from __future__ import annotations

import copy
import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.errors import UsageError, unknown
from curate.runtime.files import file_sha256
from curate.runtime.text import short
from curate.runtime.yaml_text import read_yaml

PARTS = "parts"
"""The key of a recipe that names its parts, and the folder beside recipes that holds them."""
OWN = ("name", "description", PARTS)
"""Keys that a part cannot have: they are a recipe's own."""


def packaged() -> dict[str, Path]:
    """Return the recipes that can be named: those in ``./recipes`` first, then curate's own."""
    return _named(Path("recipes"), _installed())


def find(name: str) -> Path:
    """Return the path of a recipe by its name or path.

    Raises:
        UsageError: If there is none; the nearest name is offered.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise UsageError(
                f"no recipe at {path}; 'curate recipes' lists those that can be named."
            )
        return path
    recipes = packaged()
    if name not in recipes:
        if Path(name).is_dir():
            raise UsageError(
                f"{name} is a folder, and no run; to use its images, say ./{name}: "
                f"'curate run {shlex.quote(f'./{name}')}'."
            )
        raise unknown("recipe", name, recipes, listed_by="curate recipes")
    return recipes[name]


def read(path: Path) -> dict[str, Any]:
    """Read one file, a recipe's or a part's, as plain data.

    Raises:
        UsageError: If it is not a YAML mapping.
    """
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        line = str(error).replace("\n", " ")
        raise UsageError(f"cannot read recipe {path}: {line[:300]}") from error
    if not isinstance(content, dict):
        raise UsageError(f"recipe {path} is not a YAML mapping of sections.")
    return content


def parts(path: Path) -> list[Path]:
    """Return the files of the parts that a recipe names, in its order.

    A part lies in ``parts`` beside the recipe, else beside curate's own recipes.

    Raises:
        UsageError: If the recipe cannot be read, or there is no such part.
    """
    names = read(path).get(PARTS, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"recipe {path}: parts: expected a list of names (got {short(names)}).")
    files = _named(path.parent / PARTS, _installed() / PARTS)
    for name in names:
        if name not in files:
            raise UsageError(f"recipe {path}: {unknown('part', name, files)}")
    return [files[name] for name in names]


def composed(path: Path) -> dict[str, Any]:
    """Return a recipe as plain data: its parts in their order, then its own keys.

    What comes later replaces what came before, key by key within a section.

    Raises:
        UsageError: If a file cannot be read, a part is unknown, or has what only a recipe can.
    """
    merged: dict[str, Any] = {}
    for part in parts(path):
        content = read(part)
        for key in OWN:
            if key in content:
                raise UsageError(f"part {part} has {key!r}, which only a recipe can have.")
        merged = _merged(merged, content)
    own = {key: value for key, value in read(path).items() if key != PARTS}
    return _merged(merged, own)


def digest(path: Path) -> str:
    """Return a sha256 that changes with a recipe's file and with its parts.

    Raises:
        UsageError: If the recipe cannot be read, or there is no such part.
    """
    files = [path, *parts(path)]
    return hashlib.sha256("\n".join(map(file_sha256, files)).encode()).hexdigest()


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two mappings as one: the second replaces the first, inside nested mappings too."""
    out = copy.deepcopy(dict(below))
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merged(out[key], value) if both else copy.deepcopy(value)
    return out


def _installed() -> Path:
    """Return the folder of curate's own recipes."""
    home = Path(__file__).parent.parent
    inside = home / "recipes"
    # In a checkout they lie beside the package; a wheel carries them inside.
    return inside if inside.is_dir() else home.parent / "recipes"


def _named(*folders: Path) -> dict[str, Path]:
    """Return the YAML files of some folders by their stem; those of the first come first."""
    files: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            files.setdefault(path.stem, path)
    return files


def recipe_list() -> dict[str, str]:
    """Return the description of every recipe that can be named, by name."""
    texts = {n: read(path).get("description") for n, path in packaged().items()}
    return {name: " ".join(str(texts[name] or "").split()) for name in sorted(texts)}
