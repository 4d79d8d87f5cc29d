"""Differentially private training: DP-SGD (Abadi et al. 2016), which bounds what one sample leaves.

At every step each sample is drawn independently with one probability, its gradient is clipped, and
Gaussian noise is added to the sum. Opacus (Yousefpour et al. 2021) accounts for the privacy that
this spends. The gradients of single samples come from ``torch.func``: Opacus' own hooks refuse MAE,
because its mask token and a Vision Transformer's class token belong to no layer.

What is promised, and what is not:

- Of two sets of samples that differ by one, any event of the *weights of one training* is at most
  ``exp(epsilon)`` times as likely with one set as with the other, but for ``delta``.
- Draws and noise are pure functions of the seed, as everywhere in curate, by hashes and a generator
  that are not cryptographic, and trainings with one seed share their noise. Who knows the seed, or
  has two encoders of one repeat, can take the noise off. This measures what DP-SGD does to
  memorization; to give an encoder away, keep its seed and the others to yourself.
- Losses in the log, scores, and the choice of settings are not covered; the number of samples is
  taken to be public.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from curate.encoders.config import PrivacyConfig
from curate.encoders.gradients import Called, Gradients, Loss
from curate.encoders.methods.base import Batch, Method
from curate.encoders.views.draws import Draws
from curate.errors import ResourceError, UsageError
from curate.runtime import randomness
from curate.runtime.results import Result

ACCOUNTANT = "rdp"
"""Opacus' accountant of Renyi differential privacy (Mironov 2017): an upper bound of epsilon, some
5 to 10 % above that of its ``prv``, which takes up to a minute and, for little noise, 30 GiB."""
TOGETHER = 64
"""Most samples whose gradients are held at a time."""
HELD = 1 << 28
"""Most numbers of gradients that are held at a time: 1 GiB in float32."""


@dataclass(frozen=True)
class Guarantee(Result):
    """The differential privacy of one training, for sets of samples that differ by one.

    Attributes:
        epsilon: At most this, by the accountant; lower = more private; None without noise.
        delta: Probability with which epsilon may be exceeded.
        noise_multiplier: Standard deviation of the noise over ``clip``.
        clip: L2 norm that the gradient of a sample is clipped to.
        sample_rate: Probability with which a step draws a sample.
        steps: Steps that are accounted for, all of the training's.
        accountant: Opacus' name of what found epsilon.
    """

    epsilon: float | None
    delta: float
    noise_multiplier: float
    clip: float
    sample_rate: float
    steps: int
    accountant: str = ACCOUNTANT


def guarantee(config: PrivacyConfig, *, batch: int, samples: int, steps: int) -> Guarantee:
    """Return what a training promises, with the least noise that keeps the epsilon asked for.

    Args:
        config: The recipe's ``train.dp``.
        batch: Samples that a step is expected to draw.
        samples: n, samples to draw from.
        steps: Steps of the whole training.

    Raises:
        UsageError: If delta promises nothing, or no noise is enough.
        ResourceError: If Opacus is not installed.
    """
    if config.delta * samples >= 1:
        raise UsageError(
            f"train.dp.delta {config.delta:g} would let a training on {samples:,} samples give one "
            f"of them away; set it below {1 / samples:.2g}."
        )
    rate, noise = batch / samples, config.noise
    if noise is None:
        assert config.epsilon is not None
        noise = _noise_for(config.epsilon, config.delta, rate, steps)
    epsilon = spent(noise, config.delta, rate=rate, steps=steps) if noise else None
    return Guarantee(epsilon, config.delta, noise, config.clip, rate, steps)


def spent(noise: float, delta: float, *, rate: float, steps: int) -> float:
    """Return the epsilon that so many steps with this noise multiplier spend at ``delta``.

    Raises:
        ResourceError: If Opacus is not installed.
    """
    accountant = _accountants().create_accountant(ACCOUNTANT)
    accountant.history = [(noise, rate, steps)]
    with _calmly():
        return float(accountant.get_epsilon(delta))


def _noise_for(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """Return a noise multiplier that spends at most ``epsilon``, and hardly less."""
    _accountants()
    from opacus.accountants.utils import get_noise_multiplier

    with _calmly():
        try:
            multiplier = get_noise_multiplier(
                target_epsilon=epsilon,
                target_delta=delta,
                sample_rate=rate,
                steps=steps,
                accountant=ACCOUNTANT,
                epsilon_tolerance=1e-3 * epsilon,
            )
        except ValueError as error:
            raise UsageError(
                f"train.dp.epsilon {epsilon:g}: no noise is enough for {steps:,} steps at delta "
                f"{delta:g}; ask for a larger epsilon, or for fewer steps."
            ) from error
    return float(multiplier)


def _accountants() -> Any:
    try:
        from opacus import accountants
    except ImportError as error:
        raise ResourceError(
            "Opacus is not installed, which accounts for train.dp: pip install 'curate[dp]'."
        ) from error
    return accountants


def _calmly() -> warnings.catch_warnings[None]:
    """Return a context without Opacus' remarks on how tight a bound is."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)


