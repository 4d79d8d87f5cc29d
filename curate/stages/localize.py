"""Where in an encoder memorization lies: LayerMem and UnitMem of a pair (arXiv 2409.19069).

Both are measured in forward passes, without labels, a batch of samples at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.encoders.backbone import load_encoder
from curate.errors import DataError, DivergedError, UsageError, unknown
from curate.runs import units
from curate.runs.run import Run
from curate.runtime import randomness, versions
from curate.runtime.files import read_json, write_json, write_table
from curate.runtime.progress import Progress, silent
from curate.runtime.results import Result, plain
from curate.scores.layers import Found, LayerRow, layer_rows, measure, unit_table
from curate.scores.plan import Plan
from curate.stages import shard, train
from curate.stages.context import Context


@dataclass(frozen=True)
class Localized(Result):
    """What ``localize.json`` holds: where in an encoder memorization lies.

    Attributes:
        encoders: f, that was trained on the samples, and g, that was not.
        candidates: Samples that were measured.
        views: Views of each.
        distance: Between representations, as in the recipe.
        layers: From the images on.
        path: ``localize.json``.
        units: ``units.parquet``, with a row for each unit of both encoders.
    """

    encoders: tuple[str, ...]
    candidates: int
    views: int
    distance: str
    layers: tuple[LayerRow, ...]
    path: Path
    units: Path


def localize(
    run: Run,
    *,
    encoders: Sequence[str] | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Localized:
    """Measure LayerMem and UnitMem of a pair of encoders, on the samples only the first has seen.

    Args:
        run: A run; what is missing for encoders is done first.
        encoders: f and g by name; None takes the first two of the plan.
        data: Where the recipe's source lies on this machine.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Progress callback.

    Raises:
        UsageError: If the names are not two different encoders of the plan.
        DataError: If fewer than two samples are in f and not in g.
        DivergedError: If a layer gives values that are not finite.
    """
    context = Context.of(run, data, device, 1, progress)
    with run.lock():
        plan = train.train_run(run, context)
        f, g = _pair(plan, encoders)
        path, table_path = run.path / "localize.json", run.path / "units.parquet"
        parts = {
            **units.measuring(run),
            "encoders": [[e, units.train(run, e).key] for e in (f, g)],
            "code": versions.of_stage("localize"),
        }
        unit = units.Unit(run, "localize", parts)
        if unit.intact() is None:
            inside = plan.inclusion[:, plan.encoders.index(f)]
            uids = plan.uids[inside & ~plan.inclusion[:, plan.encoders.index(g)]]
            if len(uids) < 2:
                raise DataError(
                    f"{len(uids)} samples are in {f} and not in {g}; two are needed to localize."
                )
            canvas = shard.canvas(run, context)
            where, config = context.resolved_device(), run.recipe
            folders = [train.encoder_folder(run, context, name) for name in (f, g)]
            pair = [load_encoder(folder, device=where) for folder in folders]
            with unit.making("localize"):
                found = measure(
                    pair,
                    canvas.array,
                    canvas.rows(uids),
                    randomness.uid_keys(uids),
                    config.measuring_views(),
                    config.score,
                    progress=context.progress,
                )
                _check_finite(found, run)
                content = {
                    "encoders": [f, g],
                    "candidates": len(uids),
                    "views": config.score.views,
                    "distance": config.score.distance,
                    "layers": plain(layer_rows(found)),
                }
                write_table(table_path, unit_table(found, (f, g), uids))
                write_json(path, content)
                unit.complete([path, table_path])
        return Localized.from_json({**read_json(path), "path": path, "units": table_path})


def _check_finite(found: Found, run: Run) -> None:
    for i, name in enumerate(found.names):
        if not np.isfinite(found.align[:, i]).all():
            raise DivergedError(
                f"layer {name} of an encoder of {run.path} gives values that are not finite; lower "
                "train.lr or set train.clip_norm, and start over with fresh (--fresh)."
            )


def _pair(plan: Plan, encoders: Sequence[str] | None) -> tuple[str, str]:
    names = list(encoders) if encoders is not None else list(plan.encoders[:2])
    for name in names:
        if name not in plan.encoders:
            raise unknown("encoder", name, plan.encoders)
    if len(names) != 2 or names[0] == names[1]:
        raise UsageError("encoders takes two different encoders of the plan, such as f,g.")
    return names[0], names[1]
