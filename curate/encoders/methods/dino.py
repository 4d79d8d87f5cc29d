"""DINO (Caron et al. 2021): a student predicts what its own moving average sees in other crops."""

from __future__ import annotations

import copy
import math
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from curate.encoders.backbone import Encoder, pool
from curate.encoders.methods import base
from curate.encoders.methods.base import Batch
from curate.encoders.parts import averaged
from curate.encoders.views.spec import ViewSpec
from curate.errors import UsageError
from curate.runtime.options import option

GLOBAL = 2
"""Large crops of each image, which alone the teacher sees; the recipe's views are the first."""
LOCAL_SHARE = 96 / 224
"""Side of a local view by that of the image, in the paper."""

Size = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Temperature = Annotated[float, Field(gt=0)]


class Config(BaseModel):
    """DINO's own settings; defaults are the paper's where nothing else is said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: Literal["teacher", "student"] = "teacher"
    """Which network is the encoder; the teacher is the better one (section 5.1, Fig. 6)."""
    local_views: Annotated[int, Field(ge=0)] = 8
    """Small crops of each image beside the two large ones; 0 trains without multi-crop."""
    local_crop: tuple[float, float] = (0.05, 0.4)
    """Smallest and largest share of the area in a local view."""
    local_side: Size | None = None
    """Side of a local view in pixels; null takes 96/224 of the image's, in whole patches."""
    local_blur: Share = 0.5
    """Probability of a blur in a local view."""
    second_blur: Share = 0.1
    """Probability of a blur in the second global view."""
    second_solarize: Share = 0.2
    """Probability that the second global view is solarized."""
    hidden_dim: Size = 2048
    """Width of the head's hidden layers."""
    bottleneck_dim: Size = 256
    """Width of what the head normalises to length 1 before its last layer."""
    out_dim: Size = 4096
    """K, outputs of the head. The paper has 65,536 for ImageNet; small sets need fewer."""
    batch_norm: bool = False
    """Whether the head's hidden layers are batch-normalised (the authors' ``use_bn_in_head``)."""
    freeze_last_epochs: Annotated[float, Field(ge=0)] = 1.0
    """Epochs during which the head's last layer stays as it is."""
    student_temperature: Temperature = 0.1
    """tau_s."""
    teacher_temperature: Temperature = 0.07
    """tau_t after its warm-up; lower is sharper, and above 0.07 is often unstable."""
    teacher_temperature_start: Temperature = 0.04
    """tau_t at the start of its warm-up."""
    teacher_temperature_epochs: Annotated[float, Field(ge=0)] = 30.0
    """Epochs of that warm-up, which is linear."""
    teacher_momentum: Share = 0.996
    """Momentum of the teacher's weights at the start, 1 at the end. Small batches want more: the
    authors advise 0.9995 at 256."""
    center_momentum: Share = 0.9
    """Momentum of the center."""

    @field_validator("local_crop")
    @classmethod
    def _shares(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if not 0 < bounds[0] <= bounds[1] <= 1:
            raise ValueError("expected two shares above 0 and up to 1, the smaller one first")
        return bounds


def teacher_probabilities(outputs: Tensor, center: Tensor, temperature: float | Tensor) -> Tensor:
    """Return P_t, the centred and sharpened softmax of the teacher's outputs (section 3.1).

    Args:
        outputs: (..., K) of the teacher's head.
        center: (K,) c, which keeps one output from winning everywhere.
        temperature: tau_t, which keeps the outputs from being alike.

    Returns:
        (..., K) without gradient.
    """
    return F.softmax((outputs - center) / temperature, dim=-1).detach()


def cross_view_entropy(p_t: Tensor, log_p_s: Tensor) -> Tensor:
    """Return the mean cross entropy H(P_t(x), P_s(x')) over x' != x (Caron et al. 2021, Eq. 3).

    Args:
        p_t: (G, B, K) the teacher's probabilities for the global views.
        log_p_s: (V, B, K) the student's log-probabilities for all views, the global ones first.
    """
    entropy = -torch.einsum("gbk,vbk->gv", p_t, log_p_s) / p_t.shape[1]
    other = 1 - torch.eye(*entropy.shape, dtype=entropy.dtype, device=entropy.device)
    return (entropy * other).sum() / (entropy.numel() - len(entropy))


def dino_loss(
    student: Tensor,
    teacher: Tensor,
    center: Tensor,
    *,
    student_temperature: float,
    teacher_temperature: float | Tensor,
) -> Tensor:
    """Return the loss of one batch, a scalar.

    Args:
        student: (V, B, K) outputs for all views, the global ones first.
        teacher: (G, B, K) outputs for the global views.
        center: (K,).
        student_temperature: tau_s.
        teacher_temperature: tau_t.
    """
    log_p_s = F.log_softmax(student / student_temperature, dim=-1)
    return cross_view_entropy(teacher_probabilities(teacher, center, teacher_temperature), log_p_s)


def moved_center(center: Tensor, outputs: Tensor, momentum: float) -> Tensor:
    """Return the center (K,) after a batch of the teacher's outputs (..., K) (Eq. 4)."""
    return momentum * center + (1 - momentum) * averaged(outputs.flatten(0, -2).mean(dim=0))


def teacher_temperature(epoch: float, config: Config) -> float:
    """Return tau_t after ``epoch`` epochs: linear from its start, then constant."""
    if epoch >= config.teacher_temperature_epochs:
        return config.teacher_temperature
    start, end = config.teacher_temperature_start, config.teacher_temperature
    return start + (end - start) * epoch / config.teacher_temperature_epochs


def teacher_momentum(done: float, start: float) -> float:
    """Return lambda when ``done`` (0 to 1) of the training is: half a cosine, ``start`` to 1."""
    return 1 - (1 - start) * 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def move(teacher: nn.Module, student: nn.Module, momentum: float | Tensor) -> None:
    """Move the teacher's weights towards the student's: t <- m t + (1 - m) s, in place.

    Running statistics of batch normalisation are not weights: each network keeps its own.
    """
    slow: list[Tensor] = list(teacher.parameters())
    fast: list[Tensor] = list(student.parameters())
    if isinstance(momentum, Tensor):
        # Lerp would ask the device for the number.
        apart = torch._foreach_sub(fast, slow)
        torch._foreach_mul_(apart, 1 - momentum)
        torch._foreach_add_(slow, apart)
    else:
        torch._foreach_lerp_(slow, fast, 1 - momentum)


class Head(nn.Module):
    """Three layers to a bottleneck of length 1, then a last layer whose rows have length 1.

    The last layer is the paper's weight-normalised one, its gains fixed at 1.
    """

    def __init__(self, dim: int, config: Config) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers.append(nn.Linear(dim, config.hidden_dim))
            if config.batch_norm:
                layers.append(nn.BatchNorm1d(config.hidden_dim))
            layers.append(nn.GELU())
            dim = config.hidden_dim
        self.layers = nn.Sequential(*layers, nn.Linear(dim, config.bottleneck_dim))
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.last = nn.Linear(config.bottleneck_dim, config.out_dim, bias=False)

    def forward(self, x: Tensor, *, frozen: bool = False) -> Tensor:
        """Return outputs (B, K) float32 of x (B, D); ``frozen`` keeps gradients off the last."""
        z = F.normalize(self.layers(x), dim=1)
        weight = F.normalize(self.last.weight, dim=1)
        return F.linear(z, weight.detach() if frozen else weight).float()


class DINO(base.Method):
    """A student with its head, and the teacher that is their moving average.

    The head reads the class token of a Vision Transformer, and the pooled map of a convolutional
    network.
    """

    def __init__(self, encoder: Encoder, config: Config, local_side: int) -> None:
        super().__init__(encoder)
        self.config, self.local_side = config, local_side
        self.n_views = GLOBAL + config.local_views
        self.settles = config.freeze_last_epochs
        self.head = Head(encoder.dim, config)
        self.teacher = copy.deepcopy(encoder).requires_grad_(False)
        self.teacher_head = copy.deepcopy(self.head).requires_grad_(False)
        self.register_buffer("center", torch.zeros(config.out_dim))

    center: Tensor

    @property
    def kept(self) -> Encoder:
        """The teacher, unless the configuration says otherwise."""
        return self.teacher if self.config.keep == "teacher" else self.encoder

    def view(self, number: int, spec: ViewSpec) -> ViewSpec:
        """Return the recipe's views first, then the second global ones, then local ones."""
        config = self.config
        if number == 0:
            return spec
        if number < GLOBAL:
            changes = {"blur": config.second_blur, "solarize": config.second_solarize}
            return spec.model_copy(update=changes)
        return spec.model_copy(
            update={"crop": config.local_crop, "side": self.local_side, "blur": config.local_blur}
        )

    def numbers(self, epoch: float, done: float) -> tuple[float, ...]:
        """Return the teacher's temperature and its momentum."""
        momentum = teacher_momentum(done, self.config.teacher_momentum)
        return teacher_temperature(epoch, self.config), momentum

    def forward(self, batch: Batch) -> Tensor:
        """Return the cross entropy between the teacher's and the student's views of images."""
        config, n = self.config, len(batch.views[0])
        large = torch.cat(list(batch.views[:GLOBAL]))
        with torch.no_grad():
            teacher = _outputs(self.teacher, self.teacher_head, large)
            teacher = torch.unflatten(teacher, 0, (-1, n))
        frozen = not batch.settled
        student = _outputs(self.encoder, self.head, large, frozen=frozen)
        if config.local_views:
            # Views of one side go through the network together, as the authors' do.
            small = torch.cat(list(batch.views[GLOBAL:]))
            local = _outputs(self.encoder, self.head, small, frozen=frozen)
            student = torch.cat([student, local])
        self.left = teacher
        loss = dino_loss(
            torch.unflatten(student, 0, (-1, n)),
            teacher,
            self.center,
            student_temperature=config.student_temperature,
            teacher_temperature=batch.numbers[0],
        )
        return averaged(loss)

    def after_step(self, batch: Batch) -> None:
        """Move the center and the teacher."""
        assert self.left is not None
        self.center.copy_(moved_center(self.center, self.left, self.config.center_momentum))
        self.left = None
        move(self.teacher, self.encoder, batch.numbers[1])
        move(self.teacher_head, self.head, batch.numbers[1])


def _outputs(encoder: Encoder, head: Head, pixels: Tensor, *, frozen: bool = False) -> Tensor:
    """Return the head's outputs (B, K) of pixels (B, C, H, W)."""
    tokens = encoder.forward_float(pixels)
    x = tokens[:, 0] if encoder.has_class_token else pool(tokens)
    outputs: Tensor = head(x, frozen=frozen)
    return outputs


def build(encoder: Encoder, config: Config, classes: int) -> DINO:
    """Return DINO around ``encoder``, the teacher a copy of it.

    Raises:
        UsageError: If the encoder's patches do not fit the local views.
    """
    patch = encoder.patch
    side = config.local_side or max(1, round(LOCAL_SHARE * encoder.size / patch)) * patch
    if side % patch:
        raise UsageError(
            f"encoder.local_side {side} is not a multiple of the patch; "
            f"use {option(overrides={'encoder.local_side': side // patch * patch or patch})}."
        )
    return DINO(encoder, config, side)