def check(name: str, method: Method) -> None:
    """Check that the loss of a method is a mean over samples, each of which has its gradient.

    Args:
        name: The method's.
        method: Around its encoder.

    Raises:
        UsageError: If not.
    """
    if not method.per_sample:
        raise UsageError(
            f"train.dp: the loss of {name} is no mean over single samples, so that none has a "
            "gradient to clip; use encoder.method=mae or supervised."
        )
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in method.modules()):
        raise UsageError(
            "train.dp: batch normalisation mixes the samples of a batch, so that no single one has "
            "a gradient to clip; use a backbone without it, such as vit_tiny."
        )


def poisson(seed: int, step: int, keys: np.ndarray, rate: float) -> np.ndarray:
    """Return the positions (m,) of the samples that a step draws, ascending; there may be none.

    Args:
        seed: The training's.
        step: From 0.
        keys: (n,) uint64, one of each sample's own.
        rate: Probability of each sample, independently of all others and of all other steps.
    """
    # 53 bits are exact in float64.
    draws = (
        randomness.hash64(randomness.stream(seed, "poisson", step), keys) >> np.uint64(11)
    ) * 2.0**-53
    return np.flatnonzero(draws < rate)


def gaussian(seed: int, step: int, like: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield the standard normal noise of a step, for each of some weights, where they are.

    A card draws its own: to draw for it on the host would take longer than the step.

    Args:
        seed: The training's.
        step: From 0.
        like: Weights, all on one device.
    """
    key = randomness.stream(seed, "noise", step)
    if like[0].device.type == "cpu":
        draw = np.random.Generator(np.random.Philox(key=key))
        for p in like:
            yield torch.from_numpy(draw.standard_normal(tuple(p.shape), dtype=np.float32)).to(p)
        return
    yield from gaussian_on_card(key, like)


def gaussian_on_card(key: int, like: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield standard normal noise by the hash that views are drawn by, without the host."""
    one = torch.zeros(1, dtype=torch.int64, device=like[0].device)
    for number, p in enumerate(like):
        yield Draws.of(key, one, number).normal(0, p.numel()).view(p.shape).to(p.dtype)


class PrivateGradients(Gradients):
    """The private gradient of a training's steps.

    A step is made whatever its samples are like, since whether it is tells of them: a sample whose
    gradient is not finite adds nothing, and an empty batch is noise alone.
    """

    skips = False
    skipping = "made of noise alone"

    def __init__(
        self,
        method: Method,
        loss: Loss,
        *,
        keys: np.ndarray,
        seed: int,
        guarantee: Guarantee,
        batch: int,
    ) -> None:
        """Take gradients of ``loss``, which calls ``method``.

        Args:
            method: What is trained.
            loss: The mean over the samples of a batch of what each adds to the loss.
            keys: (n,) uint64, one for each sample, all different.
            seed: The training's.
            guarantee: What the training promises.
            batch: Size of a batch on average.
        """
        self.keys, self.seed, self.guarantee, self.batch = keys, seed, guarantee, batch
        self.trained = {n: p for n, p in method.named_parameters() if p.requires_grad}
        self.loss, self.called = loss, Called(method, loss)
        n_weights = sum(p.numel() for p in self.trained.values())
        self.together = max(1, min(TOGETHER, HELD // n_weights))

    def identity(self) -> dict[str, Any]:
        """Return the noise; another version of the accountant may ask for more or less."""
        return {"noise_multiplier": self.guarantee.noise_multiplier}

    def promise(self) -> dict[str, Any]:
        """Return the guarantee, as ``privacy``."""
        return {"privacy": self.guarantee.to_json()}

    def sample(self, step: int) -> np.ndarray:
        """Return the positions of the samples that a step draws, each independently."""
        return poisson(self.seed, step, self.keys, self.guarantee.sample_rate)

    def backward(self, batch: Batch, step: int) -> Tensor | None:
        """Set the gradient of every parameter: (clipped sum + noise) / ``batch``.

        Args:
            batch: The samples that ``sample`` drew.
            step: From 0; gives the noise.

        Returns:
            Mean loss of the samples whose gradients are finite, NaN if none is; None for an empty
            batch.
        """
        total = {n: torch.zeros_like(p) for n, p in self.trained.items()}
        losses: list[Tensor] = []
        finite: list[Tensor] = []
        n = len(batch.views[0])
        for start in range(0, n, self.together):
            part = slice(start, min(start + self.together, n))
            gradients, loss = self.per_sample(part_of(batch, part))
            summed, good = clipped_sum(gradients, self.guarantee.clip)
            for name, value in summed.items():
                total[name] += value
            losses.append(loss.where(good, 0))
            finite.append(good)
        scale = self.guarantee.noise_multiplier * self.guarantee.clip
        noise = gaussian(self.seed, step, list(self.trained.values()))
        for (name, p), normal in zip(self.trained.items(), noise, strict=True):
            p.grad = (total[name] + scale * normal) / self.batch
        return torch.cat(losses).sum() / torch.cat(finite).sum() if losses else None

    def per_sample(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Return each sample's gradient, {name: (B, *shape)}, and its loss (B,)."""

        def one(
            weights: Mapping[str, Tensor],
            views: Sequence[Tensor],
            extra: Sequence[Tensor],
            drawn: Sequence[Tensor],
            label: Tensor | None,
        ) -> Tensor:
            alone = Batch(
                views=[v[None] for v in views],
                extra=[v[None] for v in extra],
                drawn=[d[None] for d in drawn],
                labels=None if label is None else label[None],
                numbers=batch.numbers,
                settled=batch.settled,
            )
            parameters = {f"method.{n}": w for n, w in weights.items()}
            loss: Tensor = torch.func.functional_call(self.called, parameters, (alone,))
            return loss

        taught = None if batch.labels is None else 0
        each = torch.func.vmap(torch.func.grad_and_value(one), in_dims=(None, 0, 0, 0, taught))
        weights = {n: p.detach() for n, p in self.trained.items()}
        # The one kind of attention that is computed for many samples at a time here.
        with sdpa_kernel(SDPBackend.MATH):
            gradients, losses = each(
                weights, list(batch.views), list(batch.extra), list(batch.drawn), batch.labels
            )
        return gradients, losses


def clipped_sum(gradients: Mapping[str, Tensor], clip: float) -> tuple[dict[str, Tensor], Tensor]:
    """Return the sum over samples of gradients g min(1, clip / |g|), and which are finite.

    The host is not told which.

    Args:
        gradients: {name: (B, *shape)}; |g| is the L2 norm over all of a sample's.
        clip: Largest norm that is left as it is.

    Returns:
        {name: shape}, without those that are not finite, and (B,) bool.
    """
    parts = [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients.values()]
    norm = torch.linalg.vector_norm(torch.stack(parts, dim=1), dim=1)
    good = norm.isfinite()
    factor = (clip / norm.clamp(min=clip)).where(good, 0)
    # What is not finite, times 0, is not 0.
    finite = {n: g.where(good.view(-1, *[1] * (g.ndim - 1)), 0) for n, g in gradients.items()}
    return {n: torch.tensordot(factor, g, dims=1) for n, g in finite.items()}, good


def part_of(batch: Batch, part: slice) -> Batch:
    """Return some of the samples of a batch."""
    return dataclasses.replace(
        batch,
        views=[v[part] for v in batch.views],
        extra=[v[part] for v in batch.extra],
        drawn=[d[part] for d in batch.drawn],
        labels=None if batch.labels is None else batch.labels[part],
    )
