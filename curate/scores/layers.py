"""Where in an encoder memorization lies: LayerMem and UnitMem of a pair (arXiv 2409.19069).

Both are measured in forward passes, without labels, a batch of samples at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from curate.encoders.backbone import Encoder
from curate.encoders.representation import distance
from curate.encoders.views import ViewSpec
from curate.encoders.views.apply import augment
from curate.runtime import randomness
from curate.runtime.intervals import t_quantile
from curate.runtime.results import Result
from curate.scores.alignment import HELD_BYTES
from curate.scores.config import ScoreConfig


@dataclass(frozen=True)
class Layer:
    """A place in a network where its representation is read.

    Attributes:
        name: As in ``net.named_modules()``, with ``.attn`` and ``.mlp`` for the halves of a block;
            ``conv1`` and so on in a plain stack.
        stream: The module whose output, or input, is the layer's representation.
        before: Whether it is the input.
        units: The module whose output has the layer's units; None where it has none of its own.
    """

    name: str
    stream: nn.Module
    before: bool
    units: nn.Module | None


def layers_of(encoder: Encoder) -> list[Layer]:
    """Return the layers of an encoder from the images on.

    Convolutions: after each activation of a plain stack; the stem and each residual block of a
    residual network; units are channels. Vision Transformers: each block after its attention and
    after its fully-connected half, whose hidden neurons are the units.
    """
    net = encoder.net
    if hasattr(net, "blocks"):
        out = []
        for i, block in enumerate(net.blocks.children()):  # type: ignore[union-attr]
            # What enters the second normalisation is the stream with the attention's part in it.
            out.append(Layer(f"blocks.{i}.attn", block.norm2, True, None))
            units = block.mlp.act
            out.append(Layer(f"blocks.{i}.mlp", block, False, units))
        return out
    named = dict(net.named_modules())
    if hasattr(net, "layer1"):
        blocks = [f"layer{s}.{b}" for s in range(1, 5) for b, _ in enumerate(named[f"layer{s}"])]
        return [Layer(name, named[name], False, named[name]) for name in ("act1", *blocks)]
    chosen = [module for module in net.modules() if isinstance(module, nn.ReLU)]
    return [Layer(f"conv{i}", module, False, module) for i, module in enumerate(chosen, 1)]


@dataclass(frozen=True)
class Seen:
    """What one forward pass shows.

    Attributes:
        streams: For each layer (B, D), flattened and scaled to length 1.
        units: For each layer (B, U), the mean over positions of the positive part of each unit's
            activation; (B, 0) where the layer has no units.
    """

    streams: list[Tensor]
    units: list[Tensor]


def look(encoder: Encoder, layers: Sequence[Layer], pixels: Tensor) -> Seen:
    """Return what layers show of images (B, C, H, W), float in [0, 1]."""
    streams, units = {}, {}

    def read(name: str, value: Tensor) -> None:
        flat = value.float().flatten(1)
        streams[name] = nn.functional.normalize(flat, dim=1)

    def count(name: str, value: Tensor) -> None:
        positive = value.float().clamp(min=0)
        # Feature maps have their units second, tokens have them last.
        units[name] = positive.mean(dim=(2, 3) if positive.ndim == 4 else 1)

    with ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(_hook(layer.stream, layer.name, read, before=layer.before))
            if layer.units is not None:
                hooks.enter_context(_hook(layer.units, layer.name, count, before=False))
        encoder.forward_float(pixels)
    none = pixels.new_zeros((len(pixels), 0))
    return Seen([streams[x.name] for x in layers], [units.get(x.name, none) for x in layers])


@contextmanager
def _hook(module: nn.Module, name: str, call: Any, *, before: bool) -> Iterator[None]:
    """Hand what enters or leaves a module to ``call`` while the context is open."""
    if before:
        handle = module.register_forward_pre_hook(lambda _, inputs: call(name, inputs[0]))
    else:
        handle = module.register_forward_hook(lambda _, __, output: call(name, output))
    try:
        yield
    finally:
        handle.remove()


class Units:
    """UnitMem of U units, gathered over batches of samples (arXiv 2409.19069).

    With ``mu(x)`` a unit's mean activation over the views of x, ``mu_max`` the largest over the
    samples and ``mu_rest`` the mean over all others,
    ``unit_mem = (mu_max - mu_rest) / (mu_max + mu_rest)``: 0 = all samples excite the unit alike,
    1 = one sample alone does. NaN for a unit that none excites. The paper's text has the mean of
    the others, as here; its authors' code takes their median.
    """

    def __init__(self, n_units: int) -> None:
        self.sum, self.n = np.zeros(n_units), 0
        self.highest, self.of = np.full(n_units, -np.inf), np.zeros(n_units, dtype=np.int64)

    def add(self, mu: np.ndarray) -> None:
        """Take in the activations (B, U) >= 0 of the next B samples; of equals the first counts."""
        if not mu.shape[1]:
            return
        place, top = mu.argmax(axis=0), mu.max(axis=0)
        better = top > self.highest
        self.of[better], self.highest[better] = self.n + place[better], top[better]
        self.sum += mu.sum(axis=0, dtype=np.float64)
        self.n += len(mu)

    def rest(self) -> np.ndarray:
        """Return ``mu_rest``, (U,)."""
        rest: np.ndarray = np.maximum((self.sum - self.highest) / max(self.n - 1, 1), 0.0)
        return rest

    def values(self) -> np.ndarray:
        """Return ``unit_mem``, (U,)."""
        total = self.highest + self.rest()
        out = np.full(len(self.sum), np.nan)
        np.divide(self.highest - self.rest(), total, out=out, where=total > 0)
        return out


@dataclass(frozen=True)
class LayerMeasurement:
    """What was measured of L layers on n samples.

    Attributes:
        names: Of the layers.
        dims: Lengths of their flattened outputs.
        align: (2, L, n) float64, alignment of each layer of f and g.
        units: For f and g, UnitMem of each layer.
    """

    names: list[str]
    dims: list[int]
    align: np.ndarray
    units: list[list[Units]]


def measure(
    pair: Sequence[Encoder],
    images: np.ndarray,
    rows: np.ndarray,
    keys: np.ndarray,
    spec: ViewSpec,
    config: ScoreConfig,
    *,
    progress: Any,
) -> LayerMeasurement:
    """Return alignments and unit activations of both encoders on the same views.

    Args:
        pair: f and g, in evaluation mode.
        images: (M, C, H, W) uint8, of which ``rows`` (n,) are measured.
        rows: (n,) int64.
        keys: (n,) uint64 from ``randomness.uid_keys``.
        spec: The measuring views.
        config: The recipe's ``score`` section: views, pairing, distance, seed.
        progress: Progress callback.
    """
    device = next(pair[0].parameters()).device
    places = [layers_of(encoder) for encoder in pair]
    with torch.inference_mode():
        probe = torch.zeros((1, *images.shape[1:]), device=device)
        shown = look(pair[0], places[0], probe)
    dims = [stream.shape[1] for stream in shown.streams]
    units = [[Units(u.shape[1]) for u in shown.units] for _ in pair]
    align = np.empty((2, len(dims), len(rows)))
    held = config.views if config.pairing == "all" else 2
    size = max(1, min(config.batch_size, HELD_BYTES // (4 * sum(dims) * held)))
    key = randomness.stream(config.seed, "measure")
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        pixels = torch.from_numpy(np.ascontiguousarray(images[rows[part]])).to(device)
        ids = torch.from_numpy(keys[part].astype(np.int64)).to(device)
        for e, (encoder, layers) in enumerate(zip(pair, places, strict=True)):
            with torch.inference_mode():
                views = (
                    augment(pixels, spec, key=key, keys=ids, view=k)
                    for k in range(1, config.views + 1)
                )
                clean = pixels.float() / 255 if config.pairing == "anchored" else None
                align[e, :, part], mu = _batch(encoder, layers, views, clean, config)
            for layer_units, values in zip(units[e], mu, strict=True):
                layer_units.add(values)
        progress("localize", min(start + size, len(rows)), len(rows))
    return LayerMeasurement([layer.name for layer in places[0]], dims, align, units)


def _batch(
    encoder: Encoder,
    layers: Sequence[Layer],
    views: Iterator[Tensor],
    clean: Tensor | None,
    config: ScoreConfig,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return alignment (L, B) and each layer's mean unit activations (B, U) over the views."""
    held = [] if clean is None else [look(encoder, layers, clean).streams]
    total, pairs, mu = None, 0, None
    for view in views:
        seen = look(encoder, layers, view)
        for other in held:
            apart = torch.stack(
                [distance(a, b, config.distance) for a, b in zip(other, seen.streams, strict=True)]
            ).double()
            total = apart if total is None else total + apart
            pairs += 1
        mu = seen.units if mu is None else [a + b for a, b in zip(mu, seen.units, strict=True)]
        if clean is None:
            held.append(seen.streams)
    assert total is not None
    assert mu is not None
    align = (total / pairs).cpu().numpy()
    return align, [(m / config.views).double().cpu().numpy() for m in mu]


