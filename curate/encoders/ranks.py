"""Ranks: the processes that train one encoder together, and what they tell each other.

Everything that goes from one to another is bytes of tensors, gathered in the order of the ranks: no
sum is left to a library, whose order would be its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from curate.errors import ResourceError


class LostRankError(ResourceError):
    """Another process of a training is gone, or cannot be reached."""


@dataclass(frozen=True)
class Ranks:
    """The processes of one training, in torch's default group, as one of them sees them.

    Attributes:
        rank: Its number. The first, 0, alone writes.
        size: How many there are; with 1 nothing is sent.
    """

    rank: int = 0
    size: int = 1

    def gather(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the tensors of all ranks, those of rank 0 first.

        Args:
            tensors: Of equal shapes and kinds, and as many on every rank.
        """
        own = [t.detach() for t in tensors]
        if self.size == 1:
            return own
        sent = torch.stack(own)
        every = torch.empty((self.size, *sent.shape), dtype=sent.dtype, device=sent.device)
        with _linked():
            dist.all_gather([_bytes(one) for one in every], _bytes(sent))
        return list(every.flatten(0, 1).unbind())

    def total(self, parts: Tensor) -> Tensor:
        """Return the sum over the parts of all ranks, added in their order, (n,).

        Each rank adds a slice of the numbers: as many bytes travel as in a ring.

        Args:
            parts: (k, n), this rank's; ``size`` divides n.
        """
        if self.size == 1:
            return _added(parts)
        sent = parts.reshape(len(parts), self.size, -1).transpose(0, 1).contiguous()
        slices = torch.empty_like(sent)
        whole = torch.empty_like(parts[0])
        with _linked():
            dist.all_to_all_single(_bytes(slices), _bytes(sent))
            own = _added(slices.flatten(0, 1))
            dist.all_gather([_bytes(one) for one in whole.chunk(self.size)], _bytes(own))
        return whole

    def agreed(self, wanted: int | None, due: bool) -> tuple[int | None, bool]:
        """Return the signal that any rank was sent, and whether rank 0 finds a state due."""
        if self.size == 1:
            return wanted, due
        votes = torch.tensor([wanted or 0, due and self.rank == 0], dtype=torch.int64)
        with _linked():
            dist.all_reduce(votes, op=dist.ReduceOp.MAX)
        number, stored = votes.tolist()
        return number or None, bool(stored)

    def told(self, number: int) -> int:
        """Return the number that rank 0 has."""
        if self.size == 1:
            return number
        message = torch.tensor([number], dtype=torch.int64)
        with _linked():
            dist.broadcast(message, src=0)
        return int(message.item())


ALONE = Ranks()
"""One process, which has all parts."""


def _added(rows: Tensor) -> Tensor:
    total = rows[0].clone()
    for row in rows[1:]:
        total.add_(row)
    return total


def _bytes(x: Tensor) -> Tensor:
    return x.reshape(-1).view(torch.uint8)


@contextlib.contextmanager
def _linked() -> Iterator[None]:
    """Name the error of a library that has lost another rank.

    Raises:
        LostRankError: Instead.
    """
    try:
        yield
    except RuntimeError as error:
        raise LostRankError(
            "another process of this training ended or cannot be reached; its states are kept: "
            "type the same command again, with as many ranks as there are."
        ) from error
