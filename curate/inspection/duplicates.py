"""Copies: images that are one picture, re-encoded, cropped, mirrored, recoloured or framed.

They are found in pixels, so that the answer does not depend on how good an encoder is. Windows of
every image and of its mirror image are looked up among all images by two cues (``cues``), each pair
that is alike is laid upon each other (``registration``), and what speaks for one picture is counted
in edges. How much is enough is learned from pairs that cannot be copies: the same search for images
turned upside down, which are as detailed and as alike by chance, but copies of nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from curate.inspection import matching, registration
from curate.inspection.matching import Found
from curate.inspection.thumbnails import SIDE, Thumbnails
from curate.runtime.progress import Progress, silent

FLOOR, SURE, CEILING = 300.0, 500.0, 1200.0
"""Evidence that a pair of copies has at least, however few decoys there are; that it has where so
few were seen that they say nothing; and that is enough however many there are: among images that
are alike when turned upside down, decoys are copies."""
RATE = 0.01
"""Share of false pairs that the threshold aims at."""
CROWD, STANDS_OUT, CERTAIN, RATIO = 5, 2.5, 900.0, 0.3
"""A pair has so many times the evidence of the fifth most alike image of either one, or it has so
much that this does not matter, or what its correlation lacks to 1 is at most that share of what the
fifth's lacks (as Lowe 2004 tests matches, section 7.1): images of one kind, such as shirts laid out
in one way, are alike without being copies, and none of them is so upside down."""
ALIKE, SLIGHT = 0.95, 200.0
"""Correlation from which a pair that stands out by it needs no more evidence than that."""
CROPPED, RECOLOURED = 0.1, 10.0
"""Share of an image's area, and mean difference of its colours in levels of 255, from which a copy
is called cropped or recoloured."""

RULE = (
    "laid upon each other, mirrored or not, the edges of the two agree more than those of images "
    f"turned upside down do, of which the threshold lets {RATE:.0%} as many through as pairs, and "
    "more than those of the fifth most alike image; "
    "their pixels correlate by inspect.duplicate_threshold or more; groups are connected pairs"
)


@dataclass(frozen=True)
class Pairs:
    """Pairs of copies, by a and b.

    Attributes:
        a: (P,) int64 positions.
        b: (P,) int64 positions, each above ``a``.
        similarity: (P,) float32, correlation of grey values where they are aligned best.
        evidence: (P,) float32, see ``registration.Evidence``.
        mirrored: (P,) bool.
        cropped: (P,) bool: one shows a part of the other, or each a part of the other.
        recoloured: (P,) bool.
        facts: ``threshold`` of the evidence; ``false_rate``, the estimated share of false pairs;
            ``decoys``, how many of ``decoy_queries`` images turned upside down passed the
            threshold; ``index`` of the search, with its recall.
    """

    a: np.ndarray
    b: np.ndarray
    similarity: np.ndarray
    evidence: np.ndarray
    mirrored: np.ndarray
    cropped: np.ndarray
    recoloured: np.ndarray
    facts: dict[str, Any]

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.a)

    def groups(self, n: int, uids: np.ndarray) -> np.ndarray:
        """Return the group of each of the first n images, (n,) int64, -1 for none.

        Groups are connected: A and C are in one where both are near-duplicates of B. They are
        numbered from 0 by their first image. Copies of one file are near-duplicates, too.

        Args:
            n: How many images there are; pairs with others are left out.
            uids: (n,) sorted strings, in order of the images.
        """
        known = self.b < n
        base = np.array([str(uid)[:32] for uid in uids])
        copies = np.flatnonzero(base[1:] == base[:-1])
        return connected(np.append(self.a[known], copies), np.append(self.b[known], copies + 1), n)


def connected(a: np.ndarray, b: np.ndarray, n: int) -> np.ndarray:
    """Return the group of each of n images that pairs (a, b) connect, (n,) int64, -1 for none.

    Groups are numbered from 0 by their first image.
    """
    edges = sparse.coo_array((np.ones(len(a), dtype=bool), (a, b)), shape=(n, n))
    _, label = csgraph.connected_components(edges, directed=False)
    _, first, which, size = np.unique(
        label, return_index=True, return_inverse=True, return_counts=True
    )
    number = np.full(len(size), -1)
    several = np.flatnonzero(size > 1)
    number[several[np.argsort(first[several])]] = np.arange(len(several))
    return np.asarray(number[which])


def find(
    images: Thumbnails,
    threshold: float = -1.0,
    *,
    device: str = "cpu",
    progress: Progress = silent,
) -> Pairs:
    """Find the pairs of copies among images.

    Images of one colour have no edges to compare; they are like no other. Of images whose
    thumbnails are equal, the first stands for all, and each of the others makes a pair with it.

    Args:
        images: From ``thumbnails``.
        threshold: Correlation that two copies have at least, in [-1, 1].
        device: ``cpu`` or ``cuda``.
        progress: Progress callback.

    Raises:
        ResourceError: If FAISS is not installed.
    """
    first, same = _equal(images)
    # What is looked up and found: the images that stand for those equal to them.
    stands = np.flatnonzero(first == np.arange(len(images)))
    found, decoys, facts = matching.searched(images, stands, device, progress)
    found = found.distinct()
    least, told = _threshold(found, decoys, len(stands), facts.pop("decoy_queries"))
    kept = found.where(_good(found, found, least) & (found.similarity >= threshold))
    again = np.ones(len(same), np.float32)
    a, b = np.append(kept.a, first[same]), np.append(kept.b, same)
    order = np.lexsort((b, a))
    shared = np.minimum(kept.overlap * np.minimum(kept.area, 1 / kept.area), 1.0)

    def column(values: np.ndarray, of_equal: np.ndarray) -> np.ndarray:
        return np.asarray(np.append(values, of_equal)[order])

    mirrored = np.array([flip.across for flip in matching.REAL])
    no = np.zeros(len(same), dtype=bool)
    return Pairs(
        a[order],
        b[order],
        column(kept.similarity, again),
        column(kept.evidence, again * np.float32(registration.most(SIDE))),
        column(mirrored[kept.flip], no),
        column(shared < 1 - CROPPED, no),
        column(kept.change > RECOLOURED, no),
        {**told, **facts},
    )


def _equal(images: Thumbnails) -> tuple[np.ndarray, np.ndarray]:
    """Return the first image that equals each, (N,), and the images that equal an earlier one.

    Images of one colour equal nothing.
    """
    n = len(images)
    _, at, which = np.unique(images.digests(), return_index=True, return_inverse=True)
    first = at[which]
    plain = np.empty(n, dtype=bool)
    for start in range(0, n, 8192):
        part = images.grey[start : start + 8192].reshape(-1, SIDE * SIDE)
        plain[start : start + 8192] = part.max(axis=1) - part.min(axis=1) <= 2
    first = np.where(plain, np.arange(n), first)
    return first, np.flatnonzero(first != np.arange(n))


def _good(pairs: Found, found: Found, least: float) -> np.ndarray:
    """Return which pairs are copies, (P,) bool, given the evidence that they have at least.

    Args:
        pairs: Distinct pairs.
        found: Distinct pairs of images, among which those must stand out.
        least: Evidence.
    """
    ends = np.concatenate([found.a, found.b])
    n = int(max(ends.max(initial=-1), pairs.b.max(initial=-1))) + 1
    crowd = [_fifth(ends, np.tile(values, 2), n) for values in (found.evidence, found.similarity)]
    evidence, similar = (np.maximum(v[pairs.a], v[pairs.b]) for v in crowd)
    clear = 1 - pairs.similarity <= RATIO * (1 - np.maximum(similar, 0.8))
    out = (pairs.evidence >= STANDS_OUT * evidence) | (pairs.evidence >= CERTAIN) | clear
    return np.asarray(
        ((pairs.evidence >= least) & out)
        | (clear & (pairs.similarity >= ALIKE) & (pairs.evidence >= SLIGHT))
    )


def _fifth(ends: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Return the ``CROWD``-th highest value of each of n images, (n,), 0 where there are fewer."""
    order = np.lexsort((-values, ends))
    ends, values = ends[order], values[order]
    last = np.arange(len(ends)) - np.searchsorted(ends, ends) == CROWD - 1
    out = np.zeros(n, dtype=np.float64)
    out[ends[last]] = values[last]
    return out


