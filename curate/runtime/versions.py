"""The code that makes artefacts: versions of the packages that shape them, and of curate itself."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

from curate.errors import DataError, MismatchError, ResourceError
from curate.runtime.files import read_json, sealed, write_json
from curate.runtime.options import option

FAISS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12")
"""Distributions of FAISS; each overwrites the files of the others."""
PACKAGES = (
    "curate",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "pillow",
    "pyarrow",
    "webdataset",
    "datasets",
    "scikit-learn",
    *FAISS,
    "opacus",
    "segmentation-models-pytorch",
)
"""Distributions whose versions a run records."""
SHAPING = ("curate", "torch", "timm", "numpy", "pillow")
"""Those on which what a training or a measurement gives depends."""


@cache
def versions() -> dict[str, str]:
    """Return the installed version of every package that shapes a run's artefacts."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


HOME = Path(__file__).parent.parent
CODE = {
    "shard": ("data/shards/writer", "data/sources"),
    "canvas": ("data/canvas",),
    "plan": ("scores/plan",),
    "train": ("encoders/training", "encoders/methods", "data/canvas"),
    "align": ("scores/alignment", "encoders/backbone"),
    "score": ("stages/score", "stages/expectation", "scores/separation", "scores/table"),
    "inspect": ("stages/inspect", "inspection"),
}
"""Where the code of each stage begins; what these modules import belongs to it as well."""
CODE |= {"measure": ("stages/measure", "scores/measures")}
CODE |= {"localize": ("stages/localize", "scores/layers")}
CODE |= {"learned": ("stages/learned", "evaluation/probing", "evaluation/probes")}
CODE |= {"retrain": CODE["train"], "compare": CODE["train"]}
FOLLOWED = ("data", "encoders", "scores", "inspection", "runtime/randomness")
"""Rooms whose modules shape results; how a run is kept, shown or typed shapes none."""


def of_stage(stage: str) -> dict[str, str]:
    """Return what must not change while a stage is made: versions, and a digest of its code.

    The version alone does not tell one checkout from the next.
    """
    installed = versions()
    shaping = {name: installed[name] for name in SHAPING if name in installed}
    return shaping | {"curate code": code_of(stage)}


@cache
def code_of(stage: str, home: Path = HOME) -> str:
    """Return 12 hex digits that change with the code of a stage, not with comments or blanks.

    Args:
        stage: One of ``CODE``.
        home: Where curate's modules lie; they are read once.
    """
    modules = _modules(home)
    digest = hashlib.sha256()
    for path in sorted(_closure(modules, stage)):
        digest.update(f"{path.relative_to(home).as_posix()}\0{modules.read(path).bare}\0".encode())
    modules.keep()
    return digest.hexdigest()[:12]


def _closure(modules: _Modules, stage: str) -> set[Path]:
    """Return the files that the code of a stage begins with, and all that they import."""
    home = modules.home
    waiting = [path for begin in CODE.get(stage, ()) for path in _files(home, begin)]
    reached: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        for name in modules.read(path).imports:
            place = "/".join(name.split(".")[1:])
            if any(place == room or place.startswith(f"{room}/") for room in FOLLOWED):
                waiting += [p for p in _module(home, place) if p not in reached]
    return reached


def _files(home: Path, place: str) -> list[Path]:
    """Return the file of a module, or all files of a package."""
    return sorted((home / place).rglob("*.py")) or _module(home, place)


def _module(home: Path, place: str) -> list[Path]:
    """Return the file of a module or of a package itself; none for a name that is neither."""
    both = ((home / place).with_suffix(".py"), home / place / "__init__.py")
    return [path for path in both if path.is_file()]


@dataclass(frozen=True)
class _Module:
    """What there is in a module.

    Attributes:
        source: Digest of its text.
        imports: Names of modules of curate that it imports, or of what it takes from them.
        bare: Digest of its code without comments, blanks and docstrings.
    """

    source: str
    imports: list[str]
    bare: str


class _Modules:
    """The modules below a folder.

    To parse them all takes longer than many a command. So what was found is kept where Python keeps
    what it compiled of them, and holds as long as the text of a module is what it was.
    """

    def __init__(self, home: Path) -> None:
        """Read what is kept, if anything can be."""
        self.home = home
        self._place = Path(cache_from_source(str(home / "digests.py"))).with_suffix(".json")
        self._kept: dict[str, Any] = {}
        self._read: dict[Path, _Module] = {}
        with contextlib.suppress(DataError, OSError):
            self._kept = read_json(self._place)

    def read(self, path: Path) -> _Module:
        """Return what there is in a module; it is read once."""
        if path not in self._read:
            text, name = path.read_bytes(), path.relative_to(self.home).as_posix()
            source = hashlib.sha256(text).hexdigest()
            try:
                module = _Module(**self._kept[name])
            except (KeyError, TypeError):
                module = _parsed(text, source)
            if module.source != source:
                module = _parsed(text, source)
            self._read[path] = module
        return self._read[path]

    def keep(self) -> None:
        """Keep what was found, where Python may keep what it compiles."""
        known = {p.relative_to(self.home).as_posix(): vars(m) for p, m in self._read.items()}
        if not sys.dont_write_bytecode and any(self._kept.get(n) != m for n, m in known.items()):
            self._kept = {**self._kept, **known}
            # A folder that cannot be written to costs the time alone.
            with contextlib.suppress(ResourceError, OSError):
                write_json(self._place, sealed(self._kept))


_modules = cache(_Modules)


def _parsed(text: bytes, source: str) -> _Module:
    """Return what there is in a module of this text."""
    tree, imports = ast.parse(text), []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("curate."):
            imports += [str(node.module), *(f"{node.module}.{name.name}" for name in node.names)]
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # Texts that stand alone document what is before them.
            bare = [n for n in body if not _is_text(n)]
            node.body = bare or [ast.Pass()]  # type: ignore[attr-defined]
    return _Module(source, imports, hashlib.sha256(ast.dump(tree).encode()).hexdigest())


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def refuse_other_code(before: Mapping[str, Any], stage: str, what: str) -> None:
    """Check that this is the code that began some work (``of_stage``).

    Raises:
        MismatchError: If not; what changed is shown.
    """
    changes = difference(before, of_stage(stage))
    if changes:
        raise MismatchError(
            f"{what} was made by other code: {'; '.join(changes)}. Go on with the code that began "
            f"it, or start over beside it with {option(fresh=True)}."
        )


def refuse_other_device(before: str | None, now: str, what: str) -> None:
    """Check that this is the kind of device that began some work, which shapes its numbers.

    Args:
        before: ``cpu`` or ``cuda``; None if that was not recorded.
        now: ``cpu`` or ``cuda``.
        what: What was begun.

    Raises:
        MismatchError: If not.
    """
    if before not in (None, now):
        raise MismatchError(
            f"{what} was made on {before}, and numbers on {now} are others. Go on with "
            f"{option(device=before)}, or start over beside it with {option(fresh=True)}."
        )


def difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return one ``key: old -> new`` a changed leaf of two nested mappings."""
    lines = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            lines += difference(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a!r} -> {b!r}")
    return lines
