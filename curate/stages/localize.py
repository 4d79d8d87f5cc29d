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
from curate.runtime.files import write_json, write_table
from curate.runtime.options import option
from curate.runtime.progress import Progress, silent
from curate.runtime.results import Result, plain
from curate.scores.layers import LayerMeasurement, LayerRow, layer_rows, measure, unit_table
from curate.scores.plan import Plan
from curate.stages import shard, train
from curate.stages.context import Context


@dataclass(frozen=True)
class Localized(Result):
    """What ``localize.json`` holds: where in an encoder memorization lies.

    Attributes:
        encoders: f and g.
        candidates: Samples that f was trained on and g was not.
        independent: Samples that g was trained on and f was not.
        views: Views of each.
        distance: Between representations, as in the recipe.
        layers: From the images on.
        path: ``localize.json``.
        units: ``units.parquet``, with a row for each unit of both encoders.
    """

    encoders: tuple[str, ...]
    candidates: int
    independent: int
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
    """Measure LayerMem and UnitMem of a pair of encoders, on what only one of them has seen.

    LayerMem counts the samples of either encoder, so that the offset between both is in neither;
    UnitMem is of those that only the first has seen.

    Args:
        run: A run; what is missing for encoders is done first.
        encoders: f and g by name; None takes the first two of the plan.
        data: Where the recipe's source lies on this machine.
        device: ``auto``, ``cpu``, ``cuda``, or cards: ``cuda:0-7``.
        progress: Progress callback.

    Raises:
        UsageError: If the names are not two different encoders of the plan.
        DataError: If fewer than two samples are in f and not in g, or the other way round.
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
            candidates, independent = _only_in(plan, f, g), _only_in(plan, g, f)
            canvas = shard.canvas(run, context)
            where, config = context.resolved_device(), run.recipe
            folders = [train.encoder_folder(run, context, name) for name in (f, g)]
            pair = [load_encoder(folder, device=where) for folder in folders]
            with unit.making("localize"):
                of_f, of_g = (
                    measure(
                        pair,
                        canvas.array,
                        canvas.rows(uids),
                        randomness.uid_keys(uids),
                        config.measuring_views(),
                        config.score,
                        progress=context.progress,
                    )
                    for uids in (candidates, independent)
                )
                _check_finite(of_f, run)
                _check_finite(of_g, run)
                content = {
                    "encoders": [f, g],
                    "candidates": len(candidates),
                    "independent": len(independent),
                    "views": config.score.views,
                    "distance": config.score.distance,
                    "layers": plain(layer_rows(of_f, of_g)),
                }
                write_table(table_path, unit_table(of_f, (f, g), candidates))
                write_json(path, content)
                unit.complete([path, table_path])
        return Localized.load(path, path=path, units=table_path)


def _only_in(plan: Plan, inside: str, outside: str) -> np.ndarray:
    """Return the uids of the samples that one encoder was trained on and the other was not, bytes.

    Raises:
        DataError: If they are fewer than two.
    """
    first, second = (plan.inclusion[:, plan.encoders.index(name)] for name in (inside, outside))
    uids: np.ndarray = plan.uids[first & ~second]
    if len(uids) < 2:
        raise DataError(
            f"{len(uids)} samples are in {inside} and not in {outside}; two are needed to localize."
        )
    return uids


def _check_finite(measured: LayerMeasurement, run: Run) -> None:
    for i, name in enumerate(measured.names):
        if not np.isfinite(measured.align[:, i]).all():
            raise DivergedError(
                f"layer {name} of an encoder of {run.path} gives values that are not finite; lower "
                "train.lr or set train.clip_norm, and start over with fresh "
                f"({option(fresh=True)})."
            )


def _pair(plan: Plan, encoders: Sequence[str] | None) -> tuple[str, str]:
    names = list(encoders) if encoders is not None else list(plan.encoders[:2])
    for name in names:
        if name not in plan.encoders:
            raise unknown("encoder", name, plan.encoders)
    if len(names) != 2 or names[0] == names[1]:
        raise UsageError("encoders takes two different encoders of the plan, such as f,g.")
    return names[0], names[1]
