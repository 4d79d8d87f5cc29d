"""Views: random versions of an image, drawn per sample on the device. Named sets of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from curate.encoders.views.spec import ViewSpec
from curate.errors import UsageError, unknown

VIEWS: dict[str, ViewSpec] = {
    # Chen et al. 2020 (SimCLR), as arXiv 2401.12233 uses it at 32 pixels: no blur.
    "simclr": ViewSpec(
        crop=(0.08, 1.0),
        flip=0.5,
        jitter=0.8,
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
        grayscale=0.2,
    ),
    # Chen et al. 2020 for 224 pixels: stronger colours, and blur.
    "simclr-224": ViewSpec(
        crop=(0.08, 1.0),
        flip=0.5,
        jitter=0.8,
        brightness=0.8,
        contrast=0.8,
        saturation=0.8,
        hue=0.2,
        grayscale=0.2,
        blur=0.5,
    ),
    # He et al. 2022 (MAE).
    "crop-flip": ViewSpec(crop=(0.2, 1.0), flip=0.5),
    # Caron et al. 2021 (DINO): the first global view; method dino makes the others of it.
    "dino": ViewSpec(
        crop=(0.4, 1.0),
        flip=0.5,
        jitter=0.8,
        brightness=0.4,
        contrast=0.4,
        saturation=0.2,
        hue=0.1,
        grayscale=0.2,
        blur=1.0,
    ),
    # For images that a flip or a small crop turns into another class, such as digits.
    "digits": ViewSpec(crop=(0.6, 1.0), jitter=0.8, brightness=0.4, contrast=0.4),
    "crop": ViewSpec(crop=(0.2, 1.0)),
    # Table 8 of arXiv 2401.12233.
    "noise": ViewSpec(noise=0.2),
    "rotate-90": ViewSpec(rotate=90),
    "rotate-270": ViewSpec(rotate=270),
    "color-drop": ViewSpec(grayscale=1.0),
    "color-drop-25": ViewSpec(grayscale=0.25),
    # Table 9a of it, with "noise": a crop that is not resized is a shift, of 4 pixels at 32.
    "crop-only": ViewSpec(shift=0.125),
    "crop-resize": ViewSpec(crop=(0.08, 1.0)),
    "masking": ViewSpec(mask=0.75),
}
"""View sets by name."""


def spec(name: str, settings: Mapping[str, Any]) -> ViewSpec:
    """Return the view set ``name`` with some of its settings replaced.

    Raises:
        UsageError: For an unknown set, an unknown setting or a value that does not fit.
    """
    if name not in VIEWS:
        raise unknown("view set", name, VIEWS)
    for key in settings:
        if key not in ViewSpec.model_fields:
            raise unknown("key of 'views'", key, [*ViewSpec.model_fields, "train", "measure"])
    try:
        return ViewSpec.model_validate({**VIEWS[name].model_dump(), **settings})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(step) for step in first["loc"])
        raise UsageError(
            f"views.{key}: {first['msg'].removeprefix('Value error, ')} (got {first['input']!r})."
        ) from error


__all__ = ["VIEWS", "ViewSpec", "spec"]
