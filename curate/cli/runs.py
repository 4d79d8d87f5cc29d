"""What is there, and what it cost: verify, ledger, recipes, doctor."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from curate.cli.console import Display
from curate.cli.options import (
    RUNS,
    DataPath,
    Device,
    Request,
    RunName,
    Runs,
    Set,
    command,
    named,
    typed,
    values,
)
from curate.cli.results.runs import (
    after_verify,
    as_yaml,
    bench_lines,
    doctor_lines,
    faults_in_short,
    ledger_lines,
    recipe_lines,
    verify_lines,
)
from curate.errors import DataError
from curate.runs.run import newest


@command("curate verify digits --full")
def verify(
    display: Display,
    path: Annotated[
        Path | None,
        typer.Argument(help="A run, shards or a manifest (.parquet); default: the newest run."),
    ] = None,
    runs: Runs = RUNS,
    full: Annotated[bool, typer.Option("--full", help="Check every hash, not only sizes.")] = False,
) -> None:
    """Check that everything is there and, with --full, unchanged."""
    import curate

    if path is None:
        path = newest(runs)
        display.hint(f"run: {path}")
    # Not opened by its name, as elsewhere: what is broken is not opened at all.
    elif not path.exists() and (runs / path / "run.json").is_file():
        path = runs / path
    verified = curate.verify(path, full=full, progress=display.progress)
    display.result(verified, verify_lines(verified))
    if not verified.ok:
        raise DataError(faults_in_short(verified))
    for step in after_verify(verified):
        display.next(*step)


@command("curate clean --dry-run")
def clean(
    display: Display,
    runs: Runs = RUNS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be removed.")
    ] = False,
) -> None:
    """Remove what runs shared and no run has any more: shards, images, encoders, alignments."""
    import curate

    cleaned = curate.clean(runs, dry_run=dry_run)
    verb = "would be removed" if dry_run else "removed"
    line = f"{cleaned.entries:,} units {verb} from {runs}/.store, {cleaned.bytes / 2**20:,.1f} MiB"
    display.result(cleaned.to_json(), [line])


@command("curate ledger digits")
def ledger(display: Display, name: RunName = None, runs: Runs = RUNS) -> None:
    """Show what each stage cost, and when each selection has paid for its scores."""
    import curate

    run = named(display, name, runs)
    costs = curate.ledger(run)
    display.result(costs, ledger_lines(costs))
    if not costs.selections:
        display.next(f"curate select --fraction 0.75 {typed(run)}")


@command("curate recipes digits")
def recipes(
    display: Display,
    name: Annotated[str | None, typer.Argument(help="A recipe to print in full.")] = None,
) -> None:
    """List the recipes, or print one with every default filled in."""
    import curate

    if name is None:
        listed = curate.recipe_list()
        display.result(listed, recipe_lines(listed))
        display.next("curate recipes digits", "prints one")
        display.next("curate run digits", "runs it")
        return
    resolved = curate.load_recipe(name).resolved()
    display.result(resolved, [as_yaml(resolved).rstrip()])
    display.next(f"curate run {shlex.quote(name)}")


@command("curate init ./photos")
def init(
    display: Display,
    source: Annotated[str, typer.Argument(help="A folder of images, or another SOURCE.")],
    data: DataPath = None,
    set_: Set = None,
) -> None:
    """Print a commented recipe for your own images, fitted to them and to this machine."""
    import curate

    text = curate.init(source, data=data, overrides=values(set_))
    display.result({"recipe": text}, [text])
    request, again = Request(source, set_=set_, data=data), Request("mine.yaml", data=data)
    display.next(f"curate init {request.typed()} > mine.yaml && curate run {again.typed()}")


@command("curate doctor")
def doctor(display: Display) -> None:
    """Show versions, devices, FAISS and disk; what is missing and how to install it."""
    import curate

    machine = curate.doctor()
    display.result(machine, doctor_lines(machine))
    display.next("curate run digits", "tries everything out")


@command("curate bench digits")
def bench(
    display: Display,
    name: Annotated[str, typer.Argument(help="A run, a recipe, or a path to a recipe.")] = "digits",
    runs: Runs = RUNS,
    set_: Set = None,
    data: DataPath = None,
    device: Device = "auto",
) -> None:
    """Measure each stage here, beside one image at a time and the machine's own ceiling."""
    import curate

    request = Request(name, runs, set_, data, device=device)
    benchmark = curate.bench(
        name,
        runs=runs,
        overrides=request.overrides(),
        data=data,
        device=device,
        progress=display.progress,
    )
    display.result(benchmark, bench_lines(benchmark))
    display.next(f"curate train {request.typed()} --dry-run", "tells what a run takes")
