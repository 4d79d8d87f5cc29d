"""Encoders that are trained side by side: equal weights lie behind each other, as one tensor.

A small network waits for the host, which asks for each of its kernels; of K networks side by side
it is asked no more often, and each kernel has K times the work. A stack takes ordinary trainings
(``loop.Loop``) that have equal steps. Their weights and running statistics become slices of common
tensors, so that ``torch.func.functional_call`` under ``vmap`` finds all losses at once, and all
gradients come back together. What follows is each training's own, on its slices: clipping, the
optimizer, a step that is not finite, a teacher, the log, and the states, which are those of a
training alone. So one that diverges leaves the others' numbers alone.

Products of several matrices at once are added in another order than those of one, so that the last
digits of a stack are its own. With one thread of a CPU they are the same whichever trainings are in
it, and however many: those of a single one come from a stack of it and its twin.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from curate.encoders.backbone import Encoder
from curate.encoders.checkpoint import Kept, common_states, statistics_of
from curate.encoders.feed import Feed
from curate.encoders.gradients import Called, PlainGradients
from curate.encoders.history import Trained
from curate.encoders.loop import Loop, Snapshot, run
from curate.encoders.methods.base import Batch
from curate.encoders.schedule import Now
from curate.encoders.stepping import Stepping
from curate.encoders.views.apply import shown
from curate.encoders.views.draws import Draws
from curate.errors import UsageError
from curate.runtime.options import option
from curate.runtime.progress import Progress, silent


class Stack(Stepping):
    """The steps of several trainings of equal networks and schedules.

    Attributes:
        loops: The trainings, K of them.
        weights: Weights and running statistics by name, (K, ...) each; those of a training are
            slices of them.
    """

    def __init__(self, loops: Sequence[Loop]) -> None:
        """Let trainings that have not begun share their tensors; nobody else steps them then.

        Raises:
            UsageError: If one has other steps than the first, or gradients of its own kind.
        """
        first = loops[0]
        for loop in loops:
            if type(loop.gradients) is not PlainGradients:
                raise UsageError("train.stack: each of these encoders is trained alone.")
            if not equal_steps(first, loop):
                raise UsageError(
                    "train.stack: encoders with other steps are not trained side by side."
                )
        self.loops, self.device, self.steps = list(loops), first.device, first.steps
        self.capture = first.capture
        self.gradients = first.gradients
        self.feed: Feed = _Feeds([loop.feed for loop in loops])
        self._called = Called(first.method, first.loss)
        self._names = {f"method.{name}": name for name in first.method.state_dict()}
        self.weights = {name: _shared(self.loops, own) for name, own in self._names.items()}
        trained = {name for name, p in first.method.named_parameters() if p.requires_grad}
        self._trained = [name for name, own in self._names.items() if own in trained]
        for loop in loops:
            for module in loop.method.modules():
                if isinstance(module, Encoder):
                    # vmap has no other layout.
                    module.layout = torch.contiguous_format
            loop.kept = Kept(statistics_of(loop.method))
        # Trainings of one seed show equal views, which are made together.
        self._left: Tensor | None = None
        self._groups: list[slice] = []
        for k, loop in enumerate(loops):
            start = k
            if k and loop.key == loops[k - 1].key:
                start = self._groups.pop().start
            self._groups.append(slice(start, k + 1))

    def resume(self, folders: Sequence[Path]) -> None:
        """Go on from the newest step of which the states of all are there.

        Args:
            folders: Of each training; states of another training are deleted.

        Raises:
            MismatchError: If other code stored one, or another kind of device.
        """
        for states in common_states(folders):
            others = [
                folder
                for loop, folder, (about, _) in zip(self.loops, folders, states, strict=True)
                if not loop.continues(about, folder)
            ]
            if not others:
                for loop, state in zip(self.loops, states, strict=True):
                    loop.go_on(*state)
                return
            for folder in dict.fromkeys(others):
                shutil.rmtree(folder)
            return

    def run(
        self,
        states: Sequence[Path] | None,
        *,
        snapshots: Sequence[Snapshot],
        progress: Progress = silent,
    ) -> list[Trained]:
        """Make every step that is left; arguments as ``loop.run``'s, of as many as are kept.

        The first of the trainings are; what is behind them is forgotten.
        """
        loops = self.loops[: len(snapshots)]

        def advance() -> Tensor:
            losses = self.advance()
            assert losses is not None
            return losses[: len(loops)]

        return run(loops, advance, states, snapshots=snapshots, progress=progress)

    def advance(self, at: int | None = None) -> Tensor | None:
        """Make the next step of all, or step ``at``."""
        return super().advance(self.loops[0].progress.step if at is None else at)

    def orders(self, views: int) -> Tensor:
        """Return the orders of so many views of each group of one key, (groups, views, 4) int64."""
        return torch.stack([self.loops[some.start].orders(views) for some in self._groups])

    def compile(self) -> None:
        """Have nothing compiled: a stack is for trainings that wait for the host."""

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Return those of all trainings."""
        return [loop.optimizer for loop in self.loops]

    def batch(self, now: Now, places: Tensor, pixels: Tensor) -> Batch:
        """Return the views of the samples of all, every tensor (K, B, ...).

        Args:
            now: The numbers of the step.
            places: (K, B) int64.
            pixels: (K, B, C, H, W) uint8.
        """
        by_group: list[list[Tensor]] = []
        first, n, view = self.loops[0], self.loops[0].method.n_views, now.view
        for number, some in enumerate(self._groups):
            loops, of = self.loops[some], places[some]
            states = [loop.states[own] for loop, own in zip(loops, of, strict=True)]
            orders = None if now.orders is None else now.orders[number]
            state, images = torch.cat(states), pixels[some].flatten(0, 1)
            key = loops[0].key
            views, *draw_parts = shown(first.specs, key, images, state, view, orders)
            draws = [Draws(key, state, at, u, orders) for u, at in zip(*draw_parts, strict=True)]
            tensors = [*views, *first.method.drawn(draws[:n])]
            by_group.append([torch.unflatten(t, 0, of.shape) for t in tensors])
        tensors = (
            by_group[0]
            if len(by_group) == 1
            else [torch.cat(t) for t in zip(*by_group, strict=True)]
        )
        views, own = tensors[: len(first.specs)], tensors[len(first.specs) :]
        labels = [
            loop.labels[own]
            for loop, own in zip(self.loops, places, strict=True)
            if loop.labels is not None
        ]
        return Batch(
            views=views[:n],
            extra=views[n:],
            drawn=own,
            labels=torch.stack(labels) if labels else None,
            numbers=now.own,
            settled=now.settled,
        )

    def step(self, batch: Batch, rate: float | Tensor) -> Tensor:
        """Make a step of all; returns their losses, (K,), NaN where one was not finite."""
        for loop in self.loops:
            loop.begin(rate)
        losses = self.losses(batch)
        left, self._left = self._left, None
        weights = [self.weights[name] for name in self._trained]
        raw_gradients = torch.autograd.grad(losses.sum(), weights, allow_unused=True)
        # As the weights lie, which a fused optimizer takes for granted.
        gradients = [None if g is None else g.contiguous() for g in raw_gradients]
        step_losses = []
        for k, loop in enumerate(self.loops):
            own = dict(loop.method.named_parameters())
            for name, gradient in zip(self._trained, gradients, strict=True):
                own[self._names[name]].grad = None if gradient is None else gradient[k]
            assert isinstance(loop.gradients, PlainGradients)
            loss = loop.gradients.clipped(losses[k].detach())
            loop.method.left = None if left is None else left[k].detach()
            loop.end(_of_one(batch, k), loss)
            step_losses.append(loss)
        return torch.stack(step_losses)

    def losses(self, batch: Batch) -> Tensor:
        """Return the losses of all, (K,), from which gradients of ``weights`` come.

        Raises:
            UsageError: If the loss does not bear that, such as one that the host decides on.
        """
        method = self.loops[0].method

        def one(
            weights: dict[str, Tensor],
            views: list[Tensor],
            extra: list[Tensor],
            drawn: list[Tensor],
            labels: Tensor | None,
        ) -> tuple[Tensor, tuple[Tensor, ...]]:
            own = replace(batch, views=views, extra=extra, drawn=drawn, labels=labels)
            loss: Tensor = torch.func.functional_call(self._called, weights, (own,))
            left = () if method.left is None else (method.left,)
            method.left = None
            return loss, left

        assert isinstance(self.gradients, PlainGradients)
        taught = None if batch.labels is None else 0
        each = torch.vmap(one, in_dims=(0, 0, 0, 0, taught))
        for name in self._trained:
            self.weights[name].requires_grad_()
        try:
            with self.gradients.lower(), _Folded():
                losses, left = each(
                    self.weights,
                    list(batch.views),
                    list(batch.extra),
                    list(batch.drawn),
                    batch.labels,
                )
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise
            why = str(error).splitlines()[0].rstrip(".")
            raise UsageError(
                "train.stack: these encoders cannot be trained side by side; use "
                f"{option(overrides={'train.stack': 1}, called='NEW')} ({why})."
            ) from error
        self._left = left[0] if left else None
        return losses