@dataclass(frozen=True)
class LayerRow(Result):
    """What is said of a layer.

    LayerMem is SSLMem (arXiv 2401.12233, Eq. 2) of the layer's flattened output, scaled to unit
    length, so that layers compare. One encoder places views farther apart than another whatever it
    saw; the paper's mean over what f saw alone has that offset in it, and for a single pair it is
    larger than what is measured. Both directions together have not: with C the samples of f alone
    and I those of g alone, ``((g - f on C) - (g - f on I)) / 2``. The range that ``layer_mem``
    divides by is of the differences on C, and hangs on the two most extreme samples; ``sslmem`` has
    the interval.

    Attributes:
        name: Its name.
        dim: Numbers of its flattened output.
        sslmem: Mean of align(g) - align(f) over what only f was trained on minus that over what
            only g was, halved, in the recipe's distance; above 0 = memorized.
        se: Its standard error over both kinds of samples.
        low: Where its 95 % interval begins.
        high: Where that ends.
        layer_mem: ``sslmem`` over the range of the differences, below 1.
        delta_layer_mem: What the layer adds to the one before it; None for the first.
        units: How many units it has of its own.
        unit_mem: Their mean UnitMem in f; None without units.
        unit_mem_control: The same of g, which never saw the samples of C.
    """

    name: str
    dim: int
    sslmem: float
    se: float
    low: float
    high: float
    layer_mem: float
    delta_layer_mem: float | None
    units: int
    unit_mem: float | None
    unit_mem_control: float | None


