"""What a random view is: which operations, how likely, how strong."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Probability = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=0)]


class ViewSpec(BaseModel):
    """Operations of a view in the order in which they are applied; the defaults change nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    crop: tuple[float, float] | None = None
    """Smallest and largest share of the area that a random crop keeps before it is resized back."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest ratio of a crop's width to its height."""
    side: Annotated[int, Field(ge=1)] | None = None
    """Side of the view in pixels; null keeps the image's."""
    flip: Probability = 0.0
    """Probability of a horizontal flip."""
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest shift along each axis, as a share of the side; what comes in is black."""
    rotate: Literal[0, 90, 180, 270] = 0
    """Fixed rotation, counter-clockwise, in degrees."""
    jitter: Probability = 0.0
    """Probability that brightness, contrast, saturation and hue change, in random order."""
    brightness: Strength = 0.0
    """Factor is drawn from 1 minus to 1 plus this."""
    contrast: Strength = 0.0
    """Factor is drawn from 1 minus to 1 plus this."""
    saturation: Strength = 0.0
    """Factor is drawn from 1 minus to 1 plus this; greyscale images have none."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Shift is drawn from minus to plus this, in turns of the colour circle."""
    grayscale: Probability = 0.0
    """Probability that all colour is dropped."""
    blur: Probability = 0.0
    """Probability of a Gaussian blur."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Smallest and largest standard deviation of the blur, in pixels."""
    solarize: Probability = 0.0
    """Probability that values from 0.5 are inverted."""
    noise: Strength = 0.0
    """Standard deviation of Gaussian noise, where pixels span 0 to 1."""
    mask: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of square patches that turn black; they are an eighth of the view wide, at least 1."""

    @field_validator("crop", "ratio", "blur_sigma")
    @classmethod
    def _ascending(cls, bounds: tuple[float, float] | None) -> tuple[float, float] | None:
        if bounds is not None and not 0 < bounds[0] <= bounds[1]:
            raise ValueError("expected two numbers above 0, the smaller one first")
        return bounds

    @field_validator("crop")
    @classmethod
    def _share(cls, bounds: tuple[float, float] | None) -> tuple[float, float] | None:
        if bounds is not None and bounds[1] > 1:
            raise ValueError("a crop keeps at most 1.0 of the area")
        return bounds
