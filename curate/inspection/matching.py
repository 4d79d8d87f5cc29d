"""Matching: which images are like others, how they lie upon each other, what speaks for it.

Windows of an image, and of it turned over, are looked up among all images by two cues (``cues``);
those that are alike are laid upon each other at half size, and those for which something speaks
then at full size (``registration``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from curate.inspection import cues, registration
from curate.inspection.abreast import abreast
from curate.inspection.cues import WHOLE, WINDOWS, Cue, Flip
from curate.inspection.neighbours import Index, searcher
from curate.inspection.summary import IndexUsed
from curate.inspection.thumbnails import SIDE, Thumbnails
from curate.inspection.unfinished import NOTHING_KEPT, Unfinished
from curate.runtime.progress import Progress

REAL = (Flip(), Flip(across=True))
"""How an image is turned over to look for its copies: as it is, and mirrored."""
DECOYS = (Flip(down=True), Flip(across=True, down=True))
"""How it is turned over to see what is alike by chance."""
WHOLE_K, BRIGHT_K, WINDOW_K, CROWD_K = 12, 4, 2, 100
"""How many images are tried for a whole image by edges, by brightness, for each window, and for an
image whose copies are so many that they crowd each other out."""
LIKE = 0.42
"""Cosine of descriptions from which a pair is tried."""
TRIED = 14
"""Pairs of an image that are tried for each way it is turned over, the most alike first."""
BEGUN, HOPEFUL = 2.5, 45.0
"""Evidence at half size from which a pair is laid upon each other there, and from which, after
that, it is at full size."""
ALIKE = (0.8, 0.92, 0.9)
"""Correlations that are as good as that evidence: at half size before and after a pair is laid upon
each other, and at full size. Images with few edges have no more to show."""
COARSE_STEPS, FINE_STEPS = 4, 3
PLAIN = 300.0
"""Evidence from which an image counts as one of a crowd of copies."""
KEPT = 120.0
"""Evidence from which a pair is remembered while the threshold is not known."""
DECOY_QUERIES, DECOY_SHARE = 4000, 0.15
"""Images that are turned upside down: so many, or this share where that is more."""
WINDOWS_EXACT, EXACT, ALL = 1_500, 20_000, 100_000
"""Most images among which those like a window are searched exactly, among more only in inverted
lists; most among which those like a whole image are, among more both by their codes; and most of
which the codes of all are compared with a whole image's, of more only those in inverted lists."""
PROBED, WINDOWS_PROBED = 64, 16
"""Inverted lists that are looked into."""
FIT = 20_000
"""Images that the cues are fitted to."""
FRAME_BLUR = 2
DESCRIBED = 512
BLOCK, PART = 128, 4096
"""Images that are described at a time; that a thread looks up at a time, so few that it stops soon
when it is told to; and whose pairs are kept together once they are found."""
PAIRS = 256


@dataclass(frozen=True)
class Found:
    """P pairs that were laid upon each other.

    Attributes:
        a: (P,) int64 positions of images that were turned over.
        b: (P,) int64 positions of images as they are.
        flip: (P,) int64, which way a was turned over.
        evidence: (P,) float32, as ``registration.Evidence`` has it, times the detail of the one
            with less; and so are ``similarity`` (its correlation), ``area`` and ``overlap``.
        similarity: (P,) float32.
        still: (P,) float32, correlation of the two as they are, without laying one upon the other.
        area: (P,) float32.
        overlap: (P,) float32.
        change: (P,) float32, mean difference of colours, in [0, 255].
        throughout: (P,) float32, from ``registration.throughout``, and so is ``in_part``, of the
            two as they lie upon each other or as they are, whichever is more.
        in_part: (P,) float32.
    """

    a: np.ndarray
    b: np.ndarray
    flip: np.ndarray
    evidence: np.ndarray
    similarity: np.ndarray
    still: np.ndarray
    area: np.ndarray
    overlap: np.ndarray
    change: np.ndarray
    throughout: np.ndarray
    in_part: np.ndarray

    def where(self, kept: np.ndarray) -> Found:
        """Return those at some places, (n,) bool or int64."""
        return Found(*(getattr(self, name)[kept] for name in self.__dataclass_fields__))

    @classmethod
    def joined(cls, parts: list[Found]) -> Found:
        """Return those of all parts, one part after another."""
        names = cls.__dataclass_fields__
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def distinct(self) -> Found:
        """Return each pair once, a below b, sorted, as it was laid with the most evidence.

        Its correlations and shares are the most of any laying: which of two images is laid upon the
        other makes a small difference to them.
        """
        low, high = np.minimum(self.a, self.b), np.maximum(self.a, self.b)
        order = np.lexsort((self.flip, self.a, -self.evidence, high, low))
        low, high = low[order], high[order]
        first = np.append(True, (low[1:] != low[:-1]) | (high[1:] != high[:-1]))[: len(order)]
        starts = np.flatnonzero(first)
        most = {
            name: np.maximum.reduceat(getattr(self, name)[order], starts)
            for name in ("similarity", "still", "throughout", "in_part")
            if len(order)
        }
        return replace(self.where(order[first]), a=low[first], b=high[first], **most)


