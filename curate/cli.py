"""The command line: parse, call the library, turn named errors into messages and exit codes."""

from __future__ import annotations

import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate import describe, errors
from curate.console import Display
from curate.exits import explain
from curate.options import (
    RUNS,
    DataPath,
    Device,
    Limit,
    Request,
    RunName,
    Runs,
    Workers,
    command,
)
from curate.stopping import Stopped, obey

if TYPE_CHECKING:
    from curate.rundir import Run

app = typer.Typer(
    name="curate",
    help="Rank every image by how strongly self-supervised encoders memorize it, and select by it.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog="Start with `curate run digits`, then open the report that it names.",
)


# From arguments to an exit code


def main() -> None:
    """Run the command line and exit with a code of docs/cli.md."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    sys.exit(call(sys.argv[1:]))


def _stop(number: int, _frame: object) -> None:
    # A second signal while leaving must not cut the saving short.
    signal.signal(number, signal.SIG_IGN)
    obey(number)


def call(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; errors become one or two lines on stderr."""
    try:
        # typer returns the code of an early exit, such as --help's, and what a command returns.
        return app(list(arguments) or ["--help"], standalone_mode=False) or 0
    except (Stopped, Exception) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        code, message = explain(error)
        sys.stderr.write(f"{message}\n")
        return code


def _stage(display: Display, stage: Callable[..., Any], asked: Request) -> tuple[Run, Any]:
    """Open or create the run that is asked for, and call a stage of the library on it."""
    from curate import api

    run = api.open_run(
        asked.name,
        runs=asked.runs,
        overrides=asked.overrides(),
        data=asked.data,
        fresh=asked.fresh,
    )
    facts = stage(
        run,
        data=asked.data,
        device=asked.device,
        workers=asked.workers,
        report=display.report,
    )
    return run, facts


def _named(display: Display, name: str | None, runs: Path) -> Run:
    """Open the run a command is about, and say which where it was left out."""
    from curate import api

    run = api.open_run(name, runs=runs, create=False)
    if name is None:
        display.hint(f"run: {run.path}")
    return run


def _typed(run: Run) -> str:
    """Return what a user types for a run: its name, or its path where that is not found by name."""
    return shlex.quote(run.name if run.path.parent == RUNS else str(run.path))


def _warn_of_noise(display: Display, facts: dict[str, Any]) -> None:
    if facts.get("separation") == "none":
        display.warn(describe.NO_SEPARATION)


# The whole line, and its stages


@command(app, "curate run digits")
def run(display: Display, asked: Request) -> None:
    """Do the whole line: shard, plan, train, score, inspect, select, compare, report."""
    from curate import api

    made, facts = _stage(display, api.run_all, asked)
    display.result(facts, describe.run_lines(facts))
    _warn_of_noise(display, facts)
    display.hint(f"next: open {facts['report']}, or type 'curate select --top N {_typed(made)}'")


@command(app, "curate shard folder:photos --out shards")
def shard(
    display: Display,
    source: Annotated[
        str,
        typer.Argument(
            help="`digits`, `folder:DIR` or a directory, `idx:DIR`, `torchvision:NAME`, `hf:NAME`, "
            "`wds:GLOB`."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="PATH", help="New folder for the tars and their index.")
    ],
    split: Annotated[
        str, typer.Option("--split", metavar="NAME", help="Split of the source.")
    ] = "train",
    data: DataPath = None,
    limit: Limit = None,
    max_bad: Annotated[
        float,
        typer.Option("--max-bad", metavar="X", min=0, max=1, help="Largest share of bad images."),
    ] = 0.01,
) -> None:
    """Write the images of a source to WebDataset tars with an index."""
    from curate import api

    facts = api.shard(
        source, out, split=split, data=data, limit=limit, max_bad=max_bad, report=display.report
    )
    display.result(facts, describe.shard_lines(facts))
    display.hint(f"next: 'curate verify {shlex.quote(str(out))}'")


@command(app, "curate train digits --set train.epochs=50")
def train(
    display: Display,
    asked: Request,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what it would take; write nothing.")
    ] = False,
) -> None:
    """Train the encoders of the plan."""
    from curate import api

    if dry_run:
        told = api.forecast(
            asked.name,
            runs=asked.runs,
            overrides=asked.overrides(),
            data=asked.data,
            device=asked.device,
            workers=asked.workers,
        )
        display.result(told, describe.forecast_lines(told))
        display.hint(f"next: 'curate train {shlex.quote(asked.name)}'")
        return
    made, facts = _stage(display, api.train, asked)
    display.result(facts, describe.train_lines(facts))
    if not facts["trained"]:
        display.hint(f"nothing to do: all encoders of {made.path} were trained before")
    display.hint(f"next: 'curate score {_typed(made)}'")


