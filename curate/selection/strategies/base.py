"""What a strategy is, what it chooses from, and how a number is shared among groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.data.ordering import WORD, order_of_texts, words
from curate.data.sample import longest
from curate.runtime import randomness


@dataclass(frozen=True)
class Candidates:
    """What a strategy chooses from: N samples in the order of their uids.

    Attributes:
        uids: (N,) distinct strings, sorted.
        scores: (N,) float64, no NaN: the number that is selected by, higher = more memorized.
        labels: (N,) int64; -1 for samples without one, which are a class of their own.
        points: (N, D) float32 of length 1 around the centre, as ``neighbours.unit`` gives them;
            None where no space was asked for.
        like: (N,) bool, the selection that is to be matched; None where there is none.
    """

    uids: pa.Array
    scores: np.ndarray
    labels: np.ndarray
    points: np.ndarray | None = None
    like: np.ndarray | None = None

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.uids)

    def take(self, rows: np.ndarray) -> Candidates:
        """Return some of them, or all in another order."""
        return Candidates(
            self.uids.take(pa.array(rows)),
            self.scores[rows],
            self.labels[rows],
            None if self.points is None else self.points[rows],
            None if self.like is None else self.like[rows],
        )

    def space(self) -> np.ndarray:
        """Return the points of a strategy that says that it needs them."""
        assert self.points is not None, "a strategy that needs points says so"
        return self.points

    def drawn(self, rows: np.ndarray, n: int, seed: int) -> np.ndarray:
        """Return n of some rows at random, (n,) int64: those with the smallest hashes."""
        chosen = self.uids.take(pa.array(rows))
        hashes = hash_strings(randomness.stream(seed, "select", "random"), chosen)
        return np.asarray(rows[highest(~hashes, None, n)])


@dataclass(frozen=True)
class Strategy:
    """One way to choose.

    Attributes:
        keep: (candidates, how many to keep, seed) -> keep (N,) bool with so many True.
        chosen: What those are that it keeps, behind "among the N": the reason in a manifest.
        needs: What it chooses by: ``scores``, ``points``, ``labels`` or ``like``.
        draws: Whether its seed changes the choice.
    """

    keep: Callable[[Candidates, int, int], np.ndarray]
    chosen: str
    needs: frozenset[str] = frozenset()
    draws: bool = False


def mask(rows: np.ndarray, n: int) -> np.ndarray:
    """Return (n,) bool with some rows True."""
    keep = np.zeros(n, dtype=bool)
    keep[rows] = True
    return keep


def highest(values: np.ndarray, uids: pa.Array | None, n: int) -> np.ndarray:
    """Return which n of ``values`` (N,) are highest, (N,) bool; of equal ones the smallest uids.

    Takes linear time: only what ties with the n-th highest value is sorted by uid.

    Args:
        values: (N,) numbers, no NaN.
        uids: (N,) strings; None where rows lie in the order of their uids.
        n: 0 to N.
    """
    if n == 0:
        return np.zeros(len(values), dtype=bool)
    cut = np.partition(values, len(values) - n)[len(values) - n]
    chosen: np.ndarray = values > cut
    ties = np.flatnonzero(values == cut)
    if uids is not None:
        ties = ties[order_of_texts(uids.take(pa.array(ties)))]
    chosen[ties[: n - int(chosen.sum())]] = True
    return chosen


def hash_strings(key: int, texts: pa.Array) -> np.ndarray:
    """Hash strings of any length under a 64-bit key, (N,) uint64.

    Tables from elsewhere have uids that are not ours, so that nothing is assumed of their form.
    """
    state = np.full(len(texts), key, dtype=np.uint64)
    for lane in range(-(-longest(texts) // WORD)):
        word = words(texts, lane).byteswap()
        # The padding of a short string is skipped: its hash must not depend on the longest one.
        state = np.where(word == 0, state, randomness.mix(state ^ randomness.hash64(key, word)))
    return state


def shared(sizes: np.ndarray, n: int) -> np.ndarray:
    """Share n equally among groups, none of which gets more than it has, (G,) int64.

    Water-filling: small groups give all, and what they leave is shared by the others. Where a last
    round does not go round, the first groups that have room get one more.

    Args:
        sizes: (G,) members of each group.
        n: 0 to their sum.
    """
    assert 0 <= n <= sizes.sum()
    ordered = np.sort(sizes)
    below = np.concatenate([[0], np.cumsum(ordered)[:-1]])
    left = len(sizes) - np.arange(len(sizes))
    # With groups up to k used up, the others get level (n - below[k]) / left[k] each.
    level = (n - below) // np.maximum(left, 1)
    full = np.flatnonzero(level < ordered)
    most = level[full[0]] if len(full) else sizes.max(initial=0)
    shares: np.ndarray = np.minimum(sizes, most).astype(np.int64)
    room = np.flatnonzero(shares < sizes)[: n - int(shares.sum())]
    shares[room] += 1
    return shares


def apportioned(weights: np.ndarray, sizes: np.ndarray, n: int) -> np.ndarray:
    """Share n among groups in proportion to weights, none more than it has, (G,) int64.

    By largest remainders (Hamilton); equal ones go to the first. Groups that would get more than
    they have give all, and the others share the rest.

    Args:
        weights: (G,) numbers from 0; groups of weight 0 get what the others have no room for.
        sizes: (G,) members of each group.
        n: 0 to the sum of sizes.
    """
    assert 0 <= n <= sizes.sum()
    shares = np.zeros(len(sizes), dtype=np.int64)
    open_ = sizes > 0
    while True:
        left = n - int(shares.sum())
        if left and not (weights[open_] > 0).any():
            room = sizes - shares
            return np.asarray(shares + apportioned(room.astype(np.float64), room, left))
        if not left:
            return shares
        exact = np.where(open_, weights, 0.0)
        exact = left * (exact / exact.sum())
        full = open_ & (exact >= sizes - shares)
        if full.any():
            shares[full] = sizes[full]
            open_ &= ~full
            continue
        parts: np.ndarray = np.floor(exact).astype(np.int64)
        order = np.argsort(-(exact - parts), kind="stable")
        parts[order[: left - int(parts.sum())]] += 1
        return np.asarray(shares + parts)