def equal_steps(one: Loop, other: Loop) -> bool:
    """Return whether two trainings draw as many samples a step, and as many steps."""
    return (one.batch_size, one.per_epoch, one.total) == (
        other.batch_size,
        other.per_epoch,
        other.total,
    )


def _shared(loops: Sequence[Loop], name: str) -> Tensor:
    """Return a tensor of all trainings as one, (K, ...), of which each then has its slice."""
    own = [loop.method.state_dict(keep_vars=True)[name] for loop in loops]
    whole = torch.stack([t.detach().contiguous() for t in own])
    where, _, last = name.rpartition(".")
    for k, (loop, tensor) in enumerate(zip(loops, own, strict=True)):
        if isinstance(tensor, nn.Parameter):
            # The optimizer has this very parameter.
            tensor.data = whole[k]
        else:
            loop.method.get_submodule(where)._buffers[last] = whole[k]
    return whole


def _of_one(batch: Batch, k: int) -> Batch:
    """Return the batch that one of the trainings sees."""
    return replace(
        batch,
        views=[v[k] for v in batch.views],
        extra=[v[k] for v in batch.extra],
        drawn=[d[k] for d in batch.drawn],
        labels=None if batch.labels is None else batch.labels[k],
    )


class _Feeds(Feed):
    """The feeds of several trainings as one."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = feeds

    def take(self, step: int) -> tuple[Tensor, Tensor]:
        """Return places (K, B) int64 and images (K, B, C, H, W) of what ``step`` draws."""
        places, pixels = zip(*(feed.take(step) for feed in self._feeds), strict=True)
        return torch.stack(places), torch.stack(pixels)


class _Folded(TorchFunctionMode):
    """Attention of several networks at once, as one of a larger batch: vmap knows no other way."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        return _Attention.apply(kwargs or {}, *args)


class _Attention(torch.autograd.Function):
    """Attention without a mask; what is differentiated is that of the larger batch."""

    @staticmethod
    def forward(options: dict[str, Any], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return attention; never differentiated, since a stack's is batched."""
        return F.scaled_dot_product_attention(q, k, v, **options)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, options: dict[str, Any], *qkv: Tensor) -> tuple[Tensor, int]:
        """Return attention of (K, B, H, T, D) as of (K B, H, T, D)."""
        q, k, v = (t.movedim(d, 0).flatten(0, 1) for t, d in zip(qkv, in_dims[1:], strict=True))
        out = F.scaled_dot_product_attention(q, k, v, **options)
        return torch.unflatten(out, 0, (info.batch_size, -1)), 0
