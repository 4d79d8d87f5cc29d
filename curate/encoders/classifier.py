"""Classifiers: the linear head that supervised training puts upon an encoder, kept beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from curate.encoders.checkpoint import write_tensors
from curate.errors import DataError

FILE = "head.safetensors"
"""In an encoder's folder: ``weight`` (K, D) and ``bias`` (K,), K classes by their numbers."""


def write_head(out: Path, head: nn.Linear | None) -> None:
    """Write a head beside its encoder; None, of an encoder trained without one, writes nothing."""
    if head is not None:
        write_tensors(out / FILE, head.state_dict())


def load_head(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights (D, K) and the bias (K,) of an encoder's head, float64.

    Raises:
        DataError: If it is missing or damaged.
    """
    try:
        tensors = load_file(folder / FILE)
        weight, bias = (tensors[name].double().numpy() for name in ("weight", "bias"))
    except (OSError, KeyError, SafetensorError) as error:
        line = (str(error).splitlines() or [""])[0].rstrip(".")
        raise DataError(f"cannot load the head in {folder}: {line}.") from error
    return weight.T, bias
