"""Features of an encoder, and the probes on them: how good the representations are downstream."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.data.canvas import Canvas
from curate.data.sample import packed_uids
from curate.encoders.representation import features
from curate.errors import DataError
from curate.evaluation import probes
from curate.evaluation.probes.base import Tested
from curate.runtime import randomness
from curate.runtime.options import option
from curate.runtime.progress import Progress, silent

if TYPE_CHECKING:
    from curate.encoders.backbone import Encoder

log = logging.getLogger("curate")
INDEXED = ("uid", "label", "split")
"""Columns of the index that a probe needs."""
HELD_OUT = 0.2
"""Share of the samples that probes are tested on where a source has no test split."""


@dataclass(frozen=True)
class ProbeSet:
    """Labelled samples of one source, split for a probe.

    Attributes:
        name: What the source is called in results.
        canvas: Decoded images.
        train: (n,) uids to fit on, bytes, sorted.
        train_labels: (n,) int64.
        test: (m,) uids to test on, bytes, sorted.
        test_labels: (m,) int64.
        held_out: Whether the test samples were held out of the training split by a hash, so that
            the encoder may have seen them (without labels).
        leaked: (m,) bool, test samples with a copy among those to fit on; None if nobody looked.
    """

    name: str
    canvas: Canvas
    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    held_out: bool
    leaked: np.ndarray | None = None

    def digest(self) -> str:
        """Return 32 hex digits of the samples, their labels, and how they are split."""
        whole = hashlib.sha256(repr((self.name, self.held_out, self.canvas.array.shape)).encode())
        for part in (self.train, self.train_labels, self.test, self.test_labels):
            whole.update(np.ascontiguousarray(part).tobytes())
        return whole.hexdigest()[:32]


@dataclass(frozen=True)
class ProbeResult(Tested):
    """What a probe on one source reached.

    Attributes:
        source: ``self`` or a SOURCE.
        kind: Of the probe, as in ``probes.PROBES``.
        held_out: As in ``ProbeSet``.
        leaked: Test samples with a copy among those that it was fitted to; None if nobody looked.
        accuracy_without_leaks: On the other test samples; None where there are none.
    """

    source: str
    kind: str
    held_out: bool
    leaked: int | None = None
    accuracy_without_leaks: float | None = None


def probe_set(name: str, canvas: Canvas, index: pa.Table, test_role: str | None) -> ProbeSet:
    """Split the labelled samples of an indexed dataset for a probe; says how many have no label.

    Args:
        name: What the source is called in results.
        canvas: Decoded images of every row of ``index``.
        index: The columns ``INDEXED`` of ``shards/index.parquet``.
        test_role: Value of ``split`` that marks test samples; None holds some out by a hash.

    Raises:
        DataError: If no sample has a label, or too few that have one are left on a side.
    """
    total = index.num_rows
    index = index.filter(pc.is_valid(index["label"]))
    if not index.num_rows:
        raise DataError(
            f"probe on {name}: none of {total:,} samples has a label. Give labels (class folders, "
            "or a label column: data.label), or name a source that has some: "
            f"{option(overrides={'probe.sources': ['SOURCE']})}, and with curate probe "
            f"{option(on=['SOURCE'])}."
        )
    if index.num_rows < total:
        log.info(
            "probe on %s: %s of %s samples have no label and are left out",
            name,
            f"{total - index.num_rows:,}",
            f"{total:,}",
        )
    split = index["split"]
    train = _labelled(index.filter(pc.equal(split, "train")))
    if test_role:
        test = _labelled(index.filter(pc.equal(split, test_role)))
    else:
        # Keyed by content, so that copies of one image never stand on both sides.
        hashes = randomness.hash64(
            randomness.stream(0, "probe test"), randomness.uid_keys(train[0])
        )
        mine = hashes < np.uint64(int(HELD_OUT * 2**64))
        train, test = (train[0][~mine], train[1][~mine]), (train[0][mine], train[1][mine])
    if len(np.unique(train[1])) < 2 or not len(test[0]):
        raise DataError(
            f"probe on {name}: {len(train[0])} labelled training samples of "
            f"{len(np.unique(train[1]))} classes and {len(test[0])} test samples are too few; use "
            "a source with more."
        )
    return ProbeSet(name, canvas, *train, *test, held_out=test_role is None)


def _labelled(rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    rows = rows.sort_by("uid")
    return packed_uids(rows["uid"]), rows["label"].to_numpy().astype(np.int64)


def measure_probes(
    encoder: Encoder,
    data: ProbeSet,
    kinds: tuple[str, ...],
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> list[tuple[ProbeResult, np.ndarray]]:
    """Fit and test probes on frozen features.

    Returns:
        A result for each kind, and which of the test samples were classified rightly, (m,) bool.
    """
    train_x = features(encoder, data.canvas, data.canvas.rows(data.train), progress)
    test_x = features(encoder, data.canvas, data.canvas.rows(data.test), progress)
    results = []
    for kind in kinds:
        tested, right = probes.run(
            kind, train_x, data.train_labels, test_x, data.test_labels, seed=seed
        )
        result = ProbeResult(
            **vars(tested),
            source=data.name,
            kind=kind,
            held_out=data.held_out,
            leaked=None if data.leaked is None else int(data.leaked.sum()),
            accuracy_without_leaks=_without(right, data.leaked),
        )
        results.append((result, right))
    return results


def _without(right: np.ndarray, leaked: np.ndarray | None) -> float | None:
    """Return the share that is right of what is not leaked."""
    clean = right if leaked is None else right[~leaked]
    return None if leaked is None or not len(clean) else float(clean.mean())
