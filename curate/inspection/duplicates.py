"""Copies: images that are one picture, re-encoded, cropped, mirrored, recoloured or framed.

They are found in pixels, so that the answer does not depend on how good an encoder is. Windows of
every image and of its mirror image are looked up among all images by two cues (``cues``), each pair
that is alike is laid upon each other (``registration``), and what speaks for one picture is counted
in edges. How much is enough is learned from pairs that cannot be copies: the same search for images
turned upside down, which are as detailed and as alike by chance, but copies of nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from curate.inspection import decoys, matching, registration
from curate.inspection.summary import CopySearch, IndexUsed
from curate.inspection.thumbnails import SIDE, Thumbnails
from curate.inspection.unfinished import Unfinished
from curate.runtime import versions
from curate.runtime.progress import Progress, silent

CROPPED, RECOLOURED = 0.1, 10.0
"""Share of an image's area, and mean difference of its colours in levels of 255, from which a copy
is called cropped or recoloured."""

_latest: dict[tuple[str, bytes], tuple[matching.Found, matching.Found, int, IndexUsed]] = {}
"""The last search of this process: inspection and probes of a run ask for the same one."""


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
        search: How they were searched for.
    """

    a: np.ndarray
    b: np.ndarray
    similarity: np.ndarray
    evidence: np.ndarray
    mirrored: np.ndarray
    cropped: np.ndarray
    recoloured: np.ndarray
    search: CopySearch

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
        inside = self.b < n
        base = np.array([str(uid)[:32] for uid in uids])
        copies = np.flatnonzero(base[1:] == base[:-1])
        return connected(
            np.append(self.a[inside], copies), np.append(self.b[inside], copies + 1), n
        )


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
    home: Path | None = None,
    of: np.ndarray | None = None,
) -> Pairs:
    """Find the pairs of copies among images.

    Images of one colour have no edges to compare; they are like no other. Of images whose
    thumbnails are equal, the first stands for all, and each of the others makes a pair with it.

    Args:
        images: From ``thumbnails``.
        threshold: Correlation that two copies have at least, in [-1, 1].
        device: ``cpu`` or ``cuda``.
        progress: Progress callback.
        home: Folder in which an unfinished search is kept, for the same search to go on with.
        of: (Q,) int64 positions of images; only pairs with one of them are asked for, which takes
            time by their number and by how many are like them. What is enough is learned from them
            alone, and which images are copies of one picture from them and those, so that a few
            pairs may be missing of an image that has many copies. None: all.

    Raises:
        ResourceError: If FAISS is not installed.
    """
    digests = images.digests()
    first, same = _equal(images, digests)
    # What is looked up and found: the images that stand for those equal to them.
    stands = np.flatnonzero(first == np.arange(len(images)))
    pairs, cutoff, decoy_queries, index = (
        _all(images, stands, digests, threshold, device, progress, home)
        if of is None
        else _of_some(images, stands, first[of], threshold, device, progress)
    )
    if of is not None:
        same = same[np.isin(same, of) | np.isin(first[same], of)]
    again = np.ones(len(same), np.float32)
    a, b = np.append(pairs.a, first[same]), np.append(pairs.b, same)
    order = np.lexsort((b, a))
    shared = np.minimum(pairs.overlap * np.minimum(pairs.area, 1 / pairs.area), 1.0)

    def column(values: np.ndarray, of_equal: np.ndarray) -> np.ndarray:
        return np.asarray(np.append(values, of_equal)[order])

    mirrored = np.array([flip.across for flip in matching.REAL])
    no = np.zeros(len(same), dtype=bool)
    return Pairs(
        a[order],
        b[order],
        column(pairs.similarity, again),
        column(pairs.evidence, again * np.float32(registration.most(SIDE))),
        column(mirrored[pairs.flip], no),
        column(shared < 1 - CROPPED, no),
        column(pairs.change > RECOLOURED, no),
        CopySearch(
            threshold=round(cutoff.least, 2),
            false_rate=cutoff.false_rate,
            decoys=cutoff.passed,
            decoy_queries=decoy_queries,
            index=index,
        ),
    )


def _all(
    images: Thumbnails,
    stands: np.ndarray,
    digests: np.ndarray,
    threshold: float,
    device: str,
    progress: Progress,
    home: Path | None,
) -> tuple[matching.Found, decoys.Learned, int, IndexUsed]:
    """Return the copies among all images, what was learned, from how many decoys, and the index."""
    key = (device, hashlib.sha256(digests.tobytes() + images.detail.tobytes()).digest())
    if key not in _latest:
        code = versions.of_stage("inspect")
        unfinished = Unfinished.of(home, f"{device} {key[1].hex()} {sorted(code.items())}")
        searched = matching.searched(images, stands, device, progress, unfinished)
        _latest.clear()
        _latest[key] = searched
        unfinished.end()
    matches, upside, decoy_queries, index = _latest[key]
    cutoff = decoys.threshold(
        matches.distinct(), upside, len(stands), decoy_queries, correlation=threshold
    )
    return _copies(matches, cutoff.least, threshold), cutoff, decoy_queries, index


def _of_some(
    images: Thumbnails,
    stands: np.ndarray,
    of: np.ndarray,
    threshold: float,
    device: str,
    progress: Progress,
) -> tuple[matching.Found, decoys.Learned, int, IndexUsed]:
    """Return the copies of some images among all, and the same besides."""
    rows = np.unique(of)
    if len(stands) < 2 or not len(rows):
        return matching.NOTHING, decoys.Learned(decoys.SURE, 0, 0.0), 0, IndexUsed("flat", None, 0)
    library = matching.library_of(images, stands, device, progress)
    matches, upside, decoy_queries = matching.looked_up(library, rows, progress)
    cutoff = decoys.threshold(
        matches.distinct(), upside, len(rows), decoy_queries, correlation=threshold
    )

    # A pair has to stand out from what the other of the two is like as well, and what that is like
    # says which of them are copies of one picture.
    others = np.setdiff1d(np.append(matches.a, matches.b), rows)
    if len(others):
        more, _, _ = matching.looked_up(library, others, progress, with_decoys=False)
        matches = matching.Found.joined([matches, more])
    pairs = _copies(matches, cutoff.least, threshold)
    pairs = pairs.where(np.isin(pairs.a, rows) | np.isin(pairs.b, rows))
    return pairs, cutoff, decoy_queries, library.indices[0].quality(matching.WHOLE_K)


def _copies(matches: matching.Found, least: float, correlation: float) -> matching.Found:
    """Return the distinct pairs with enough evidence and correlation that stand out."""
    pairs = matches.distinct()
    return pairs.where(decoys.stand_out(pairs, pairs, least) & (pairs.similarity >= correlation))


def _equal(images: Thumbnails, digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first image that equals each, (N,), and the images that equal an earlier one.

    Images of one colour equal nothing.
    """
    n = len(images)
    _, at, which = np.unique(digests, return_index=True, return_inverse=True)
    first = at[which]
    plain = np.empty(n, dtype=bool)
    for start in range(0, n, 8192):
        part = images.grey[start : start + 8192].reshape(-1, SIDE * SIDE)
        plain[start : start + 8192] = part.max(axis=1) - part.min(axis=1) <= 2
    first = np.where(plain, np.arange(n), first)
    return first, np.flatnonzero(first != np.arange(n))
