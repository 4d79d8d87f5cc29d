"""The whole line and its stages: run, shard, train, score, inspect."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.cli.console import Display, Listing
from curate.cli.options import (
    RUNS,
    DataPath,
    Device,
    Limit,
    Request,
    Require,
    Runs,
    command,
    following,
    named,
    stands,
    typed,
    warn_of_noise,
)
from curate.cli.results.pipeline import (
    add_lines,
    forecast_lines,
    refine_lines,
    run_lines,
    score_lines,
    shard_lines,
    significant_lines,
    train_lines,
)
from curate.errors import UsageError
from curate.runs.adopted import is_adopted
from curate.runs.next_steps import selecting

if TYPE_CHECKING:
    from curate.runs.run import Run
    from curate.runtime.results import Result


SourceName = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="`digits`, `folder:DIR` or a directory, `idx:DIR`, `torchvision:NAME`, `hf:NAME`, "
        "`wds:GLOB`; a directory may also hold parquet files, tars, or what datasets saved. DIR "
        "and GLOB may be addresses (`s3://`, `gs://`, `hf://`, `https://`).",
    ),
]
Split = Annotated[
    str,
    typer.Option(
        "--split",
        metavar="NAME",
        help="Split of the source: a name, a pattern of paths (`train2017/*`), or `all`.",
    ),
]
Label = Annotated[
    str | None,
    typer.Option("--label", metavar="COLUMN", help="Column of labels; `none` for none."),
]
Image = Annotated[
    str | None,
    typer.Option(
        "--image",
        metavar="COLUMN",
        help="Column of images, in a metadata file of their names; of tars, their ending.",
    ),
]
Outside = Annotated[
    bool,
    typer.Option("--outside", help="Let links and rows lead out of the source's folder."),
]


@command("curate run digits")
def run(display: Display, request: Request, require: Require = None) -> None:
    """Do the whole line: shard, plan, train, score, inspect, select, compare, report."""
    from curate.stages.run import run_all

    stage = functools.partial(run_all, require=require)
    opened, completed = _stage(display, stage, request)
    display.result(completed, run_lines(completed))
    warn_of_noise(display, completed.summary.verdict)
    stand = stands(opened, completed.summary)
    command = following(stand, selecting(stand))
    display.next(command, f"or open {completed.report} in a browser")


@command("curate shard folder:photos --out shards")
def shard(
    display: Display,
    source: SourceName,
    out: Annotated[
        Path, typer.Option("--out", metavar="PATH", help="New folder for the tars and their index.")
    ],
    split: Split = "train",
    test: Annotated[
        str | None,
        typer.Option(
            "--test",
            metavar="WHAT",
            help="Write this for tests, too: a split, a pattern of paths, a folder or a SOURCE.",
        ),
    ] = None,
    label: Label = None,
    image: Image = None,
    outside: Outside = False,
    data: DataPath = None,
    limit: Limit = None,
    max_bad: Annotated[
        float,
        typer.Option("--max-bad", metavar="X", min=0, max=1, help="Largest share of bad images."),
    ] = 0.01,
) -> None:
    """Write the images of a source to WebDataset tars with an index."""
    import curate

    sharded = curate.shard(
        source,
        out,
        split=split,
        test=test,
        label=label,
        image=image,
        outside=outside,
        data=data,
        limit=limit,
        max_bad=max_bad,
        progress=display.progress,
    )
    display.result(sharded, shard_lines(sharded))
    display.next(f"curate verify {shlex.quote(str(out))}")


@command("curate add digits more/")
def add(
    display: Display,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A scored run.")],
    source: SourceName,
    split: Split = "train",
    label: Label = None,
    image: Image = None,
    outside: Outside = False,
    data: DataPath = None,
    device: Device = "auto",
    runs: Runs = RUNS,
) -> None:
    """Add images to a scored run; no encoder is trained anew, and no score changes."""
    import curate

    opened = named(display, run, runs)
    added = curate.add(
        opened,
        source,
        split=split,
        label=label,
        image=image,
        outside=outside,
        data=data,
        device=device,
        progress=display.progress,
    )
    display.result(added, add_lines(added))
    if is_adopted(opened):
        display.next(f"curate inspect {typed(opened)}", "shows the new images beside the others")
        return
    repeats = opened.recipe.plan.repeats
    more = f"curate score {typed(opened)} --set plan.repeats={2 * repeats}"
    display.next(more, "scores the new images as well")


@command("curate train digits --set train.epochs=50")
def train(
    display: Display,
    request: Request,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what it would take; write nothing.")
    ] = False,
    ranks: Annotated[
        int | None,
        typer.Option(
            "--ranks",
            metavar="N",
            min=1,
            help="Train each encoder by N processes, which share the `train.parts` of a batch; "
            "torchrun starts them, too.",
        ),
    ] = None,
) -> None:
    """Train the encoders of the plan."""
    import curate
    from curate.stages.ranks import follow, launched
    from curate.stages.train import train_one

    if launched().rank:
        if not dry_run:
            follow(train_one)
        return
    if dry_run:
        forecast = curate.forecast(
            request.name,
            runs=request.runs,
            overrides=request.overrides(),
            data=request.data,
            device=request.device,
            workers=request.workers,
            engine=request.chosen(),
        )
        display.result(forecast, forecast_lines(forecast))
        display.next(f"curate train {request.typed()}")
        return
    opened, trained = _stage(display, functools.partial(curate.train, ranks=ranks), request)
    display.result(trained, train_lines(trained))
    if not trained.trained:
        display.hint(f"nothing to do: all encoders of {opened.path} were trained before")
    display.next(f"curate score {typed(opened)}")


@command("curate score imagenet-100k --data /data/imagenet-100k")
def score(
    display: Display,
    request: Request,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="GOAL",
            help="Add encoders or views until `reliability=X`, or `overlap=X` of the selection.",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="TIME", help="With --until: at most `30m`, `2h`."),
    ] = None,
    fdr: Annotated[
        float | None,
        typer.Option(
            "--fdr",
            metavar="Q",
            help="Also list the samples that are significantly memorized, Q of them falsely.",
        ),
    ] = None,
) -> None:
    """Score every candidate; what is missing before it is done first."""
    import curate
    from curate.scores import significance
    from curate.stages import refine

    if budget is not None and until is None:
        raise UsageError("--budget goes with --until: say what to reach, e.g. reliability=0.8.")
    if until is not None:
        refine.Goal.parse(until)
    if budget is not None:
        refine.seconds(budget)
    if fdr is not None:
        significance.check(fdr)
    opened, scored = _stage(display, curate.score, request)
    already = scored.already
    more: dict[str, Result] = {}
    lines: list[str | Listing] = []
    if until is not None:
        refined = more["until"] = curate.refine(
            opened,
            until,
            budget=budget,
            data=request.data,
            device=request.device,
            workers=request.workers,
            engine=request.chosen(),
            progress=display.progress,
        )
        scored, lines = curate.score(opened), refine_lines(refined)
    if fdr is not None:
        significant = more["significant"] = curate.significant(opened, fdr)
        lines += significant_lines(significant)
    places = [f"scores      {scored.path}"]
    display.result({**scored.to_json(), **more}, [*score_lines(scored), *places, *lines])
    warn_of_noise(display, scored.verdict)
    if already and until is None:
        display.hint(f"nothing to do: {opened.path} was scored before")
    stand = stands(opened, scored)
    display.next(following(stand, selecting(stand)))


def _stage(display: Display, stage: Callable[..., Any], request: Request) -> tuple[Run, Any]:
    """Open or create the run that is asked for, and call a stage of the library on it."""
    import curate

    run = curate.open_run(
        request.name,
        runs=request.runs,
        overrides=request.overrides(),
        data=request.data,
        fresh=request.fresh,
        called=request.called,
        retrain=request.retrain,
    )
    result = stage(
        run,
        data=request.data,
        device=request.device,
        workers=request.workers,
        engine=request.chosen(),
        progress=display.progress,
    )
    return run, result
