"""Alignment: how far an encoder's representations of random views of a sample lie apart (Eq. 1)."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch

from curate.encoders.backbone import allow_tf32, in_bfloat16
from curate.encoders.compiled import Compiled
from curate.encoders.feed import feed_of
from curate.encoders.representation import distance, flattened, represent
from curate.encoders.views.apply import view_of
from curate.encoders.views.draws import Draws, hash64
from curate.runtime import randomness
from curate.scores.config import ScoreConfig

if TYPE_CHECKING:
    from curate.encoders.backbone import Encoder
    from curate.encoders.views import ViewSpec

HELD_BYTES = 1 << 30
"""Representations held at a time stay below this, whatever the views and the encoder."""
TOGETHER = 10
"""Views that are drawn at a time."""
AT_ONCE = 2048
"""Most images that go through an encoder at a time on a card, several views of a batch among them:
a small network takes hardly longer for many. A CPU takes one view after the other."""


@dataclass(frozen=True)
class Alignment:
    """Alignment of one encoder on n samples.

    Attributes:
        align: (n,) float64, mean distance over the view pairs, 0 = views coincide; at most 2 for
            l2 and cosine, pi for angular.
        leave_one_out: (n, K) float32, the same without view k; (n, 0) for a single view.
    """

    align: np.ndarray
    leave_one_out: np.ndarray

    @property
    def se(self) -> np.ndarray:
        """Jackknife standard error over the views, (n,) float64; NaN for a single view."""
        k = self.leave_one_out.shape[1]
        if k < 2:
            return np.full(len(self.align), np.nan)
        spread = self.leave_one_out.astype(np.float64).var(axis=1)
        error: np.ndarray = np.sqrt((k - 1) * spread)
        return error

    def to_table(self, uids: np.ndarray, n_views: int) -> pa.Table:
        """Return uid, align, se, n_views and leave_one_out as a table."""
        n, k = self.leave_one_out.shape
        flat = pa.array(self.leave_one_out.ravel(), pa.float32())
        replicates = pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32) * k, flat)
        return pa.table(
            {
                "uid": pa.array(uids).cast(pa.string()),
                "align": self.align,
                "se": pa.array(self.se, from_pandas=True),
                "n_views": np.full(n, n_views, dtype=np.int32),
                "leave_one_out": replicates,
            }
        )

    @classmethod
    def from_table(cls, table: pa.Table) -> Alignment:
        """Return what ``to_table`` stored."""
        replicates = table["leave_one_out"].combine_chunks()
        flat = replicates.values.to_numpy(zero_copy_only=False)
        n = table.num_rows
        return cls(
            align=table["align"].to_numpy(),
            leave_one_out=flat.reshape(n, len(flat) // n if n else 0),
        )


def align_images(
    encoders: Mapping[str, Encoder],
    images: np.ndarray,
    keys: np.ndarray,
    spec: ViewSpec,
    config: ScoreConfig,
    *,
    representation: str,
    device: str,
    centres: Mapping[str, torch.Tensor] | None = None,
    compiles: bool = False,
) -> dict[str, Alignment]:
    """Return the alignment of every encoder on the same views of the same images.

    A view is a pure function of (score seed, sample, view), so that the result depends neither on
    the batch size nor on the order of the images.

    Args:
        encoders: Modules by name, in evaluation mode on ``device``.
        images: (n, C, H, W) uint8.
        keys: (n,) uint64 from ``randomness.uid_keys``.
        spec: The measuring views.
        config: The recipe's ``score`` section.
        representation: ``full`` (flattened tokens) or ``pooled`` (their mean).
        device: Where to compute.
        centres: (D,) of each encoder, from ``centres_of``; None takes nothing off.
        compiles: Whether encoders are compiled, for this process (``compiled.measuring_pays``).
    """
    key = randomness.stream(config.seed, "measure")
    allow_tf32(config.precision)
    size, groups, at_once = _held(encoders, config, representation, device)
    rows, steps = np.arange(len(images)), -(-len(images) // size)
    feed = feed_of(images, rows, lambda k: rows[k * size : (k + 1) * size], steps=steps,
                   device=device)  # fmt: skip
    states = hash64(key, torch.from_numpy(keys.astype(np.int64)).to(device))
    apart: dict[str, list[torch.Tensor]] = {name: [] for name in encoders}
    for step in range(steps):
        places, pixels = feed.take(step)
        n = len(pixels)
        if compiles and n < size:
            # What was compiled takes batches of one size.
            filled = torch.arange(size, device=pixels.device) % n
            places, pixels = places[filled], pixels[filled]
        with torch.inference_mode():
            # Here too: a compiler tells tensors of this mode from others.
            clean = pixels.float() / 255
        for group in groups:
            with torch.inference_mode():
                drawn = _drawn(key, states[places], config.views)
                views = (view_of(clean, spec, d) for d in drawn)
                by_encoder = distances(
                    group, clean, views, config, representation, centres, at_once=at_once,
                    see=compiled_represent() if compiles else represent,
                )  # fmt: skip
            for name, of_batch in by_encoder.items():
                apart[name].append(of_batch[:n])
    k = config.views
    empty = Alignment(np.zeros(0), np.zeros((0, k if k > 1 else 0), np.float32))
    out = {}
    for name, batches in apart.items():
        # A card works ahead until here: the distances of all batches come back at once.
        d = torch.cat(batches).double().cpu().numpy() if batches else None
        both = _anchored if config.pairing == "anchored" else _all_pairs
        out[name] = empty if d is None else Alignment(*both(d, k))
    return out


def centres_of(
    encoders: Mapping[str, Encoder],
    images: np.ndarray,
    config: ScoreConfig,
    *,
    representation: str,
    device: str,
) -> dict[str, torch.Tensor]:
    """Return the mean representation of clean images by each encoder, (D,) float32 on ``device``.

    All representations of an encoder point one way, by its bias; without that way distances show
    more of what differs between images.

    Args:
        encoders: As in ``align_images``, and so are the others.
        images: (n, C, H, W) uint8, n > 0.
        config: The recipe's ``score`` section.
        representation: ``full`` or ``pooled``.
        device: Where to compute.
    """
    total: dict[str, torch.Tensor] = {}
    allow_tf32(config.precision)
    size = _held(encoders, config, representation, device)[0]
    for start in range(0, len(images), size):
        batch = np.ascontiguousarray(images[start : start + size])
        clean = torch.from_numpy(batch).to(device).float() / 255
        with torch.inference_mode(), _lower(config, clean.device.type):
            for name, encoder in encoders.items():
                part = flattened(encoder, clean, representation).double().sum(dim=0)
                total[name] = total[name] + part if name in total else part
    return {name: (value / len(images)).float() for name, value in total.items()}


@functools.cache
def compiled_represent() -> Callable[..., torch.Tensor]:
    """Return ``represent``, compiled once for all encoders of one kind."""
    return Compiled(represent)


def _lower(config: ScoreConfig, device: str) -> torch.autocast:
    """Return the context in which encoders run in bfloat16, where that is asked for."""
    return torch.autocast(
        device, dtype=torch.bfloat16, enabled=in_bfloat16(config.precision, device)
    )


def _held(
    encoders: Mapping[str, Encoder], config: ScoreConfig, representation: str, device: str
) -> tuple[int, list[dict[str, Encoder]], int]:
    """Return images of a batch, groups of encoders, and views that go through one at once.

    The batch is what one encoder can have whose representations ``HELD_BYTES`` hold, however many
    there are; every group sees it anew.
    """
    largest = max((_dim(e, representation) for e in encoders.values()), default=1)
    kept = config.views if config.pairing == "all" else 2
    size = max(1, min(config.batch_size, HELD_BYTES // (4 * largest * kept)))
    at_once = 1
    if device != "cpu":
        # Those that go through stay below the same bound, beside those that are kept.
        room = min(AT_ONCE, HELD_BYTES // (4 * largest)) // size
        at_once = max(1, min(config.views + 1, room))
    together = max(1, HELD_BYTES // (4 * largest * kept * size))
    names = list(encoders)
    groups = [names[i : i + together] for i in range(0, len(names), together)]
    return size, [{name: encoders[name] for name in group} for group in groups], at_once


def _drawn(key: int, state: torch.Tensor, views: int) -> Iterator[Draws]:
    """Yield the draws of views 1 to ``views``, some of them made together."""
    for first in range(1, views + 1, TOGETHER):
        yield from Draws.of_views(key, state, first, min(TOGETHER, views + 1 - first))


def _dim(encoder: Encoder, representation: str) -> int:
    return encoder.dim if representation == "pooled" else encoder.dim * encoder.tokens


def distances(
    encoders: Mapping[str, Encoder],
    clean: torch.Tensor,
    views: Iterable[torch.Tensor],
    config: ScoreConfig,
    representation: str,
    centres: Mapping[str, torch.Tensor] | None = None,
    *,
    at_once: int = 1,
    see: Callable[..., torch.Tensor] = represent,
) -> dict[str, torch.Tensor]:
    """Return how far apart each encoder puts the views of a batch, on the device.

    Args:
        encoders: Modules by name, in evaluation mode.
        clean: (B, C, H, W) float in [0, 1].
        views: K views of them, the same; each is made when it is asked for.
        config: Gives pairing, distance and precision.
        representation: As in ``align_images``.
        centres: As in ``align_images``.
        at_once: Views that go through an encoder at a time, the clean one among them.
        see: ``represent``, or the same compiled.

    Returns:
        By encoder (B, K) float32, the distances to the clean view (``anchored``), or
        (B, K(K-1)/2), those of the pairs i < j of views (``all``).
    """

    def z_of(name: str, shown: torch.Tensor) -> torch.Tensor:
        centre = None if centres is None else centres[name]
        with _lower(config, shown.device.type):
            return see(encoders[name], shown, representation, centre)

    anchored = config.pairing == "anchored"
    shown = itertools.chain([clean], views) if anchored else iter(views)
    anchors: dict[str, torch.Tensor] = {}
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in encoders}
    while batch := list(itertools.islice(shown, at_once)):
        pixels = batch[0] if len(batch) == 1 else torch.cat(batch)
        for name in encoders:
            for z in torch.split(z_of(name, pixels), len(clean)):
                if not anchored:
                    seen[name].append(z)
                elif name in anchors:
                    seen[name].append(distance(anchors[name], z, config.distance))
                else:
                    # Not with the other views' memory.
                    anchors[name] = z if len(batch) == 1 else z.clone()
    if not anchored:
        seen = {
            name: [distance(a, b, config.distance) for a, b in itertools.combinations(z, 2)]
            for name, z in seen.items()
        }
    return {name: torch.stack(d, dim=1) for name, d in seen.items()}


def _anchored(d: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of (B, K) distances to the clean view, and its leave-one-out means."""
    total = d.sum(axis=1)
    left_out = (total[:, None] - d) / (k - 1) if k > 1 else d[:, :0]
    return total / k, left_out.astype(np.float32)


def _all_pairs(d: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of the distances of the K(K-1)/2 pairs of views, and that without view k."""
    total = np.zeros(len(d))
    touching = np.zeros((len(d), k))
    for (i, j), apart in zip(itertools.combinations(range(k), 2), d.T, strict=True):
        total += apart
        touching[:, i] += apart
        touching[:, j] += apart
    pairs = k * (k - 1) / 2
    left = (k - 1) * (k - 2) / 2
    left_out = (total[:, None] - touching) / left if left else touching[:, :0]
    return total / pairs, left_out.astype(np.float32)