def layer_rows(of_f: LayerMeasurement, of_g: LayerMeasurement) -> list[LayerRow]:
    """Return a row for each layer, the first layer first.

    Args:
        of_f: What was measured of f and g on the samples that only f was trained on, two at least.
        of_g: The same on those that only g was trained on.
    """
    rows: list[LayerRow] = []
    for i, (name, dim) in enumerate(zip(of_f.names, of_f.dims, strict=True)):
        apart, back = (m.align[1, i] - m.align[0, i] for m in (of_f, of_g))
        mean, spread = float(apart.mean() - back.mean()) / 2, float(np.ptp(apart))
        parts = [float(x.var(ddof=1)) / len(x) / 4 for x in (apart, back)]
        se = math.sqrt(sum(parts))
        # Welch & Satterthwaite's degrees of freedom.
        lost = sum(v**2 / (len(x) - 1) for v, x in zip(parts, (apart, back), strict=True))
        reach = t_quantile(sum(parts) ** 2 / lost) * se if lost > 0 else 0.0
        layer_mem = mean / spread if spread > 0 else 0.0
        mem, control = (_mean(of_f.units[e][i].values()) for e in (0, 1))
        rows.append(
            LayerRow(
                name=name,
                dim=dim,
                sslmem=mean,
                se=se,
                low=mean - reach,
                high=mean + reach,
                layer_mem=layer_mem,
                delta_layer_mem=layer_mem - rows[-1].layer_mem if rows else None,
                units=len(of_f.units[0][i].sum),
                unit_mem=mem,
                unit_mem_control=control,
            )
        )
    return rows


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def unit_table(measured: LayerMeasurement, names: tuple[str, str], uids: np.ndarray) -> pa.Table:
    """Return every unit of both encoders: encoder, layer, unit, unit_mem, mu_max, mu_rest, uid."""
    parts = []
    for e, encoder in enumerate(names):
        for layer, units in zip(measured.names, measured.units[e], strict=True):
            n = len(units.sum)
            parts.append(
                pa.table(
                    {
                        "encoder": pa.array([encoder] * n, pa.string()),
                        "layer": pa.array([layer] * n, pa.string()),
                        "unit": pa.array(np.arange(n), pa.int32()),
                        "unit_mem": pa.array(units.values(), pa.float64(), from_pandas=True),
                        "mu_max": pa.array(np.maximum(units.highest, 0.0), pa.float64()),
                        "mu_rest": pa.array(units.rest(), pa.float64()),
                        "uid": pa.array(uids[units.of]).cast(pa.string()),
                    }
                )
            )
    return pa.concat_tables(parts).combine_chunks()
