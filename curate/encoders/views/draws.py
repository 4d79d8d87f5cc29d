"""Draws on the device: the bits of ``curate.runtime.randomness``, for whole batches of samples.

Every sample has a SplitMix64 sequence of its own, seeded by (key, sample); a draw is the element of
it at ``view * 2^32 + slot``. Nothing has state, so that a draw depends on neither batch nor order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from curate.runtime.randomness import GAMMA, MIX_1, MIX_2

WORD = 1 << 64
HELD = 34
"""The first draws of a view are made together, since a small batch waits for the number of
operations: as many as hold the parameters of every operation but masks and noise."""


def signed(word: int) -> int:
    """Return the int64 with the bits of the 64-bit ``word``; torch has no uint64 arithmetic."""
    word %= WORD
    return word - WORD if word >= WORD >> 1 else word


def _shift(z: Tensor, by: int) -> Tensor:
    """Return a logical right shift; torch's own keeps the sign."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def mix(z: Tensor) -> Tensor:
    """Apply SplitMix64's finalizer to int64 words, elementwise (``randomness.mix``)."""
    z = (z ^ _shift(z, 30)) * signed(MIX_1)
    z = (z ^ _shift(z, 27)) * signed(MIX_2)
    return z ^ _shift(z, 31)


def hash64(key: int, keys: Tensor) -> Tensor:
    """Hash int64 ``keys`` (any shape) under the 64-bit ``key``, as ``randomness.hash64``."""
    return mix(mix(keys + signed(GAMMA)) ^ signed(key))


def _at(view: int | Tensor, slot: int) -> int | Tensor:
    """Return how far a slot of a view lies behind a sample's seed."""
    if isinstance(view, Tensor):
        return ((view << 32) + (slot + 1)) * signed(GAMMA)
    return signed(((view << 32) + slot + 1) * GAMMA)


def _numbers(words: Tensor) -> Tensor:
    """Return float32 in [0, 1) of the words of sequences."""
    # 24 bits are exact in float32.
    return _shift(mix(words), 40).to(torch.float32) * 2.0**-24


@dataclass(frozen=True)
class Draws:
    """Random numbers of one view of each sample of a batch.

    Attributes:
        key: The 64-bit key.
        state: (B,) int64, the samples' seeds: ``hash64(key, keys)``.
        view: Number of the view, below 2^32; a tensor, () int64 on the device, where a step is
            repeated there without the host.
        first: (B, ``HELD``) float32, the first draws, where they were made with those of other
            views; None makes them when they are asked for.
        orders: (V, 4) int64 on the device, ``views.apply.orders`` of V views: needed where ``view``
            is a tensor.
    """

    key: int
    state: Tensor
    view: int | Tensor
    first: Tensor | None = None
    orders: Tensor | None = None

    @classmethod
    def of(cls, key: int, keys: Tensor, view: int | Tensor) -> Draws:
        """Return the draws of view ``view`` of samples ``keys`` (B,) int64 under ``key``."""
        return cls(key, hash64(key, keys), view)

    @classmethod
    def of_views(
        cls, key: int, state: Tensor, view: int | Tensor, n: int, orders: Tensor | None = None
    ) -> list[Draws]:
        """Return the draws of n views from ``view`` on, the first of each made with the others'.

        Args:
            key: The 64-bit key.
            state: (B,) int64, ``hash64(key, keys)``.
            view: Number of the first view.
            n: How many.
            orders: As the attribute.
        """
        steps = torch.arange(HELD, device=state.device) * signed(GAMMA) + _at(view, 0)
        views = torch.arange(n, device=state.device) * signed(GAMMA << 32)
        first = _numbers(state[:, None] + (views[:, None, None] + steps))
        return [cls(key, state, view + i, u, orders) for i, u in enumerate(first.unbind())]

    @cached_property
    def _held(self) -> Tensor:
        return self._uniform(0, HELD)

    def uniform(self, slot: int, n: int) -> Tensor:
        """Return (B, n) float32 in [0, 1), slots ``slot`` to ``slot + n - 1``."""
        if slot + n <= HELD:
            numbers = self._held if self.first is None else self.first
            return numbers[:, slot : slot + n]
        return self._uniform(slot, n)

    def _uniform(self, slot: int, n: int) -> Tensor:
        steps = torch.arange(n, device=self.state.device) * signed(GAMMA) + _at(self.view, slot)
        return _numbers(self.state[:, None] + steps)

    def normal(self, slot: int, n: int) -> Tensor:
        """Return (B, n) standard normal float32 (Box and Muller); uses 2n slots."""
        u = self.uniform(slot, 2 * n)
        radius = torch.sqrt(-2 * torch.log(u[:, :n] + 2.0**-25))
        return radius * torch.cos(2 * math.pi * u[:, n:])