NOTHING = Found(*(np.empty(0, kind) for kind in (*[np.int64] * 3, *[np.float32] * 8)))


@dataclass(frozen=True)
class Library:
    """All images, as they are looked up.

    Attributes:
        images: The thumbnails.
        frame: (N, 4) uint8, from ``cues.frames``.
        fitted: The cues: edges, brightness.
        half: (N, S / 2, S / 2) uint8, the grey images at half size.
        indices: One for each cue, of ``owner``'s images, and one for windows.
        owner: (M,) int64 positions; framed images are in it twice, once without their frame.
        part: (M, 4) float32, the window of its owner that each is.
        device: Where pairs are laid upon each other.
    """

    images: Thumbnails
    frame: np.ndarray
    half: np.ndarray
    fitted: tuple[Cue, ...]
    indices: tuple[Index, ...]
    owner: np.ndarray
    part: np.ndarray
    device: str

    def grey(self, rows: np.ndarray, *, half: bool = False) -> Tensor:
        """Return grey images, (n, 1, S, S) float, at half size where asked."""
        images = self.half if half else self.images.grey
        return _floats(images[rows][:, None], self.device)

    def seen(self, rows: np.ndarray, *, half: bool = False) -> Tensor:
        """Return where images show something, (n, 1, S, S) float 0 or 1."""
        frame = torch.from_numpy(self.frame[rows].astype(np.int64)).to(self.device)
        if half:
            return cues.seen((frame + 1) // 2, SIDE // 2, FRAME_BLUR // 2)
        return cues.seen(frame, SIDE, FRAME_BLUR)


def searched(
    images: Thumbnails,
    stands: np.ndarray,
    device: str,
    progress: Progress,
    unfinished: Unfinished = NOTHING_KEPT,
) -> tuple[Found, Found, int, IndexUsed]:
    """Search for pairs.

    Args:
        images: All.
        stands: (M,) int64 positions of those that are looked up and found.
        device: Where pairs are laid upon each other.
        progress: Progress callback.
        unfinished: Where parts of the search are kept as they are made, and taken from.

    Returns:
        What was found for images; for decoys; how many of these there were; and how whole images
        were looked up.
    """
    if len(stands) < 2:
        return NOTHING, NOTHING, 0, IndexUsed("flat", None, 0)
    library = library_of(images, stands, device, progress)
    pairs, decoys, decoy_queries = looked_up(library, stands, progress, unfinished)
    return pairs, decoys, decoy_queries, library.indices[0].quality(WHOLE_K)


def looked_up(
    library: Library,
    rows: np.ndarray,
    progress: Progress,
    unfinished: Unfinished = NOTHING_KEPT,
    *,
    with_decoys: bool = True,
) -> tuple[Found, Found, int]:
    """Look images up among all.

    Args:
        library: All.
        rows: (M,) int64 positions of those that are looked up.
        progress: Progress callback.
        unfinished: Where parts of the search are kept as they are made, and taken from.
        with_decoys: Whether some are looked up upside down as well.

    Returns:
        What was found for images; for decoys; and how many of these there were.
    """
    pairs, decoys = [NOTHING], [NOTHING]
    every = max(1, min(int(1 / DECOY_SHARE), len(rows) // DECOY_QUERIES))
    decoy_queries = 0
    progress("copies", 0, len(rows))
    for start in range(0, len(rows), PART):
        some = rows[start : start + PART]
        upside = some[(np.arange(len(some)) + start) % every == 0][: len(some) * with_decoys]
        decoy_queries += len(upside)
        stored = unfinished.part(start)
        if stored is None:
            parts = _part(library, some, upside, start, len(rows), progress)
            unfinished.keep(start, *(vars(part) for part in parts))
        else:
            parts = Found(**stored[0]), Found(**stored[1])
            progress("copies", start + len(some), len(rows))
        for whole, part in zip((pairs, decoys), parts, strict=True):
            whole.append(part)
    return Found.joined(pairs), Found.joined(decoys), decoy_queries


def _part(
    library: Library, rows: np.ndarray, upside: np.ndarray, start: int, n: int, progress: Progress
) -> tuple[Found, Found]:
    """Return what was found for some images, and for those that are turned upside down."""

    def of_block(block: slice) -> tuple[int, list[Found], Found]:
        pairs = [_matched(library, rows[block], REAL)]
        crowded = _crowded(pairs[0])
        if len(crowded):
            pairs.append(_matched(library, crowded, REAL[:1], crowd=True))
        decoys = _matched(library, upside[np.isin(upside, rows[block])], DECOYS)
        return min(block.stop, len(rows)), pairs, decoys

    pairs, decoys = [], []
    with abreast(library.device) as run:
        for end, some, upside_down in run(of_block, _parts(len(rows), BLOCK)):
            pairs += some
            decoys.append(upside_down)
            progress("copies", start + end, n)
    return Found.joined(pairs), Found.joined(decoys)


def _crowded(pairs: Found) -> np.ndarray:
    """Return the images of which so many were found that there may be more."""
    evident = pairs.a[(pairs.evidence >= PLAIN) & (pairs.flip == 0)]
    rows, number = np.unique(evident, return_counts=True)
    return np.asarray(rows[number >= WHOLE_K // 2])


def library_of(images: Thumbnails, stands: np.ndarray, device: str, progress: Progress) -> Library:
    """Describe and index images.

    Args:
        images: All.
        stands: (M,) int64 positions of those that can be found.
        device: Where pairs are laid upon each other.
        progress: Progress callback.
    """
    frame = np.zeros((len(images), 4), dtype=np.uint8)
    half = np.zeros((len(images), SIDE // 2, SIDE // 2), dtype=np.uint8)

    def of_block(block: slice) -> tuple[int, list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        rows = stands[block]
        part = _floats(images.grey[rows][:, None], device)
        half[rows] = F.avg_pool2d(part, 2)[:, 0].round().to(torch.uint8).cpu().numpy()
        frames = cues.frames(part)
        frame[rows] = frames.cpu().numpy()
        framed = (frames.sum(dim=1) > 0).nonzero()[:, 0]
        inner = cues.inner(frames[framed], SIDE)
        both = torch.cat([part, _within(part[framed], inner)])
        values = [cue.describe(cue.measure(both)).cpu().numpy() for cue in fitted]
        owner = [rows, rows[framed.cpu().numpy()]]
        return len(rows), values, owner, [_all(WHOLE, len(rows)), inner.cpu().numpy()]

    described: list[list[np.ndarray]] = [[], []]
    owner, windows, done = [], [], 0
    progress("descriptions", 0, len(stands))
    with abreast(device) as run:
        sample = _floats(images.grey[stands[:: -(-len(stands) // FIT)]][:, None], "cpu")
        fitted: tuple[Cue, ...] = (
            Cue.fitted(sample, edges=True, cells=6, dim=64).to(device),
            Cue.fitted(sample, edges=False, cells=8, dim=48).to(device),
        )
        for number, values, owners, parts in run(of_block, _parts(len(stands), DESCRIBED)):
            for every, some in zip(described, values, strict=True):
                every.append(some)
            owner += owners
            windows += parts
            done += number
            progress("descriptions", done, len(stands))
    points = [np.concatenate(values) for values in described]
    indices = (*map(_index, points), _index(points[0], windows=True))
    return Library(
        images=images,
        frame=frame,
        half=half,
        fitted=fitted,
        indices=indices,
        owner=np.concatenate(owner),
        part=np.concatenate(windows),
        device=device,
    )


def _index(points: np.ndarray, *, windows: bool = False) -> Index:
    """Index descriptions of whole images for such, or for windows."""
    n, most = len(points), CROWD_K + 2
    if n <= EXACT:
        return Index.of(points, most, exact=WINDOWS_EXACT if windows else EXACT)
    if n <= ALL and not windows and searcher() != "faiss-cpu":
        return Index.of(points, most, exact=ALL)
    return Index.coded(points, lists=windows or n > ALL)


def _within(images: Tensor, windows: Tensor) -> Tensor:
    """Return windows (P, 4) of images (P, 1, S, S) at the size of the whole."""
    if not len(images):
        return images
    turn = registration.begin(windows).view(-1, 2, 3)
    grid = F.affine_grid(turn, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False, padding_mode="border")


def _matched(
    library: Library, rows: np.ndarray, flips: tuple[Flip, ...], *, crowd: bool = False
) -> Found:
    """Return what is alike to images, turned over, of those that were indexed."""
    parts = [
        _fitted(library, flip, number, *_candidates(library, rows, flip, crowd=crowd))
        for number, flip in enumerate(flips)
    ]
    return Found.joined(parts)


def _candidates(
    library: Library, rows: np.ndarray, flip: Flip, *, crowd: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs that may be alike, a and b (P,), and the window of a that b may be, (P, 4)."""
    some = library.grey(rows)
    frame = torch.from_numpy(library.frame[rows].astype(np.int64)).to(library.device)
    framed = (frame.sum(dim=1) > 0).nonzero()[:, 0]
    within = flip.of(_within(some[framed], cues.inner(frame[framed], SIDE)))
    inner = _turned(cues.inner(frame[framed], SIDE), flip).cpu().numpy()
    framed_rows = rows[framed.cpu().numpy()]
    candidates = []
    for cue, index in zip(library.fitted, library.indices[:2], strict=True):
        k = (CROWD_K if crowd else WHOLE_K) if cue.edges else BRIGHT_K
        query = cue.describe(cue.measure(some), WHOLE, flip)
        candidates.append(_near(library, index, PROBED, query, k, rows, _all(WHOLE, len(rows))))
        if len(framed) and not crowd:
            query = cue.describe(cue.measure(within))
            candidates.append(_near(library, index, PROBED, query, WINDOW_K, framed_rows, inner))
    if not crowd:
        cue, index, parts = library.fitted[0], library.indices[2], WINDOWS[1:]
        cells = cue.measure(some, parts)
        # One search for all windows takes less time than one for each.
        query = torch.cat([cue.describe(cells, window, flip) for window in parts])
        windows = np.concatenate([_all(window, len(rows)) for window in parts])
        every = np.tile(rows, len(parts))
        candidates.append(_near(library, index, WINDOWS_PROBED, query, WINDOW_K, every, windows))
    a, b, like, window = (np.concatenate([part[k] for part in candidates]) for k in range(4))
    # The best window of each pair alone, and of each image the pairs most alike.
    order = np.lexsort((np.arange(len(a)), -like.round(4), b, a))
    a, b, like, window = a[order], b[order], like[order], window[order]
    first = np.append(True, (a[1:] != a[:-1]) | (b[1:] != b[:-1]))[: len(a)]
    a, b, like, window = a[first], b[first], like[first], window[first]
    order = np.lexsort((b, -like.round(4), a))
    place = np.arange(len(a)) - np.searchsorted(a[order], a[order])
    best = np.sort(order[place < (CROWD_K if crowd else TRIED)])
    return a[best], b[best], window[best]


def _turned(windows: Tensor, flip: Flip) -> Tensor:
    """Return where windows (P, 4) are once the image is turned over."""
    signs = torch.tensor([1.0, 1.0, -1.0 if flip.across else 1.0, -1.0 if flip.down else 1.0])
    return windows * signs.to(windows.device)


def _all(window: cues.Window, n: int) -> np.ndarray:
    return np.broadcast_to(np.array(window, np.float32), (n, 4))


def _near(
    library: Library,
    index: Index,
    probed: int,
    query: Tensor,
    k: int,
    rows: np.ndarray,
    windows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return a, b, cosine and window of what is next to queries of images, but themselves."""
    # An image and its frameless self are the nearest.
    most = min(k + 2, len(library.owner))
    like, near = index.search(query.cpu().numpy(), most, probed=probed)
    other = library.owner[near]
    row = np.broadcast_to(rows[:, None], near.shape)
    similar = (other != row) & (like >= LIKE)
    which = np.broadcast_to(np.arange(len(rows))[:, None], near.shape)[similar]
    return (
        row[similar],
        other[similar],
        like[similar],
        _upon(windows[which], library.part[near[similar]]),
    )


def _upon(windows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which windows (P, 4) others show wholly, of which some windows (P, 4) are alike."""
    size = windows[:, :2] / others[:, :2]
    return np.concatenate([size, windows[:, 2:] - size * others[:, 2:]], axis=1)


def _fitted(
    library: Library, flip: Flip, number: int, a: np.ndarray, b: np.ndarray, window: np.ndarray
) -> Found:
    """Lay pairs upon each other, and return those for which something speaks."""
    parts = [NOTHING]
    place = registration.begin(torch.from_numpy(np.ascontiguousarray(window)))
    for steps, enough, alike in ((0, BEGUN, ALIKE[0]), (COARSE_STEPS, HOPEFUL, ALIKE[1])):
        hopeful = torch.empty(len(a), dtype=torch.bool)
        for part in _parts(len(a), 4 * PAIRS):
            source, goal = library.grey(a[part], half=True), library.grey(b[part], half=True)
            masks = (library.seen(a[part], half=True), library.seen(b[part], half=True))
            source, there = flip.of(source), place[part].to(library.device)
            if steps:
                there = registration.register(source, goal, there, steps).place
                place[part] = there.cpu()
            support = registration.weigh(source, goal, there, flip.of(masks[0]), masks[1])
            hopeful[part] = ((support.evidence >= enough) | (support.correlation >= alike)).cpu()
        mask = hopeful.numpy()
        a, b, place = a[mask], b[mask], place[hopeful]
    for part in _parts(len(a), PAIRS):
        source, goal = flip.of(library.grey(a[part])), library.grey(b[part])
        fit = registration.register(source, goal, place[part].to(library.device), FINE_STEPS)
        seen = flip.of(library.seen(a[part])), library.seen(b[part])
        support = registration.weigh(source, goal, fit.place, *seen)
        # Smooth images drift: as with correlation, they may agree best as they are.
        still = fit.place.new_tensor(registration.IDENTITY).expand_as(fit.place)
        throughout, in_part = (
            torch.maximum(*shares)
            for shares in zip(
                *(registration.throughout(source, goal, at, *seen) for at in (fit.place, still)),
                strict=True,
            )
        )
        colours = library.images.colour
        change = registration.colour_change(
            flip.of(_floats(colours[a[part]], library.device)),
            _floats(colours[b[part]], library.device),
            fit.place,
        )
        detail = np.minimum(library.images.detail[a[part]], library.images.detail[b[part]])
        evidence = support.evidence.cpu().numpy() * detail
        correlation, area, overlap = (
            v.cpu().numpy().round(4) for v in (support.correlation, support.area, support.overlap)
        )
        pairs = Found(
            a=a[part],
            b=b[part],
            flip=np.full(len(detail), number),
            evidence=evidence.round(2),
            similarity=correlation,
            still=registration.correlated(source, goal).cpu().numpy().round(4),
            area=area,
            overlap=overlap,
            change=change.cpu().numpy().round(2),
            throughout=throughout.cpu().numpy().round(4),
            in_part=in_part.cpu().numpy().round(4),
        )
        parts.append(pairs.where((evidence >= KEPT) | (correlation >= ALIKE[2])))
    return Found.joined(parts)


def _parts(n: int, size: int) -> Iterator[slice]:
    yield from (slice(start, start + size) for start in range(0, n, size))


def _floats(images: np.ndarray, device: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).to(device).float()
