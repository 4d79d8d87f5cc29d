"""Select: decide from scores which samples are kept, and write a manifest."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc

from curate.runs.dataset import held_out_uids
from curate.runs.run import Run
from curate.runtime.files import file_sha256, read_json
from curate.selection.config import SelectConfig
from curate.selection.selection import TAKEN, decide


def select(
    run: Run,
    *,
    strategy: str = "top",
    count: int | None = None,
    fraction: float | None = None,
    unscored: str | None = None,
    seed: int = 0,
    name: str | None = None,
) -> dict[str, Any]:
    """Select from a run's scores and write ``manifests/NAME.parquet`` and ``.json``.

    Args:
        run: A scored run.
        strategy: ``top``, ``bottom`` or ``random`` keep samples; ``drop-top`` drops them.
        count: How many scored samples to keep (``drop-top``: to drop).
        fraction: The same as a share of the scored samples.
        unscored: ``keep`` or ``drop`` what the plan left unscored; needed where there is any.
        seed: Seed of ``random``.
        name: Name of the manifest; None makes one from the strategy and size.

    Returns:
        ``path``, ``kept``, ``dropped``, ``scored``, ``unscored``, ``description``, ``separation``.

    Raises:
        UsageError: If there are not so many samples, or it is not said what becomes of unscored.
        DataError: If the run has no scores.
    """
    config = SelectConfig.of(
        strategy=strategy, count=count, fraction=fraction, unscored=unscored, seed=seed
    )
    with run.lock():
        return select_run(run, config, name=name)


def select_run(run: Run, config: SelectConfig, *, name: str | None = None) -> dict[str, Any]:
    """Select from a run's scores; the lock of the run is held."""
    facts, table = run.facts(), run.scores(("uid", "memorization", *TAKEN))
    summary = read_json(run.path / "scores.json")
    # A held-out extra set is measured, but is never part of a manifest.
    others = held_out_uids(run)
    if len(others):
        table = table.filter(pc.invert(pc.is_in(table["uid"], value_set=others)))
    made = decide(
        table,
        run.path / "manifests",
        config,
        name=name,
        parameters={},
        provenance={
            "dataset_fingerprint": facts["dataset_fingerprint"],
            "recipe": run.recipe.name,
            "recipe_fingerprint": facts["recipe_fingerprint"],
            "separation": summary["separation"],
            "reliability": summary["reliability"],
            "seeds": {
                "plan": run.recipe.plan.seed,
                "train": run.recipe.train.seed,
                "score": run.recipe.score.seed,
            },
            "versions": facts["versions"],
            "scores_sha256": file_sha256(run.path / "scores.parquet"),
        },
    )
    return {**made, "separation": summary["separation"]}
