"""Where in an encoder memorization lies: LayerMem and UnitMem of a pair (arXiv 2409.19069).

Both are measured in forward passes, without labels, a batch of samples at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from curate.encoders.backbone import load_encoder
from curate.errors import DataError, DivergedError, UsageError, unknown
from curate.runs.run import Run
from curate.runtime import randomness, versions
from curate.runtime.files import read_json, write_json, write_table
from curate.runtime.progress import Progress, silent
from curate.scores.layers import LayerMeasurement, layer_rows, measure, unit_table
from curate.scores.plan import Plan
from curate.stages import shard, train
from curate.stages.context import Context


def localize_run(
    run: Run, context: Context, *, encoders: Sequence[str] | None = None
) -> dict[str, Any]:
    """Measure LayerMem and UnitMem of a pair of encoders, on the samples only the first has seen.

    LayerMem is SSLMem (arXiv 2401.12233, Eq. 2) of each layer's flattened output, scaled to unit
    length, so that layers compare: ``sslmem`` is the mean of align(g) - align(f) in the recipe's
    distance (above 0 = memorized), ``layer_mem`` that mean over the range of the differences, by
    which SSLMem is reported and brought below 1, and ``delta_layer_mem`` what a layer adds to the
    one before it. The range hangs on the two most extreme samples; ``sslmem`` has the interval.

    Args:
        run: What is missing for encoders is done first.
        context: Device and progress.
        encoders: f and g by name; None takes the first two of the plan.

    Returns:
        What ``localize.json`` holds: ``encoders``, ``candidates``, ``views``, and ``layers`` from
        the images on, each with ``name``, ``dim``, ``sslmem`` (with ``se``, ``low``, ``high``,
        95 %), ``layer_mem``, ``delta_layer_mem``, and of its ``units`` the mean UnitMem in f,
        ``unit_mem``, and on the same samples in g, which never saw them, ``unit_mem_control``; and
        the paths of it and of ``units.parquet``.

    Raises:
        UsageError: If the names are not two different encoders of the plan.
        DataError: If fewer than two samples are in f and not in g.
        DivergedError: If a layer gives values that are not finite.
    """
    plan = train.train_run(run, context)
    f, g = _pair(plan, encoders)
    path, table_path = run.path / "localize.json", run.path / "units.parquet"
    made_from = {
        "encoders": [f, g],
        "trained": [run.done(f"train/{e}")["outputs"] for e in (f, g)],  # type: ignore[index]
        "score": run.recipe.score.model_dump(),
        "code": versions.of_training(),
    }
    record = run.done("localize")
    if record is None or {name: record.get(name) for name in made_from} != made_from:
        inside = plan.inclusion[:, plan.encoders.index(f)]
        uids = plan.uids[inside & ~plan.inclusion[:, plan.encoders.index(g)]]
        if len(uids) < 2:
            raise DataError(
                f"{len(uids)} samples are in {f} and not in {g}; two are needed to localize."
            )
        canvas = shard.canvas(run, context)
        device, config = context.resolved_device(), run.recipe
        pair = [load_encoder(run.path / "encoders" / name, device=device) for name in (f, g)]
        with run.timed("localize"):
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
            facts = {
                "encoders": [f, g],
                "candidates": len(uids),
                "views": config.score.views,
                "distance": config.score.distance,
                "layers": [row.to_json() for row in layer_rows(found)],
            }
            write_table(table_path, unit_table(found, (f, g), uids))
            write_json(path, facts)
            run.complete("localize", [path, table_path], **made_from)
    return {**read_json(path), "path": str(path), "units": str(table_path)}


def _check_finite(found: LayerMeasurement, run: Run) -> None:
    for i, name in enumerate(found.names):
        if not np.isfinite(found.align[:, i]).all():
            raise DivergedError(
                f"layer {name} of an encoder of {run.path} gives values that are not finite; lower "
                "train.lr or set train.clip_norm, and start over with --fresh."
            )


def _pair(plan: Plan, encoders: Sequence[str] | None) -> tuple[str, str]:
    names = list(encoders) if encoders is not None else list(plan.encoders[:2])
    for name in names:
        if name not in plan.encoders:
            raise unknown("encoder", name, plan.encoders)
    if len(names) != 2 or names[0] == names[1]:
        raise UsageError("--encoders takes two different encoders of the plan, such as f,g.")
    return names[0], names[1]


def localize(
    run: Run,
    *,
    encoders: Sequence[str] | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure LayerMem and UnitMem of a pair of a run's encoders (arXiv 2409.19069).

    Args:
        run: A run; what is missing for encoders is done first.
        encoders: f and g by name; None takes the first two of the plan.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Progress callback.

    Returns:
        As ``localize_run`` does: ``layers`` with their SSLMem and UnitMem, paths.

    Raises:
        UsageError: If the names are not two different encoders of the plan.
        DataError: If fewer than two samples are in f and not in g.
        DivergedError: If a layer gives values that are not finite.
    """
    with run.lock():
        return localize_run(run, Context.of(run, None, device, 1, progress), encoders=encoders)
