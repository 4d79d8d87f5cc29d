"""Select: decide from scores which samples are kept, and write a manifest."""

from __future__ import annotations

import pyarrow.compute as pc

from curate.runs.dataset import held_out_uids, provenance
from curate.runs.run import Run
from curate.selection.config import SelectConfig
from curate.selection.selection import TAKEN, Selected, decide


def select(
    run: Run,
    *,
    strategy: str = "top",
    count: int | None = None,
    fraction: float | None = None,
    unscored: str | None = None,
    seed: int = 0,
    name: str | None = None,
) -> Selected:
    """Select from a run's scores and write ``manifests/NAME.parquet`` and ``.json``.

    Args:
        run: A scored run.
        strategy: ``top``, ``bottom`` or ``random`` keep samples; ``drop-top`` drops them.
        count: How many scored samples to keep (``drop-top``: to drop).
        fraction: The same as a share of the scored samples.
        unscored: ``keep`` or ``drop`` what the plan left unscored; needed where there is any.
        seed: Seed of ``random``.
        name: Name of the manifest; None makes one from the strategy and size.

    Raises:
        UsageError: If there are not so many samples, or it is not said what becomes of unscored.
        DataError: If the run has no scores.
    """
    config = SelectConfig.of(
        strategy=strategy, count=count, fraction=fraction, unscored=unscored, seed=seed
    )
    with run.lock():
        return select_run(run, config, name=name)


def select_run(run: Run, config: SelectConfig, *, name: str | None = None) -> Selected:
    """Select from a run's scores; the lock of the run is held."""
    table = run.scores(("uid", "memorization", *TAKEN))
    # A held-out extra set is measured, but is never part of a manifest.
    others = held_out_uids(run)
    if len(others):
        table = table.filter(pc.invert(pc.is_in(table["uid"], value_set=others)))
    return decide(
        table,
        run.path / "manifests",
        config,
        name=name,
        parameters={},
        provenance=provenance(run),
    )
