"""Parts of a batch: every global batch is cut into fixed parts, which are computed one by one.

What a part gives does not depend on which process computes it, and whatever is of several parts is
added in their order. So a training of L parts ends with the same bits on any number of processes
that divides L (``ranks``). A ``Parted`` stands for one tensor of each part of this process: every
operation of torch is done part by part, but for batch normalisation, whose statistics are those of
all parts. A loss that compares samples with each other takes them all, by ``gathered``; one that
is a mean over samples is made that of all of them by ``averaged``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from curate.encoders.ranks import Ranks


class Parted(torch.Tensor):
    """One tensor of each part of this process, in their order, which torch takes as one.

    Shapes are equal, and what is asked of it that is no tensor, such as its shape, is that of a
    part.

    Attributes:
        parts: The tensors.
        ranks: The processes that have the other parts.
    """

    parts: tuple[Tensor, ...]
    ranks: Ranks

    @staticmethod
    def __new__(cls: type[Parted], parts: Sequence[Tensor], ranks: Ranks) -> Parted:
        """Put tensors of equal shapes together."""
        parted: Parted = torch.Tensor._make_subclass(cls, torch.empty(0))
        parted.parts, parted.ranks = tuple(parts), ranks
        return parted

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Do an operation part by part."""
        kwargs = kwargs or {}
        if func is F.batch_norm:
            return batch_norm(*args, **kwargs)
        if func is torch.Tensor.__iter__:
            return iter(args[0].unbind(0))
        whole = _first((args, kwargs))
        assert whole is not None
        return _together(
            [func(*_of(args, i), **_of(kwargs, i)) for i in range(len(whole.parts))], whole.ranks
        )


def _first(value: Any) -> Parted | None:
    """Return the first of the tensors of parts among arguments."""
    if isinstance(value, Parted):
        return value
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        for one in value:
            if (there := _first(one)) is not None:
                return there
    return None


def _of(value: Any, part: int) -> Any:
    """Return arguments as one part has them."""
    if isinstance(value, Parted):
        return value.parts[part]
    if isinstance(value, torch.Size):
        return value
    if isinstance(value, (tuple, list)):
        return type(value)(_of(one, part) for one in value)
    if isinstance(value, dict):
        return {name: _of(one, part) for name, one in value.items()}
    return value


def _together(results: list[Any], ranks: Ranks) -> Any:
    """Return what an operation gave in each part as one result."""
    first = results[0]
    if isinstance(first, Tensor):
        return Parted(results, ranks)
    if isinstance(first, (tuple, list)) and not isinstance(first, torch.Size):
        each = [_together(list(one), ranks) for one in zip(*results, strict=True)]
        # A named tuple of torch's, such as that of max, takes one sequence as a plain one does.
        return type(first)(each)
    assert all(one == first for one in results[1:]), "parts differ in what is no tensor"
    return first


class _Gather(torch.autograd.Function):
    """All parts behind each other; every process goes on alike, and has the gradient of its own."""

    @staticmethod
    def forward(ctx: Any, ranks: Ranks, *parts: Tensor) -> Tensor:
        ctx.lengths, ctx.first = [len(part) for part in parts], ranks.rank * len(parts)
        return torch.cat(ranks.gather(parts))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        size, (gradient,) = ctx.lengths[0], gradients
        return None, *torch.split(gradient[ctx.first * size :], size)[: len(ctx.lengths)]


def gathered(x: Tensor) -> Tensor:
    """Return (B, ...) of the whole batch from (B / L, ...) of each part; a plain tensor stays.

    Every process gets it, and must compute the same with it: its gradient flows back into the
    parts of each.
    """
    if not isinstance(x, Parted):
        return x
    whole: Tensor = _Gather.apply(x.ranks, *x.parts)
    return whole


def averaged(x: Tensor) -> Tensor:
    """Return the mean over all parts, which are equally large; a plain tensor stays."""
    return gathered(x[None]).mean(dim=0) if isinstance(x, Parted) else x


def batch_norm(
    x: Parted,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Parted:
    """Return parts normalised by the mean and the variance of all of them (Ioffe & Szegedy 2015).

    Arguments are those of ``torch.nn.functional.batch_norm``; running statistics are moved as
    there, with the variance that is not biased.
    """
    k, ranks = len(x.parts), x.ranks
    pairs = zip(_each(weight, k), _each(bias, k), strict=True)
    if not training:
        shown = [
            F.batch_norm(part, running_mean, running_var, w, b, False, momentum, eps)
            for part, (w, b) in zip(x.parts, pairs, strict=True)
        ]
        return Parted(shown, ranks)
    with torch.no_grad():
        # The kernel of torch's own batch normalisation, of which var_mean takes ten times as long.
        kind = torch.promote_types(x.parts[0].dtype, torch.float32)
        own = [
            torch.stack(torch.batch_norm_update_stats(part.to(kind), None, None, 0.0))
            for part in x.parts
        ]
        means, variances = torch.stack(ranks.gather(own)).unbind(1)
        mean = means.mean(dim=0)
        # Of the parts, and what lies between them: no difference of large squares.
        variance = (variances + (means - mean).square()).mean(dim=0)
        if running_mean is not None and running_var is not None:
            n = x.parts[0].numel() // len(mean) * len(means)
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * (n / (n - 1))).to(running_var.dtype), momentum)
    flat = [t for part, pair in zip(x.parts, pairs, strict=True) for t in (part, *pair)]
    return Parted(_BatchNorm.apply(ranks, eps, mean, variance, *flat), ranks)


def _each(value: Tensor | None, k: int) -> Sequence[Tensor | None]:
    return value.parts if isinstance(value, Parted) else [value] * k


class _BatchNorm(torch.autograd.Function):
    """Batch normalisation by given statistics, which are those of the parts of all processes."""

    @staticmethod
    def forward(
        ctx: Any, ranks: Ranks, eps: float, mean: Tensor, variance: Tensor, *flat: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Normalise each part x by its weights w and b, which stand in ``flat`` in turn."""
        ctx.ranks, ctx.eps = ranks, eps
        ctx.save_for_backward(mean, variance, *flat)
        return tuple(
            F.batch_norm(x, mean, variance, w, b, False, 0.0, eps)  # type: ignore[arg-type]
            for x, w, b in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Return the gradients: those by a part's own sums, then what all parts' differ by."""
        mean, variance, *flat = ctx.saved_tensors
        parts, weights = flat[::3], flat[1::3]
        inverse = (variance + ctx.eps).rsqrt()
        plain = [
            torch.ops.aten.native_batch_norm_backward(
                g, x, w, None, None, mean, inverse, True, ctx.eps, [True, True, True]
            )
            for g, x, w in zip(gradients, parts, weights, strict=True)
        ]
        sums = [torch.stack([dw, db]) for _, dw, db in plain]
        every = torch.stack(ctx.ranks.gather(sums))
        n = parts[0].numel() // len(mean)
        whole = every.sum(dim=0) / (n * len(every))
        out: list[Tensor | None] = []
        for (dx, dw, db), own, x, w in zip(plain, sums, parts, weights, strict=True):
            # dx = w (g - mean(g) - xhat mean(g xhat)) / deviation, with means over all parts.
            scale = inverse if w is None else inverse * w
            slope, shift = (scale * (own / n - whole)).unbind()
            dx += F.batch_norm(x, mean, variance, slope, shift, False, 0.0, ctx.eps)
            out += [dx, None if w is None else dw, None if w is None else db]
        return None, None, None, None, *out