def _threshold(found: Found, decoys: Found, n: int, asked: int) -> tuple[float, dict[str, Any]]:
    """Return the evidence that copies have, and what is known of its errors.

    The least evidence from ``FLOOR`` on at which decoys, and one more, are at most ``RATE`` of what
    was found, or from ``SURE`` on, at which those that were seen are: target-decoy searches
    estimate false discoveries in this way (Elias & Gygi 2007).

    Args:
        found: Distinct pairs of images.
        decoys: Pairs of images turned upside down.
        n: How many images were looked up.
        asked: How many of them as decoys.
    """
    decoys = decoys.distinct()
    decoys = decoys.where(_good(decoys, found, 0.0))
    found = found.where(_good(found, found, 0.0))
    # What is symmetric is as like a copy of itself when it stands on its head.
    keys, evidence = found.a * np.int64(n + (1 << 40)) + found.b, found.evidence
    wanted = decoys.a * np.int64(n + (1 << 40)) + decoys.b
    at = np.minimum(np.searchsorted(keys, wanted), max(0, len(keys) - 1))
    real = (keys[at] == wanted) & (evidence[at] >= FLOOR) if len(keys) else np.zeros(len(at), bool)
    false = np.sort(decoys.evidence[~real])
    share = n / max(1, asked)
    true = np.sort(evidence)
    steps = np.unique([FLOOR, SURE, *true[(true >= FLOOR) & (true <= CEILING)]])
    passed = (len(false) - np.searchsorted(false, steps)) * share
    number = np.maximum(1, len(true) - np.searchsorted(true, steps))
    # One more than were seen: none among few is no promise.
    good = (passed + share <= RATE * number) | ((passed <= RATE * number) & (steps >= SURE))
    least = float(steps[np.argmax(good)]) if good.any() else CEILING
    step_false = int(len(false) - np.searchsorted(false, least))
    passed_true = int(len(true) - np.searchsorted(true, least))
    return least, {
        "threshold": round(least, 2),
        "false_rate": round(min(1.0, step_false * share / max(1, passed_true)), 6),
        "decoys": step_false,
        "decoy_queries": asked,
    }
