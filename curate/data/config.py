"""Settings of a run's data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from curate.data import addresses
from curate.runtime.settings import Positive, Section


class DataConfig(Section):
    """Where the images come from and how they are brought to one canvas."""

    LATER = ("label", "image", "outside", "interpolation")

    source: str
    """A SOURCE as in ``curate shard``, e.g. ``digits`` or ``folder:DIR``."""
    split: str = "train"
    """A split by its name, a pattern of paths (``train2017/*``), or ``all``."""
    extra: str | None = None
    """A held-out split whose samples no encoder sees (S_E)."""
    test: str | None = "auto"
    """What probes are tested on: a split, a pattern of paths, a folder or another SOURCE; ``auto``:
    ``test``, else ``validation``, if there is one."""
    label: str | None = None
    """Column of labels, or ``none`` for none; null for the one that is called so."""
    image: str | None = None
    """Column of images, or ending of members of tars; null for the one that is called so."""
    outside: bool = False
    """Whether links and rows may lead out of the source's folder."""
    limit: Positive | None = None
    """Use this many samples, chosen by a hash of their paths."""
    size: Positive = 32
    """Side of the square canvas in pixels."""
    channels: Literal[1, 3] = 3
    max_bad: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Largest share of images that may be rejected before the run stops."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How an image that is not square fills the canvas."""
    interpolation: Literal["bicubic", "bilinear", "nearest"] = "bicubic"
    """How images are brought to the size of the canvas."""

    @field_validator("source", "test")
    @classmethod
    def _without_secrets(cls, value: str | None) -> str | None:
        """Refuse addresses with passwords: a recipe is stored, and part of keys."""
        addresses.check(value or "")
        return value
