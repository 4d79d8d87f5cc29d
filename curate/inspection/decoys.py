"""Decoys: how much must speak for a pair, learned from images turned upside down.

They are as detailed and as alike by chance as the others, but copies of nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from curate.inspection.matching import Found

FLOOR, SURE, CEILING = 300.0, 500.0, 1200.0
"""Evidence that a pair of copies has at least, however few decoys there are; that it has where so
few were seen that they say nothing; and that is enough however many there are: among images that
are alike when turned upside down, decoys are copies."""
LITTLE, UNLIKE = 500.0, 0.8
"""Pairs with less evidence than this must correlate at least so much, too."""
MOSTLY, NEARLY_ALL = 0.8, 0.95
"""Share of the edges around which a pair agrees at least, in the whole; or else in part or blurred,
where more is asked of less."""
RATE = 0.02
"""Share of false pairs that the threshold aims at."""
CROWD, STANDS_OUT, CERTAIN, RATIO, UNKNOWN = 5, 2.5, 1100.0, 0.3, 0.9
"""A pair stands out in one of three ways. It has so many times the evidence of the fifth most alike
picture of either image; or it has so much that this does not matter; or what its correlation lacks
to 1, laid upon each other or as the two are, is at most that share of what the fifth's lacks (as
Lowe 2004 tests matches, section 7.1). Images of one kind, such as shirts laid out in one way, are
alike without being copies, and none of them is so upside down. Evident copies of one picture count
once, and copies of an image's own picture do not count. Where fewer than five pictures are alike,
the fifth's correlation is taken for the last of these numbers: few are known below it."""
ALIKE, SLIGHT = 0.95, 80.0
"""Correlation from which a pair that stands out by it needs no more evidence than that."""
STEEPEST = 0.75
"""Most that the number of pairs of a kind is thought to keep from one quarter of the threshold to
the next."""
RULE = (
    "laid upon each other, mirrored or not, the edges of the two agree more than those of images "
    f"turned upside down do, of which the threshold lets {RATE:.0%} as many through as pairs, "
    "more than those of the fifth most alike picture, and almost everywhere; "
    "their pixels correlate by inspect.duplicate_threshold or more; groups are connected pairs"
)


@dataclass(frozen=True)
class Learned:
    """What decoys tell.

    Attributes:
        least: Evidence that copies have.
        passed: Decoys that have as much.
        false_rate: Share of false pairs to expect, in [0, 1]: what decoys say, or how many pairs
            lie below the threshold, whichever is more.
    """

    least: float
    passed: int
    false_rate: float


def stand_out(pairs: Found, found: Found, least: float) -> np.ndarray:
    """Return which pairs are copies, (P,) bool, given the evidence that they have at least.

    Args:
        pairs: Distinct pairs.
        found: Distinct pairs of images, among which those must stand out.
        least: Evidence.
    """
    others = _Others.of(found, int(max(found.b.max(initial=-1), pairs.b.max(initial=-1))) + 1)
    fifth = others.fifth(found.evidence)
    enough = pairs.evidence >= STANDS_OUT * np.maximum(fifth[pairs.a], fifth[pairs.b])
    enough |= pairs.evidence >= CERTAIN
    alike = np.zeros(len(pairs.a), dtype=bool)
    for own, of_others in ((pairs.similarity, found.similarity), (pairs.still, found.still)):
        fifth = np.maximum(others.fifth(of_others), UNKNOWN)
        clear = 1 - own <= RATIO * (1 - np.maximum(fifth[pairs.a], fifth[pairs.b]))
        enough |= clear
        alike |= clear & (own >= ALIKE)
    enough &= (pairs.evidence >= LITTLE) | (pairs.similarity >= UNLIKE)
    enough = ((pairs.evidence >= least) & enough) | (alike & (pairs.evidence >= SLIGHT))
    return np.asarray(enough & _all_over(pairs))


def _all_over(pairs: Found) -> np.ndarray:
    """Return which pairs agree all over, (P,) bool."""
    return np.asarray((pairs.throughout >= MOSTLY) | (pairs.in_part >= NEARLY_ALL))


