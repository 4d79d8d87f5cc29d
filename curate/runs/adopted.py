"""Encoders that were trained elsewhere, in a run: their files, and what each of them saw.

``encoders/NAME/`` has weights and config.json like an encoder of our own, and ``saw.txt``: uids,
paths or keys of the images that it was trained on, one a line, or ``*`` for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.data.sample import packed_uids
from curate.data.shards import Reader
from curate.errors import DataError
from curate.runs import units
from curate.runs.dataset import uids_of
from curate.runs.run import Run
from curate.scores.config import AdoptedEncoder, AdoptedPlan
from curate.scores.plan import Plan, adopted_plan

SAW = "saw.txt"
EVERYTHING = "*"
"""The line that stands for all images."""
NAMED_BY = ("uid", "path", "key")
"""What a line may name an image by."""


def is_adopted(run: Run) -> bool:
    """Return whether a run's encoders were trained elsewhere."""
    return isinstance(run.recipe.plan, AdoptedPlan)


def encoders(run: Run) -> tuple[AdoptedEncoder, ...]:
    """Return the encoders of a run that were trained elsewhere."""
    plan = run.recipe.plan
    return plan.encoders if isinstance(plan, AdoptedPlan) else ()


def found(run: Run, lines: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return the images of a run that some lines name.

    Args:
        run: With shards.
        lines: Each a uid, a path or a key, or ``EVERYTHING``.

    Returns:
        (n,) bytes, their uids without the numbers of exact repeats, of which one is as good as
        another; and the lines that name none.
    """
    names = pa.array(lines, pa.string())
    matched = np.array([line == EVERYTHING for line in lines], dtype=bool)
    everything, out = bool(matched.any()), [np.zeros(0, dtype="S32")]
    for rows in Reader(run.path / "shards").parts([*NAMED_BY]):
        hit = np.full(rows.num_rows, everything)
        for column in NAMED_BY:
            at = pc.index_in(rows[column], value_set=names).combine_chunks()
            here = at.is_valid().to_numpy(zero_copy_only=False)
            hit |= here
            matched[at.drop_null().to_numpy()] = True
        out.append(packed_uids(rows["uid"])[hit].astype("S32"))
    return np.unique(np.concatenate(out)), [lines[k] for k in np.flatnonzero(~matched).tolist()]


def plan_of(run: Run, added: np.ndarray) -> Plan:
    """Return which of a run's images its encoders saw, by their lists.

    Args:
        run: With shards.
        added: (n,) bytes, uids of images that came after the lists.

    Raises:
        DataError: If a list is missing or is not the one that was adopted.
    """
    uids = np.concatenate([packed_uids(uids_of(run, role)) for role in ("train", "extra")])
    names = [encoder.name for encoder in encoders(run)]
    saw = np.zeros((len(uids), len(names)), dtype=bool)
    for e, encoder in enumerate(encoders(run)):
        lines = _held(run, encoder, SAW, encoder.saw).read_text(encoding="utf-8").splitlines()
        saw[:, e] = np.isin(uids.astype("S32"), found(run, lines)[0])
    return adopted_plan(names, saw, uids, np.isin(uids, added))


def record(run: Run, plan: Plan) -> None:
    """Record the encoders of a run that are not, as what was adopted.

    Raises:
        DataError: If files of one are missing or changed.
    """
    for encoder in encoders(run):
        unit = units.train(run, encoder.name)
        if unit.intact() is not None:
            continue
        weights = _held(run, encoder, "weights.safetensors", encoder.weights)
        files = [weights, weights.with_name("config.json"), weights.with_name(SAW)]
        n = int(plan.inclusion[:, plan.encoders.index(encoder.name)].sum())
        unit.complete(files, n=n, loss=None, epochs=0, seconds=0.0)


def _held(run: Run, encoder: AdoptedEncoder, name: str, sha256: str) -> Path:
    """Return a file of an encoder, which is what was adopted.

    Raises:
        DataError: If it is missing or changed.
    """
    path = run.path / "encoders" / encoder.name / name
    if not units.unchanged(path, sha256):
        what = "changed since it was adopted" if path.is_file() else "is missing"
        raise DataError(
            f"{path} {what}; adopt the encoders of run {run.path} again: 'curate adopt {run.name} "
            f"{run.recipe.data.source} ...'."
        )
    return path
