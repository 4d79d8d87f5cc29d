"""Settings of probes and comparisons."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from curate.evaluation.arms import wanted
from curate.runtime.settings import Count, Positive, Section

DENSE = ("seg", "depth")
"""Kinds of sources that have a number for every pixel: ``seg:DIR``, ``depth:DIR``."""


class CompareConfig(Section):
    """Retraining on selections of equal size; ``remove`` empty skips it.

    ``strategies`` are arms, as ``evaluation/arms.py`` has them.
    """

    LATER = ("redraw", "pool", "space")

    remove: tuple[Positive, ...] = ()
    strategies: tuple[str, ...] = ("top", "random")
    seeds: Positive = 2
    budget: Literal["epochs", "steps"] = "epochs"
    pool: str | None = None
    """The encoder of the plan whose samples are all that there is to train on; null takes the
    dataset."""
    space: str | None = None
    """Where strategies choose that look at how samples lie: as in ``inspect.encoder``, which null
    takes."""
    redraw: bool = False
    """Whether every seed ranks anew, by repeats of the plan that no other seed ranks by."""

    @field_validator("strategies")
    @classmethod
    def _known_strategies(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(wanted(name).name for name in names)


class DenseConfig(Section):
    """Training of a decoder upon an encoder, from a number for every pixel.

    The schedule is the paper's for ADE20K: 100 epochs, batches of 16, a rate that falls from 0.02
    as a polynomial. Momentum, power and weight decay are those of the code of Xiao et al. 2018.
    """

    decoder: Literal["upernet", "unet"] = "upernet"
    """UPerNet (Xiao et al. 2018) or UNet (Ronneberger et al. 2015)."""
    frozen: bool = False
    """Whether the encoder stays as it is; else it is trained on with its decoder."""
    epochs: Positive = 100
    batch_size: Annotated[int, Field(ge=2)] = 16
    lr: Annotated[float, Field(gt=0)] = 0.02
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    width: Annotated[int, Field(ge=8)] = 256
    """Channels of the decoder; of a UNet those of its coarsest block, halved block by block."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability that an image and what stands beside it are mirrored in an epoch."""
    threads: Positive = 4
    """CPU threads of the training, which sums depend on in the last bit."""


class SegConfig(DenseConfig):
    """Segmentation, ``seg:DIR``."""

    void: tuple[Count, ...] | None = None
    """Numbers in masks that are no class; null takes 255, and in ADE20K's folder 0 as well."""


class DepthConfig(DenseConfig):
    """Depth, ``depth:DIR``. The paper gives no schedule for it: it is that of segmentation."""

    decoder: Literal["upernet", "unet"] = "unet"
    unit: Annotated[float, Field(gt=0)] = 0.001
    """Metres that a step of a depth in whole numbers is; floats are metres."""


class ProbeConfig(Section):
    """Downstream measurements of an encoder."""

    LATER = ("seg", "depth")

    sources: tuple[str, ...] = ("self",)
    """``self`` (the run's own labels), any SOURCE, SOURCE=DIR for one that lies in DIR, or
    ``seg:DIR`` and ``depth:DIR`` with a number for every pixel."""
    kinds: tuple[Literal["linear", "knn"], ...] = ("linear", "knn")
    seg: SegConfig = SegConfig()
    depth: DepthConfig = DepthConfig()
