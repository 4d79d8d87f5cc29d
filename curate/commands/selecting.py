"""Selections and what they did: select, export, retrain, probe, compare, agree, report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from curate import describe, errors
from curate.commands.named import named, typed, warn_of_noise
from curate.console import Display
from curate.options import RUNS, DataPath, Device, RunName, Runs, Workers, command

# Selections


@command("curate select --top 22000 imagenet-100k")
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
        facts = api.select(named(display, run, runs), **wanted)
    elif run is not None:
        raise errors.UsageError(f"give --scores or the run {run!r}, not both.")
    else:
        facts = api.select_table(scores, by=by or "memorization", out=out or Path(), **wanted)
    display.result(facts, describe.select_lines(facts))
    warn_of_noise(display, facts)
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


@command("curate export runs/digits/manifests/top-1000.parquet --to paths --out kept.txt")
def export(
    display: Display,
    manifest: Annotated[Path, typer.Argument(help="A manifest (.parquet).")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="`csv`: every row of the manifest; `paths`: a list of the kept images; `folder`: "
            "the kept images; `fiftyone`, `hf-metadata`: these and what is known of them, for "
            "FiftyOne and Hugging Face.",
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
) -> None:
    """Train afresh on what a manifest keeps."""
    from curate import api

    facts = api.retrain(
        manifest, run=run, runs=runs, seed=seed, device=device, report=display.report
    )
    display.result(facts, [f"encoder     {facts['encoder']}"])
    display.hint(f"next: 'curate probe {shlex.quote(facts['encoder'])} --on self'")


@command("curate probe runs/digits/encoders/fold0 --on self")
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


@command("curate compare --remove 500,1000 --strategies top,random --seeds 3")
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

    made = named(display, run, runs)
    facts = api.compare(
        made,
        remove=numbers(remove, "--remove"),
        strategies=[s.strip() for s in strategies.split(",")] if strategies else None,
        seeds=seeds,
        budget=budget,
        device=device,
        workers=workers,
        report=display.report,
    )
    display.result(facts, describe.comparison_lines(facts))
    display.hint(f"next: 'curate report {typed(made)}'")


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
    from curate import api

    facts = api.agree(run, tops=numbers(top, "--top") or (), by=by, runs=runs)
    display.result(facts, describe.agreement_lines(facts))


@command("curate report digits")
def report(
    display: Display,
    run: RunName = None,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME,NAME...",
            help="`html`: one file; `png`, `svg`: each figure; `csv`: each table.",
        ),
    ] = "html",
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against", metavar="RUN", help="A run to compare the ranking with; may be repeated."
        ),
    ] = None,
    runs: Runs = RUNS,
) -> None:
    """Write one self-contained HTML file about a run, or its figures and tables."""
    from curate import api

    formats = [part.strip() for part in format_.split(",")]
    made = named(display, run, runs)
    path = api.report(made, formats=formats, against=against or (), runs=runs)
    facts, lines = {"report": str(path)}, [f"report      {path}"]
    if "html" in formats and len(formats) > 1:
        facts["files"] = str(path.with_suffix(""))
        lines.append(f"files       {facts['files']}")
    display.result(facts, lines)
    if "html" in formats:
        display.hint(f"next: open it in a browser, or look at samples: 'curate view {typed(made)}'")
