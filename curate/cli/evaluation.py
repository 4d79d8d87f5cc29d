"""Commands that tell what a selection did."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from curate import errors
from curate.cli.console import Display
from curate.cli.options import (
    RUNS,
    Backbone,
    DataPath,
    Device,
    EngineName,
    EngineSet,
    Prefix,
    RunName,
    Runs,
    Set,
    Size,
    Workers,
    chosen,
    command,
    following,
    named,
    stands,
    typed,
    values,
)
from curate.cli.results.evaluation import (
    agreement_lines,
    comparison_lines,
    probe_lines,
    table_lines,
)
from curate.runs.run import Run, enclosing
from curate.runtime.engines import LOCAL

On = Annotated[
    list[str] | None,
    typer.Option(
        "--on",
        metavar="SOURCE",
        help="What probes are tested on: `self` (the run's labels), a SOURCE, SOURCE=DIR, "
        "`seg:DIR` (segmentation: images/SPLIT and annotations/SPLIT) or `depth:DIR` "
        "(images/SPLIT and depths/SPLIT, or parquet files); may be repeated; default: the "
        "recipe's.",
    ),
]


@command("curate retrain runs/digits/manifests/top-1000.parquet")
def retrain(
    display: Display,
    manifest: Annotated[Path, typer.Argument(help="A manifest of a run's dataset.")],
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN", help="The run to train in; default: the manifest's."),
    ] = None,
    runs: Runs = RUNS,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Training seed.")
    ] = None,
    device: Device = "auto",
    engine: EngineName = LOCAL,
    engine_set: EngineSet = None,
) -> None:
    """Train afresh on what a manifest keeps."""
    import curate

    encoder = curate.retrain(
        manifest,
        run=run,
        runs=runs,
        seed=seed,
        device=device,
        engine=chosen(engine, engine_set),
        progress=display.progress,
    )
    display.result(encoder, [f"encoder     {encoder.encoder}"])
    display.next(f"curate probe {shlex.quote(str(encoder.encoder))} --on self")


@command("curate probe runs/digits/encoders/fold0 --on self")
def probe(
    display: Display,
    encoder: Annotated[
        Path, typer.Argument(help="An encoder's folder, `timm:NAME`, or a file of weights.")
    ],
    on: On = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", metavar="KIND", help="`linear` or `knn`; default: the recipe's."),
    ] = None,
    backbone: Backbone = None,
    size: Size = None,
    prefix: Prefix = None,
    set_: Set = None,
    data: DataPath = None,
    device: Device = "auto",
) -> None:
    """Measure what an encoder is good for: linear and k-NN accuracy, segmentation, depth."""
    import curate
    from curate.encoders.pretrained import Given

    probed = curate.probe(
        encoder,
        backbone=backbone,
        given=Given(size=size, prefix=prefix),
        on=on,
        kinds=kind,
        overrides=values(set_),
        data=data,
        device=device,
        progress=display.progress,
    )
    display.result(probed, probe_lines(probed))
    home = enclosing(encoder)
    if home is not None and (home / "scores.json").is_file():
        opened = Run.open(home)
        summary = opened.summary()
        remove = max(1, summary.n_scored // 10)
        comparing = f"curate compare {typed(opened)} --remove {remove} --seeds 5"
        display.next(following(stands(opened, summary), comparing))


@command("curate compare --remove 500,1000 --strategies all,top,k-center,el2n --seeds 5")
def compare(
    display: Display,
    run: RunName = None,
    remove: Annotated[
        str | None,
        typer.Option("--remove", metavar="N,N...", help="Samples to remove, e.g. 500,1000."),
    ] = None,
    strategies: Annotated[
        str | None,
        typer.Option(
            "--strategies",
            metavar="ARM,ARM...",
            help="`all`; strategies as in `curate select`; columns, the highest of which are kept; "
            "`STRATEGY:COLUMN` (`bottom:el2n`); `random-matched:ARM`; manifests (.parquet). "
            "`random` is always there.",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds", metavar="N", min=1, help="Paired repetitions; 5 give a useful interval."
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="WHAT", help="Equal `epochs` or equal `steps`."),
    ] = None,
    redraw: Annotated[
        bool | None,
        typer.Option(
            "--redraw", help="Rank anew for every seed, by repeats of the plan of its own."
        ),
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(
            "--pool",
            metavar="ENCODER",
            help="Train on nothing but what this encoder of the plan was trained on.",
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option("--space", metavar="SPACE", help="Where samples lie, as in `curate select`."),
    ] = None,
    on: On = None,
    runs: Runs = RUNS,
    device: Device = "auto",
    workers: Workers = None,
    engine: EngineName = LOCAL,
    engine_set: EngineSet = None,
    set_: Set = None,
    data: DataPath = None,
) -> None:
    """Retrain on selections of equal size and compare them with random ones, with intervals."""
    import curate

    opened = named(display, run, runs, set_)
    comparison = curate.compare(
        opened,
        remove=numbers(remove, "--remove"),
        strategies=[s.strip() for s in strategies.split(",")] if strategies else None,
        seeds=seeds,
        budget=budget,
        redraw=redraw,
        pool=pool,
        space=space,
        on=on,
        device=device,
        workers=workers,
        engine=chosen(engine, engine_set),
        data=data,
        progress=display.progress,
    )
    lines = comparison_lines(comparison)
    if comparison.ranking is not None:
        lines = [f"verdict     {comparison.ranking.text}", *lines]
    display.result(comparison, lines)
    display.next(f"curate report {typed(opened)}")


def numbers(text: str | None, option: str) -> list[int] | None:
    """Return numbers with commas between them; None where none are given.

    Raises:
        UsageError: If they are no numbers.
    """
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise errors.UsageError(f"{option} {text}: expected numbers such as 500,1000.") from None


@command("curate agree digits digits-seed-1 --top 100,200")
def agree(
    display: Display,
    run: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Two or more runs, or their scores.")
    ],
    top: Annotated[
        str | None,
        typer.Option("--top", metavar="N,N...", help="Sizes of the tops that are intersected."),
    ] = None,
    by: Annotated[
        str, typer.Option("--by", metavar="COLUMN", help="Column of files that are no runs.")
    ] = "memorization",
    runs: Runs = RUNS,
) -> None:
    """Compare the rankings of runs: correlations and shared tops, with intervals."""
    import curate

    agreement = curate.agree(run, tops=numbers(top, "--top") or (), by=by, runs=runs)
    display.result(agreement, agreement_lines(agreement))


@command("curate table 1")
def table(
    display: Display,
    name: Annotated[
        str, typer.Argument(metavar="TABLE", help="`1` to `17`, or `fig-2` to `fig-7`.")
    ],
    runs: Runs = RUNS,
    imagenet: Annotated[
        Path,
        typer.Option(
            "--imagenet", metavar="DIR", help="Where commands look for ImageNet's 100,000 images."
        ),
    ] = Path("imagenet-100k"),
) -> None:
    """Hold a table of arXiv 2401.12233 against your runs, and say what makes what is missing."""
    import curate

    shown = curate.table(name, runs=runs, imagenet=imagenet)
    display.result(shown, table_lines(shown))
    if shown.commands:
        display.next(shown.commands[0], "the first of the commands")
