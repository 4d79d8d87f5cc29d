"""Selections and what they did: select, export, retrain, probe, compare, agree, report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from curate import errors
from curate.cli.console import Display
from curate.cli.options import (
    RUNS,
    RunName,
    Runs,
    command,
    named,
    warn_of_noise,
)
from curate.cli.results.selection import select_lines

# Selections


@command("curate select --top 22000 imagenet-100k")
def select(
    display: Display,
    run: RunName = None,
    top: Annotated[
        int | None, typer.Option("--top", metavar="N", min=1, help="Keep the N most memorized.")
    ] = None,
    drop_top: Annotated[
        int | None,
        typer.Option("--drop-top", metavar="N", min=1, help="Drop the N most memorized."),
    ] = None,
    bottom: Annotated[
        int | None, typer.Option("--bottom", metavar="N", min=1, help="Keep the N least memorized.")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option("--strategy", metavar="NAME", help="`top`, `bottom`, `drop-top` or `random`."),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "--count", metavar="N", min=1, help="Keep N by --strategy (`drop-top` drops them)."
        ),
    ] = None,
    fraction: Annotated[
        float | None,
        typer.Option(
            "--fraction",
            metavar="X",
            min=0,
            max=1,
            help="The same, as a share of the scored samples.",
        ),
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
    import curate

    short = {"top": top, "drop-top": drop_top, "bottom": bottom}
    wanted = _selection(short, strategy=strategy, count=count, fraction=fraction)
    wanted |= {"unscored": unscored, "seed": seed, "name": name}
    if scores is None:
        if out is not None or by is not None:
            raise errors.UsageError("--by and --out go with --scores; a run keeps its manifests.")
        selected = curate.select(named(display, run, runs), **wanted)
    elif run is not None:
        raise errors.UsageError(f"give --scores or the run {run!r}, not both.")
    else:
        selected = curate.select_table(scores, by=by or "memorization", out=out or Path(), **wanted)
    display.result(selected, select_lines(selected))
    warn_of_noise(display, selected.separation)
    manifest = shlex.quote(str(selected.path))
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
    import curate

    exported = curate.export(manifest, to=to, out=out, progress=display.progress)
    display.result(exported, [f"{exported.written:,} samples written to {out}"])
    display.hint(f"next: train on it, or here: 'curate retrain {shlex.quote(str(manifest))}'")