@command(app, "curate score imagenet-100k --data /data/imagenet-100k")
def score(display: Display, asked: Request) -> None:
    """Score every candidate; what is missing before it is done first."""
    from curate import api

    made, facts = _stage(display, api.score, asked)
    display.result(facts, describe.score_lines(facts))
    _warn_of_noise(display, facts)
    if facts["already"]:
        display.hint(f"nothing to do: {made.path} was scored before")
    top = max(1, facts["n_scored"] * 3 // 4)
    rest = " --unscored keep" if facts["n_unscored"] else ""
    display.hint(f"next: 'curate select --top {top}{rest} {_typed(made)}'")


@command(app, "curate inspect digits")
def inspect(
    display: Display, run: RunName = None, runs: Runs = RUNS, device: Device = "auto"
) -> None:
    """Find outliers, near-duplicates and neighbours with FAISS."""
    from curate import api

    made = _named(display, run, runs)
    facts = api.inspect(made, device=device, report=display.report)
    display.result(facts, describe.inspect_lines(facts))
    display.hint(f"next: 'curate report {_typed(made)}'")


# Selections


@command(app, "curate select --top 22000 imagenet-100k")
def select(
    display: Display,
    run: RunName = None,
    top: Annotated[
        int | None, typer.Option("--top", metavar="N", help="Keep the N most memorized.")
    ] = None,
    drop_top: Annotated[
        int | None, typer.Option("--drop-top", metavar="N", help="Drop the N most memorized.")
    ] = None,
    bottom: Annotated[
        int | None, typer.Option("--bottom", metavar="N", help="Keep the N least memorized.")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option("--strategy", metavar="NAME", help="`top`, `bottom`, `drop-top` or `random`."),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", metavar="N", help="Keep N by --strategy (`drop-top` drops them)."),
    ] = None,
    fraction: Annotated[
        float | None,
        typer.Option("--fraction", metavar="X", help="The same, as a share of the scored samples."),
    ] = None,
    unscored: Annotated[
        str | None,
        typer.Option("--unscored", metavar="WHAT", help="`keep` or `drop` what has no score."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of `random`.")] = 0,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the manifest.")
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            "--scores", metavar="FILE", help="Select from a parquet or csv with `uid` and a number."
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="COLUMN", help="Column of --scores; default: memorization."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="PATH", help="With --scores: folder for the manifest."),
    ] = None,
    runs: Runs = RUNS,
) -> None:
    """Select samples by their scores; the manifest says keep or drop for each sample."""
    from curate import api

    short = {"top": top, "drop-top": drop_top, "bottom": bottom}
    wanted = _selection(short, strategy=strategy, count=count, fraction=fraction)
    wanted |= {"unscored": unscored, "seed": seed, "name": name}
    if scores is None:
        if out is not None or by is not None:
            raise errors.UsageError("--by and --out go with --scores; a run keeps its manifests.")
        facts = api.select(_named(display, run, runs), **wanted)
    elif run is not None:
        raise errors.UsageError(f"give --scores or the run {run!r}, not both.")
    else:
        facts = api.select_table(scores, by=by or "memorization", out=out or Path(), **wanted)
    display.result(facts, describe.select_lines(facts))
    _warn_of_noise(display, facts)
    manifest = shlex.quote(facts["path"])
    display.hint(f"next: 'curate export {manifest} --to csv --out manifest.csv'")


def _selection(
    short: dict[str, int | None],
    *,
    strategy: str | None,
    count: int | None,
    fraction: float | None,
) -> dict[str, Any]:
    """Return strategy, count and fraction of a selection that may be given in short."""
    given = {name: n for name, n in short.items() if n is not None}
    if given and len(given) + sum(x is not None for x in (strategy, count, fraction)) > 1:
        raise errors.UsageError(
            "give one of --top, --drop-top, --bottom, or --strategy and a size."
        )
    for name, n in given.items():
        return {"strategy": name, "count": n, "fraction": None}
    if (count is None) == (fraction is None):
        raise errors.UsageError(
            "say how many: --top N, --drop-top N, --bottom N, or --count N or --fraction X of a "
            "--strategy."
        )
    return {"strategy": strategy or "top", "count": count, "fraction": fraction}


