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
    DataPath,
    Device,
    Require,
    RunName,
    Runs,
    command,
    following,
    named,
    stands,
    warn_of_noise,
)
from curate.cli.results.selection import select_lines
from curate.runs.run import Run, enclosing
from curate.selection.strategies import STRATEGIES

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
        typer.Option(
            "--strategy",
            metavar="NAME",
            help="By a number: `top`, `bottom`, `drop-top`, `ccs`, `d2`. By how samples lie: "
            "`k-center`, `facility-location`, `prototypes`, `prototypes-easy`, `semdedup`, "
            "`hierarchical`, `moderate`. Controls: `random`, `random-matched`.",
        ),
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
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Seed of what draws at random.")
    ] = 0,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            metavar="SPACE",
            help="Where samples lie: an encoder of the run, `timm:NAME`, an encoder's folder, or "
            "embeddings (.npy, .parquet). Default: inspect.encoder.",
        ),
    ] = None,
    match: Annotated[
        str | None,
        typer.Option(
            "--match",
            metavar="MANIFEST",
            help="What `random-matched` is like in class and outlierness.",
        ),
    ] = None,
    drop: Annotated[
        str | None,
        typer.Option(
            "--drop",
            metavar="KIND,KIND...",
            help="Leave out beforehand `duplicates` (of each group of copies all but the largest "
            "image), `leaks` (what has a copy in another split), or what the triage of `curate "
            "inspect` calls `broken`, `redundant`, `tail` or `typical`.",
        ),
    ] = None,
    copies: Annotated[
        Path | None,
        typer.Option(
            "--copies",
            metavar="DIR",
            help="What `curate copies` wrote, for `duplicates` and `leaks`. Default: the run's "
            "inspection.",
        ),
    ] = None,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Keep of each class its part.")
    ] = False,
    always: Annotated[
        str | None,
        typer.Option(
            "--always",
            metavar="LIST",
            help="A text file of uids or paths, one a line, that are kept in any case; they count.",
        ),
    ] = None,
    never: Annotated[
        str | None,
        typer.Option(
            "--never", metavar="LIST", help="The same of such as are dropped in any case."
        ),
    ] = None,
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
        typer.Option(
            "--by",
            metavar="COLUMN",
            help="A column of the run's scores, measures or inspection, such as `expected`, `el2n` "
            "or `outlier_score`, or FILE:COLUMN of a parquet or csv with `uid` or `path`; with "
            "--scores any column of it. Default: memorization.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="PATH", help="With --scores: folder for the manifest."),
    ] = None,
    require: Require = None,
    data: DataPath = None,
    device: Device = "auto",
    runs: Runs = RUNS,
) -> None:
    """Select samples by their scores; the manifest says keep or drop for each sample."""
    import curate

    short = {"top": top, "drop-top": drop_top, "bottom": bottom}
    settings = _selection(short, strategy=strategy, count=count, fraction=fraction)
    settings |= {"unscored": unscored, "seed": seed, "name": name, "space": space, "match": match}
    settings |= {"per_class": per_class, "always": always, "never": never}
    if scores is None:
        if out is not None:
            raise errors.UsageError("--out goes with --scores; a run keeps its manifests.")
        settings["by"] = by or "memorization"
        settings |= {"drop": [kind.strip() for kind in drop.split(",")] if drop else ()}
        settings["copies"] = copies
        settings |= {"data": data, "device": device, "progress": display.progress}
        selected = curate.select(named(display, run, runs), **settings, require=require)
    elif drop is not None:
        raise errors.UsageError("--drop asks a run for its triage; a table has none.")
    elif copies is not None:
        raise errors.UsageError("--copies goes with --drop, which a run can do and a table not.")
    elif require is not None:
        raise errors.UsageError("--require asks about a run; of a table nobody knows it.")
    elif run is not None:
        raise errors.UsageError(f"give --scores or the run {run!r}, not both.")
    else:
        selected = curate.select_table(
            scores, by=by or "memorization", out=out or Path(), **settings
        )
    display.result(selected, select_lines(selected))
    manifest = shlex.quote(str(selected.path))
    then = f"curate export {manifest} --to csv --out manifest.csv"
    by_scores = (by or "memorization") in ("memorization", "expected")
    if by_scores and "scores" in STRATEGIES[settings["strategy"]].needs:
        warn_of_noise(display, selected.verdict, places=selected.places, luck=selected.luck)
        then = _following(selected.path, then)
    display.next(then)


def _following(manifest: Path, then: str) -> str:
    """Return what follows a manifest: ``then``, or what makes a ranking of its run first."""
    home = enclosing(manifest)
    if home is None:
        return then
    run = Run.open(home)
    return following(stands(run, run.summary()), then)


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
            help="`csv`: every row of the manifest; `paths`: a list of the kept images, "
            "`list`: with their labels; `folder`: the kept images; `tars`: these as shards for "
            "webdataset and curate; `fiftyone`, `hf-metadata`, `croissant`: images and what is "
            "known of them, for FiftyOne, Hugging Face and readers of Croissant; `datacomp`: the "
            "kept uids, for DataComp's resharder; `nemo`: what NeMo Curator is to remove.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="PATH", help="New file or folder.")],
    null: Annotated[
        bool, typer.Option("-0", help="End `paths` with null bytes, as `xargs -0` reads them.")
    ] = False,
) -> None:
    """Write a manifest, or the subset itself, for another tool."""
    import curate

    exported = curate.export(manifest, to=to, out=out, null=null, progress=display.progress)
    display.result(exported, [f"{exported.written:,} samples written to {out}"])
    warn_of_noise(display, exported.verdict)
    then = f"curate retrain {shlex.quote(str(manifest))}"
    display.next(_following(manifest, then))
