"""Select: decide from scores which samples are kept, and write a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from curate.runs.dataset import held_out_uids, provenance
from curate.runs.run import Run
from curate.runtime.progress import Progress, silent
from curate.scores import verdict
from curate.selection.config import SelectConfig
from curate.selection.selection import ERRORS, TAKEN, Selected, decide
from curate.stages.choosing import Chooser
from curate.stages.context import Context


def select(
    run: Run,
    *,
    strategy: str = "top",
    by: str = "memorization",
    count: int | None = None,
    fraction: float | None = None,
    unscored: str | None = None,
    seed: int = 0,
    space: str | None = None,
    match: str | Path | None = None,
    drop: Sequence[str] = (),
    copies: str | Path | None = None,
    per_class: bool = False,
    always: str | Path | None = None,
    never: str | Path | None = None,
    name: str | None = None,
    require: str | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Selected:
    """Select from a run's scores and write ``manifests/NAME.parquet`` and ``.json``.

    Args:
        run: A scored run; a measure, an inspection or decoded images that are missing are made.
        strategy: A name in ``curate.selection.strategies.STRATEGIES``; ``drop-top`` drops, all
            others keep.
        by: What ``top``, ``bottom``, ``drop-top``, ``ccs`` and ``d2`` go by: a column of the run's
            scores, measures or inspection, or ``FILE:COLUMN`` of a table with ``uid`` or ``path``.
        count: How many scored samples to keep (``drop-top``: to drop).
        fraction: The same as a share of the scored samples.
        unscored: ``keep`` or ``drop`` what has no score; needed where there is any.
        seed: Seed of the strategies that draw.
        space: Where strategies choose that look at how samples lie: an encoder of the run,
            ``timm:NAME``, the folder of an encoder, or embeddings (``.npy``, ``.parquet``); None
            takes that of the inspection.
        match: The manifest that ``random-matched`` is like: a path, or a name in the run.
        drop: Kinds of samples that are left out beforehand: by the triage of the inspection;
            ``duplicates``, copies but the one of most pixels of each group (then of the largest
            file, then the first); ``leaks``, samples with a copy in another split.
        copies: The folder of ``curate copies`` that knows these two; None takes the inspection.
        per_class: Whether each class keeps its part.
        always: A text file of uids or paths that are kept whatever the strategy says; they count.
        never: The same of such as are dropped.
        name: Name of the manifest; None makes one from the strategy and size.
        require: ``reliability=X``: select by a ranking that is as reliable, or not at all.
        data: Where the recipe's source lies on this machine.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Progress callback.

    Raises:
        UsageError: If there are not so many samples, or it is not said what becomes of unscored.
        DataError: If the run has no scores, ``expected`` is not known of any sample, or a list
            names what there is not.
        UnreliableError: If its ranking by ``by`` is less reliable than required.
    """
    config = SelectConfig.of(
        strategy=strategy,
        by=by,
        count=count,
        fraction=fraction,
        unscored=unscored,
        seed=seed,
        space=space,
        match=None if match is None else str(match),
        drop=tuple(drop),
        copies=None if copies is None else str(copies),
        per_class=per_class,
        always=None if always is None else str(always),
        never=None if never is None else str(never),
    )
    if require is not None:
        verdict.required(require)
    with run.lock():
        context = Context.of(run, data, device, 1, progress)
        return select_run(run, context, config, name=name, require=require)


def select_run(
    run: Run,
    context: Context,
    config: SelectConfig,
    *,
    name: str | None = None,
    require: str | None = None,
) -> Selected:
    """Select from a run's scores; the lock of the run is held."""
    verdict.require(require, run.summary(), run.name, config.by)
    by, error = config.by, ERRORS.get(config.by)
    table = run.scores(("uid", "memorization", *([error] if error else ()), *TAKEN))
    # A held-out extra set is measured, but is never part of a manifest.
    others = held_out_uids(run)
    if len(others):
        table = table.filter(pc.invert(pc.is_in(table["uid"], value_set=others)))
    chooser = Chooser(run, context, table["uid"])
    if by != "memorization":
        numbers = pa.array(chooser.numbers(by), from_pandas=True)
        table = table.set_column(table.column_names.index("memorization"), "memorization", numbers)
        if error:
            names = {error: "se"}
            table = table.rename_columns([names.get(name, name) for name in table.column_names])
    return decide(
        table,
        run.path / "manifests",
        config,
        name=name,
        parameters={} if by == "memorization" else {"by": by},
        provenance=provenance(run),
        given=chooser.given(config),
    )
