"""Settings of encoders: backbone and method, schedule, differential privacy, views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from curate.encoders import methods, views
from curate.encoders.views import ViewSpec
from curate.errors import unknown
from curate.runtime.settings import Count, Positive, Section

Precision = Literal["auto", "float32", "tf32", "bfloat16"]
"""What encoders are computed in; ``auto``: bfloat16 on CUDA, float32 on CPU. ``tf32``: float32, of
which products on CUDA read 10 bits behind the point; on CPU float32."""


class EncoderConfig(Section):
    """Backbone and method; a method's own settings stand beside them."""

    model_config = ConfigDict(extra="allow", frozen=True)

    backbone: str
    method: str
    representation: Literal["full", "pooled"] = "full"
    patch: Positive | None = None
    """Patch side in pixels (ViT only)."""

    @field_validator("method")
    @classmethod
    def _known_method(cls, name: str) -> str:
        if name not in methods.METHODS:
            raise unknown("method", name, methods.METHODS)
        return name

    @property
    def settings(self) -> dict[str, Any]:
        """The method's own settings, as written in the recipe."""
        return dict(self.model_extra or {})


class PrivacyConfig(Section):
    """DP-SGD (Abadi et al. 2016), for methods whose loss is a mean over samples."""

    epsilon: Annotated[float, Field(gt=0)] | None = None
    """What the whole training may spend, lower = more private; the noise follows from it."""
    noise: Annotated[float, Field(ge=0)] | None = None
    """Noise multiplier, from which epsilon follows; 0 clips alone."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """Probability with which epsilon may be exceeded; below 1 / samples."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """L2 norm that the gradient of a sample is clipped to."""

    @model_validator(mode="after")
    def _one_of_two(self) -> PrivacyConfig:
        if (self.epsilon is None) == (self.noise is None):
            raise ValueError("give exactly one of epsilon and noise")
        return self


class TrainConfig(Section):
    """The schedule of one encoder."""

    LATER = ("parts", "stack")

    epochs: Positive = 200
    warmup_epochs: Count = 20
    batch_size: Positive = 256
    optimizer: Literal["adamw", "lars", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate, for the batch size given (no hidden scaling)."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest gradient norm; null clips nothing."""
    dp: PrivacyConfig | None = None
    """Differential privacy; null trains without."""
    alignment_lambda: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Lambda of Eq. 3 of arXiv 2401.12233: how strongly equal representations are held apart."""
    snapshots: Positive | None = None
    """Keep the encoder after every so many epochs as well, to score memorization over training."""
    seed: int = 0
    precision: Precision = "auto"
    """``auto``: as everywhere, but float32 with ``dp``."""
    threads: Positive = 4
    """CPU threads of one training. Part of the recipe, since sums depend on it in the last bit."""
    parts: Positive = 1
    """Equal parts of every batch, each computed by itself and added in order: what comes out is the
    same on any number of processes that divides theirs (``--ranks``). Part of the recipe, since
    sums depend on it in the last bits."""
    stack: Positive = 1
    """Encoders of a plan that are trained side by side, as one network of as many (``stacked``).
    Part of the recipe, since sums depend on it in the last bits. For small networks on a card."""
    save_every: Annotated[float, Field(ge=0)] = 300.0
    """Seconds between stored states, from which an interrupted training goes on; 0: every step."""

    @model_validator(mode="after")
    def _private_alone(self) -> TrainConfig:
        if self.dp is not None and self.clip_norm is not None:
            raise ValueError("leave out clip_norm, since dp.clip clips what each sample adds")
        if self.dp is not None and self.precision in ("bfloat16", "tf32"):
            raise ValueError("dp trains in float32; set precision to auto or float32")
        if self.dp is not None and self.parts > 1:
            raise ValueError("dp trains whole batches in one process; leave out parts")
        if self.dp is not None and self.stack > 1:
            raise ValueError("dp finds gradients sample by sample, of one encoder; leave out stack")
        return self

    @model_validator(mode="after")
    def _one_of_parts_and_stack(self) -> TrainConfig:
        if self.parts > 1 and self.stack > 1:
            raise ValueError("parts are of one encoder, and stack trains several; leave out one")
        return self

    @model_validator(mode="after")
    def _equal_parts(self) -> TrainConfig:
        if self.batch_size % self.parts:
            raise ValueError(
                f"parts {self.parts} does not divide batch_size {self.batch_size}; set one of them"
            )
        return self

    def batch_of(self, samples: int) -> int:
        """Return how many of some samples a step takes: all, if they are few, in equal parts."""
        return min(self.batch_size, samples) // self.parts * self.parts


class ViewsConfig(Section):
    """Random views to train and to measure with; a view set's own settings stand beside them."""

    model_config = ConfigDict(extra="allow", frozen=True)

    train: str
    measure: str = "train"
    """``train``, or the name of a view set."""

    @field_validator("train", "measure")
    @classmethod
    def _known_views(cls, name: str) -> str:
        if name != "train" and name not in views.VIEWS:
            raise unknown("view set", name, views.VIEWS)
        return name

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that replace those of the named training view set."""
        return dict(self.model_extra or {})


@dataclass(frozen=True)
class TrainingSpec:
    """What a training does, apart from the samples and the seed it is given.

    Attributes:
        size: Side of the images in pixels.
        channels: Of the images, 1 or 3.
        encoder: Backbone, method and representation.
        method: The method's own Config, with its defaults filled in.
        train: The schedule.
        views: Random views to train with.
        fingerprint: Digest of all these settings, written beside the weights.
    """

    size: int
    channels: int
    encoder: EncoderConfig
    method: Any
    train: TrainConfig
    views: ViewSpec
    fingerprint: str
