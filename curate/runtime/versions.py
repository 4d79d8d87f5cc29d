"""The code that makes artefacts: versions of the packages that shape them, and of curate itself."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from curate.errors import MismatchError

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
)
"""Distributions whose versions a run records."""
SHAPING = ("curate", "torch", "timm", "numpy", "pillow")
"""Those on which what a training or a measurement gives depends."""


def versions() -> dict[str, str]:
    """Return the installed version of every package that shapes a run's artefacts."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


def of_training() -> dict[str, str]:
    """Return what must not change while a stage is made: versions, and a digest of curate's code.

    The version alone does not tell one checkout from the next.
    """
    installed = versions()
    shaping = {name: installed[name] for name in SHAPING if name in installed}
    return shaping | {"curate code": _digest()}


@cache
def _digest() -> str:
    """Return the first 12 hex digits of the sha256 of curate's own modules."""
    home, digest = Path(__file__).parent.parent, hashlib.sha256()
    for path in sorted(home.rglob("*.py")):
        digest.update(f"{path.relative_to(home)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def refuse_other_code(before: Mapping[str, Any], what: str) -> None:
    """Check that this is the code that began some work, by ``of_training``.

    Raises:
        MismatchError: If not; what changed is shown.
    """
    changes = difference(before, of_training())
    if changes:
        raise MismatchError(
            f"{what} was made by other code: {'; '.join(changes)}. Go on with the code that began "
            "it, or start over beside it with --fresh."
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