@command(app, "curate export runs/digits/manifests/top-1000.parquet --to paths --out kept.txt")
def export(
    display: Display,
    manifest: Annotated[Path, typer.Argument(help="A manifest (.parquet).")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="`csv`: every row of the manifest; `paths`: a list of the kept images; `folder`: "
            "the kept images.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="PATH", help="New file or folder.")],
) -> None:
    """Write a manifest, or the subset itself, for another tool."""
    from curate import api

    facts = api.export(manifest, to=to, out=out, report=display.report)
    display.result(facts, [f"{facts['written']:,} samples written to {out}"])
    display.hint(f"next: train on it, or here: 'curate retrain {shlex.quote(str(manifest))}'")


# What a selection did


@command(app, "curate retrain runs/digits/manifests/top-1000.parquet")
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
) -> None:
    """Train afresh on what a manifest keeps."""
    from curate import api

    facts = api.retrain(
        manifest, run=run, runs=runs, seed=seed, device=device, report=display.report
    )
    display.result(facts, [f"encoder     {facts['encoder']}"])
    display.hint(f"next: 'curate probe {shlex.quote(facts['encoder'])} --on self'")


@command(app, "curate probe runs/digits/encoders/fold0 --on self")
def probe(
    display: Display,
    encoder: Annotated[Path, typer.Argument(help="An encoder's folder.")],
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on", metavar="SOURCE", help="`self` (the run's labels) or a SOURCE; may be repeated."
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", metavar="KIND", help="`linear` or `knn`; default: both."),
    ] = None,
    data: DataPath = None,
    device: Device = "auto",
) -> None:
    """Measure linear and k-NN accuracy of an encoder's frozen representations."""
    from curate import api

    facts = api.probe(
        encoder, on=on or ["self"], kinds=kind, data=data, device=device, report=display.report
    )
    display.result(facts, describe.probe_lines(facts))
    display.hint(
        "next: 'curate compare --remove N' tells whether selections differ by more than luck"
    )


@command(app, "curate compare --remove 500,1000 --strategies top,random --seeds 3")
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
            "--strategies", metavar="NAME,NAME...", help="As in `curate select`, e.g. top,random."
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", metavar="N", min=1, help="Paired repetitions; 2 give an interval."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="WHAT", help="Equal `epochs` or equal `steps`."),
    ] = None,
    runs: Runs = RUNS,
    device: Device = "auto",
    workers: Workers = None,
) -> None:
    """Retrain on selections of equal size and compare them with random ones, with intervals."""
    from curate import api

    made = _named(display, run, runs)
    facts = api.compare(
        made,
        remove=_numbers(remove),
        strategies=[s.strip() for s in strategies.split(",")] if strategies else None,
        seeds=seeds,
        budget=budget,
        device=device,
        workers=workers,
        report=display.report,
    )
    display.result(facts, describe.comparison_lines(facts))
    display.hint(f"next: 'curate report {_typed(made)}'")


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise errors.UsageError(f"--remove {text}: expected numbers such as 500,1000.") from None


@command(app, "curate report digits")
def report(display: Display, run: RunName = None, runs: Runs = RUNS) -> None:
    """Write one self-contained HTML file about a run."""
    from curate import api

    path = api.report(_named(display, run, runs))
    display.result({"report": str(path)}, [f"report      {path}"])
    display.hint("next: open it in a browser")


# What is there


@command(app, "curate verify runs/digits --full")
def verify(
    display: Display,
    path: Annotated[Path, typer.Argument(help="Shards, a run or a manifest.")],
    full: Annotated[bool, typer.Option("--full", help="Check every hash, not only sizes.")] = False,
) -> None:
    """Check that everything is there and, with --full, unchanged."""
    from curate import api

    facts = api.verify(path, full=full, report=display.report)
    display.result(facts, [f"{path}: {facts['checked']:,} checked, nothing missing or changed"])
    display.hint(describe.after_verify(facts))


@command(app, "curate recipes digits")
def recipes(
    display: Display,
    name: Annotated[str | None, typer.Argument(help="A recipe to print in full.")] = None,
) -> None:
    """List the recipes, or print one with every default filled in."""
    from curate import api

    if name is None:
        found = api.recipe_list()
        width = max(map(len, found), default=0)
        display.result(found, [f"{n:<{width}}  {text}" for n, text in found.items()])
        display.hint("next: 'curate recipes NAME' prints one, 'curate run NAME' runs it")
        return
    resolved = api.load_recipe(name).resolved()
    display.result(resolved, [describe.as_yaml(resolved).rstrip()])
    display.hint(f"next: 'curate run {shlex.quote(name)}'")


@command(app, "curate doctor")
def doctor(display: Display) -> None:
    """Show versions, devices, FAISS and disk; what is missing and how to install it."""
    from curate import api

    facts = api.doctor()
    display.result(facts, describe.doctor_lines(facts))
    display.hint("next: 'curate run digits' tries everything out")
