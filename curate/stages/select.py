"""Select: decide from scores which samples are kept, and write a manifest."""

from __future__ import annotations

import pyarrow.compute as pc

from curate.errors import DataError
from curate.runs.dataset import held_out_uids, provenance
from curate.runs.run import Run
from curate.scores import verdict
from curate.selection.config import SelectConfig
from curate.selection.selection import ERRORS, TAKEN, Selected, decide


def select(
    run: Run,
    *,
    strategy: str = "top",
    by: str = "memorization",
    count: int | None = None,
    fraction: float | None = None,
    unscored: str | None = None,
    seed: int = 0,
    name: str | None = None,
    require: str | None = None,
) -> Selected:
    """Select from a run's scores and write ``manifests/NAME.parquet`` and ``.json``.

    Args:
        run: A scored run.
        strategy: ``top``, ``bottom`` or ``random`` keep samples; ``drop-top`` drops them.
        by: ``memorization``, or ``expected``, its posterior mean given what foretells it as well.
        count: How many scored samples to keep (``drop-top``: to drop).
        fraction: The same as a share of the scored samples.
        unscored: ``keep`` or ``drop`` what the plan left unscored; needed where there is any.
        seed: Seed of ``random``.
        name: Name of the manifest; None makes one from the strategy and size.
        require: ``reliability=X``: select by a ranking that is as reliable, or not at all.

    Raises:
        UsageError: If there are not so many samples, or it is not said what becomes of unscored.
        DataError: If the run has no scores, or ``expected`` is not known of any sample.
        UnreliableError: If its ranking is less reliable than required.
    """
    config = SelectConfig.of(
        strategy=strategy, by=by, count=count, fraction=fraction, unscored=unscored, seed=seed
    )
    if require is not None:
        verdict.required(require)
    with run.lock():
        return select_run(run, config, name=name, require=require)


def select_run(
    run: Run, config: SelectConfig, *, name: str | None = None, require: str | None = None
) -> Selected:
    """Select from a run's scores; the lock of the run is held."""
    verdict.require(require, run.summary().reliability, run.name)
    by, error = config.by, ERRORS[config.by]
    table = run.scores(("uid", by, error, *TAKEN))
    if by != "memorization":
        if table[by].null_count == len(table):
            raise DataError(
                f"run {run.path} has no {by} scores: one encoder on each side cannot show how far "
                "off a score is; give the plan repeats (--set plan.repeats=3), or leave --by out."
            )
        names = {by: "memorization", error: "se"}
        table = table.rename_columns([names.get(name, name) for name in table.column_names])
    # A held-out extra set is measured, but is never part of a manifest.
    others = held_out_uids(run)
    if len(others):
        table = table.filter(pc.invert(pc.is_in(table["uid"], value_set=others)))
    return decide(
        table,
        run.path / "manifests",
        config,
        name=name,
        parameters={} if by == "memorization" else {"by": by},
        provenance=provenance(run),
    )
