"""The code that makes artefacts: versions of the packages that shape them, and of curate itself."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

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
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def shaping() -> dict[str, str]:
    """Return what must not change while a stage is made: versions, and a digest of curate's code.

    The version alone does not tell one checkout from the next.
    """
    found = versions()
    return {name: found[name] for name in SHAPING if name in found} | {"curate code": _digest()}


@cache
def _digest() -> str:
    """Return the first 12 hex digits of the sha256 of curate's own modules."""
    home, digest = Path(__file__).parent, hashlib.sha256()
    for path in sorted(home.rglob("*.py")):
        digest.update(f"{path.relative_to(home)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