@dataclass(frozen=True)
class _Others:
    """What each of n images is like, where evident copies of one picture count as one.

    An image that has many copies is like all of them, and each of them like all others.

    Attributes:
        end: (2P,) int64, the images of pairs.
        picture: (2P,) int32, which picture the other image of the pair is.
        own: (2P,) bool, whether that is the image's own.
        n: Number of images.
    """

    end: np.ndarray
    picture: np.ndarray
    own: np.ndarray
    n: int

    @classmethod
    def of(cls, found: Found, n: int) -> _Others:
        """Return what images are like by the pairs that were found."""
        sure = (found.evidence >= CERTAIN) & _all_over(found)
        edges = sparse.coo_array((sure[sure], (found.a[sure], found.b[sure])), shape=(n, n))
        _, picture = csgraph.connected_components(edges, directed=False)
        end = np.concatenate([found.a, found.b])
        of_other = picture[np.concatenate([found.b, found.a])]
        return cls(end, of_other, of_other == picture[end], n)

    def fifth(self, values: np.ndarray) -> np.ndarray:
        """Return the ``CROWD``-th highest value of each image, (n,), 0 where there are fewer.

        Args:
            values: (P,) of pairs.
        """
        out = np.zeros(self.n, dtype=np.float64)
        both = np.tile(values, 2)
        order = np.lexsort((-both, self.picture, self.end))
        order = order[~self.own[order]]
        end, picture = self.end[order], self.picture[order]
        best = np.append(True, (end[1:] != end[:-1]) | (picture[1:] != picture[:-1]))[: len(order)]
        order = order[best]
        order = order[np.lexsort((-both[order], self.end[order]))]
        end = self.end[order]
        last = np.arange(len(end)) - np.searchsorted(end, end) == CROWD - 1
        out[end[last]] = both[order[last]]
        return out


def threshold(
    found: Found, decoys: Found, n: int, asked: int, *, correlation: float = -1.0
) -> Learned:
    """Return the evidence that copies have, and what is known of its errors.

    The least evidence from ``FLOOR`` on at which decoys, and one more, are at most ``RATE`` of what
    was found, or from ``SURE`` on, at which those that were seen are: target-decoy searches
    estimate false discoveries in this way (Elias & Gygi 2007).

    Args:
        found: Distinct pairs of images.
        decoys: Pairs of images turned upside down.
        n: How many images were looked up.
        asked: How many of them as decoys.
        correlation: What copies have at least besides.
    """
    decoys = decoys.distinct()
    decoys = decoys.where(stand_out(decoys, found, 0.0) & (decoys.similarity >= correlation))
    every = found
    found = found.where(stand_out(found, found, 0.0) & (found.similarity >= correlation))
    # What is symmetric is as like a copy of itself when it stands on its head.
    keys, evidence = found.a * np.int64(n + (1 << 40)) + found.b, found.evidence
    decoy_keys = decoys.a * np.int64(n + (1 << 40)) + decoys.b
    at = np.minimum(np.searchsorted(keys, decoy_keys), max(0, len(keys) - 1))
    real = (
        (keys[at] == decoy_keys) & (evidence[at] >= FLOOR) if len(keys) else np.zeros(len(at), bool)
    )
    false = np.sort(decoys.evidence[~real])
    share = n / max(1, asked)
    true = np.sort(evidence)
    steps = np.unique([FLOOR, SURE, *true[(true >= FLOOR) & (true <= CEILING)]])
    passed = (len(false) - np.searchsorted(false, steps)) * share
    number = np.maximum(1, len(true) - np.searchsorted(true, steps))
    # One more than were seen: none among few is no promise.
    good = (passed + share <= RATE * number) | ((passed <= RATE * number) & (steps >= SURE))
    least = float(steps[np.argmax(good)]) if good.any() else CEILING
    passed_false = int(len(false) - np.searchsorted(false, least))
    copies = stand_out(found, every, least) & (found.similarity >= correlation)
    wrong = max(passed_false * share, _beyond(evidence[~copies], least))
    rate = round(min(1.0, wrong / max(1, int(copies.sum()))), 6)
    return Learned(least, passed_false, rate)


def _beyond(evidence: np.ndarray, least: float) -> float:
    """Return how many pairs of a kind to expect above the threshold, from those that lie below.

    Images of one kind, such as cars on white, are more alike than an image and one upside down, so
    that decoys miss them. Below the threshold hardly anything else is left, and its number falls
    about geometrically: from the third quarter of the threshold to the fourth by a ratio r, so that
    r + r^2 + ... of the fourth's are to be expected beyond. Copies that lie below make it too high.

    Args:
        evidence: (P,) of pairs that stand out and lack evidence.
        least: The threshold.
    """
    third, fourth = (
        int(((evidence >= low * least) & (evidence < high * least)).sum())
        for low, high in ((0.5, 0.75), (0.75, 1.0))
    )
    ratio = min(STEEPEST, fourth / max(1, third))
    return fourth * ratio / (1 - ratio)
