"""Gradients of a batch that is cut into parts: each part's, added in the order of the parts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from curate.encoders.gradients import PlainGradients
from curate.encoders.methods.base import Batch
from curate.encoders.parts import Parted
from curate.encoders.ranks import ALONE, Ranks

BUCKET = 1 << 24
"""Numbers that are added at a time, 64 MB of each part; a larger weight is a bucket of its own."""


class PartGradients(PlainGradients):
    """Every sample once an epoch; of a batch, the parts of this rank, ``train.parts`` over all."""

    def __init__(self, *arguments: Any, ranks: Ranks = ALONE, **named: Any) -> None:
        """Take gradients as ``PlainGradients`` does, of parts; ``train.parts`` says how many.

        Args:
            arguments: Of ``PlainGradients``.
            ranks: Who has the others; their number divides that of the parts.
            named: Of ``PlainGradients``.
        """
        super().__init__(*arguments, **named)
        self.ranks, parts = ranks, named["config"].parts
        assert parts % ranks.size == 0 and self.batch % parts == 0
        self.parts = parts // ranks.size
        """Of this rank."""
        self._weights: list[tuple[nn.Parameter, Parted]] = []
        self._places: list[tuple[dict[str, Any], str, nn.Parameter, Parted]] = []
        # One weight may stand at several places.
        of: dict[nn.Parameter, Parted] = {}
        for module in self.method.modules():
            for name, weight in module._parameters.items():
                if weight is None or not weight.requires_grad:
                    continue
                if weight not in of:
                    of[weight] = Parted(
                        [weight.detach().requires_grad_() for _ in range(self.parts)], ranks
                    )
                    self._weights.append((weight, of[weight]))
                self._places.append((module._parameters, name, weight, of[weight]))

    def sample(self, step: int) -> np.ndarray:
        """Return this rank's samples of the next batch of the epoch's order."""
        whole = super().sample(step)
        size = len(whole) // self.ranks.size
        return whole[self.ranks.rank * size :][:size]

    def together(self, batches: Sequence[Batch]) -> Batch:
        """Return the batches of this rank's parts as one."""
        first = batches[0]
        return Batch(
            views=self._each([b.views for b in batches]),
            extra=self._each([b.extra for b in batches]),
            drawn=self._each([b.drawn for b in batches]),
            labels=None if first.labels is None else self._parted([b.labels for b in batches]),
            numbers=first.numbers,
            settled=first.settled,
        )

    def _each(self, of_parts: Sequence[Sequence[Tensor]]) -> list[Parted]:
        return [self._parted(list(tensors)) for tensors in zip(*of_parts, strict=True)]

    def _parted(self, tensors: list[Any]) -> Parted:
        return Parted(tensors, self.ranks)

    def backward(self, batch: Batch, step: int) -> Tensor:
        """Set the gradients of the whole batch's loss, clipped to the recipe's norm."""
        with self.lower(), self._weights_in_parts():
            loss = self.loss(batch)
        assert not isinstance(loss, Parted), "a loss is of all parts: gathered or averaged"
        self.method.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._add()
        norm = nn.utils.clip_grad_norm_(self.method.parameters(), self.limit, foreach=True)
        # All ranks compute the loss; a decision that hangs on it must be the same on all.
        return self.ranks.gather([loss])[0] + 0 * norm

    @contextlib.contextmanager
    def _weights_in_parts(self) -> Iterator[None]:
        """Let every part have weights of its own, which lie where the weights lie."""
        for where, name, _, parted in self._places:
            where[name] = parted
        try:
            yield
        finally:
            for where, name, weight, _ in self._places:
                where[name] = weight

    def _add(self) -> None:
        """Make each weight's gradient the sum of its parts', in their order."""
        bucket: list[tuple[nn.Parameter, Parted]] = []
        n_weights = 0
        for weight, parted in self._weights:
            if parted.parts[0].grad is None:
                continue
            bucket.append((weight, parted))
            n_weights += weight.numel()
            if n_weights >= BUCKET:
                self._add_bucket(bucket)
                bucket, n_weights = [], 0
        if bucket:
            self._add_bucket(bucket)

    def _add_bucket(self, bucket: list[tuple[nn.Parameter, Parted]]) -> None:
        lengths = [weight.numel() for weight, _ in bucket]
        n = sum(lengths)
        own = bucket[0][0].new_zeros((self.parts, n + -n % self.ranks.size))
        for (_, parted), numbers in zip(
            bucket, torch.split(own[:, :n], lengths, dim=1), strict=True
        ):
            for part, row in zip(parted.parts, numbers, strict=True):
                assert part.grad is not None
                row.copy_(part.grad.reshape(-1))
                part.grad = None
        total = torch.split(self.ranks.total(own)[:n], lengths)
        for (weight, _), numbers in zip(bucket, total, strict=True):
            # In the layout of the weight, whatever that of the gradient was.
            weight.grad = torch.empty_like(weight).copy_(numbers.view(weight.shape))
