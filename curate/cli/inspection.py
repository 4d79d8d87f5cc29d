"""Beside memorization: other people's measures, and where in an encoder it lies."""

from __future__ import annotations

from typing import Annotated

import typer

from curate.cli.console import Display
from curate.cli.options import RUNS, DataPath, Device, RunName, Runs, Set, command, named, typed
from curate.cli.results.inspection import inspect_lines, localize_lines, measure_lines, sample_lines


@command("curate inspect digits")
def inspect(
    display: Display,
    run: RunName = None,
    sample: Annotated[
        str | None,
        typer.Option(
            "--sample",
            metavar="NAME",
            help="Show this sample alone: its path, its key, or how its uid begins.",
        ),
    ] = None,
    runs: Runs = RUNS,
    device: Device = "auto",
    set_: Set = None,
    data: DataPath = None,
) -> None:
    """Find outliers, near-duplicates and what is worth a look among the memorized."""
    import curate

    opened = named(display, run, runs, set_)
    if sample is not None:
        card = curate.inspect(
            opened, sample=sample, data=data, device=device, progress=display.progress
        )
        display.result(card, sample_lines(card))
        return
    inspection = curate.inspect(opened, data=data, device=device, progress=display.progress)
    display.result(inspection, inspect_lines(inspection))
    display.next(f"curate report {typed(opened)}")


@command("curate measure digits --kinds supervised,el2n")
def measure(
    display: Display,
    run: RunName = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            "--kinds",
            metavar="A,B",
            help="`supervised`, `deja-vu`, `alignment`, `el2n`, `grand`, `loss`, "
            "`knn-outlierness`; default: all that can be computed.",
        ),
    ] = None,
    runs: Runs = RUNS,
    device: Device = "auto",
    set_: Set = None,
    data: DataPath = None,
) -> None:
    """Compute other people's measures of each sample, and how they agree with memorization."""
    import curate

    opened = named(display, run, runs, set_)
    chosen = None if kinds is None else [kind.strip() for kind in kinds.split(",") if kind.strip()]
    measured = curate.measure(opened, chosen, device=device, data=data, progress=display.progress)
    display.result(measured, measure_lines(measured))
    display.next(f"curate localize {typed(opened)}")


@command("curate localize digits")
def localize(
    display: Display,
    run: RunName = None,
    encoders: Annotated[
        str | None,
        typer.Option(
            "--encoders",
            metavar="F,G",
            help="The pair: what F was trained on and G was not is measured; default: the plan's "
            "first two.",
        ),
    ] = None,
    runs: Runs = RUNS,
    device: Device = "auto",
    set_: Set = None,
    data: DataPath = None,
) -> None:
    """Find the layers and units that hold what one encoder memorized and another never saw."""
    import curate

    opened = named(display, run, runs, set_)
    pair = None if encoders is None else [name.strip() for name in encoders.split(",")]
    localized = curate.localize(
        opened, encoders=pair, device=device, data=data, progress=display.progress
    )
    display.result(localized, localize_lines(localized))
    display.next(f"curate report {typed(opened)}")


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
    import curate

    formats = [part.strip() for part in format_.split(",")]
    opened = named(display, run, runs)
    path = curate.report(opened, formats=formats, against=against or (), runs=runs)
    content, lines = {"report": str(path)}, [f"report      {path}"]
    if "html" in formats and len(formats) > 1:
        content["files"] = str(path.with_suffix(""))
        lines.append(f"files       {content['files']}")
    display.result(content, lines)
    if "html" in formats:
        display.next(f"curate view {typed(opened)}", "shows samples; open the report in a browser")


@command("curate view digits")
def view(
    display: Display,
    run: RunName = None,
    port: Annotated[
        int,
        typer.Option(
            "--port", metavar="N", min=0, max=65535, help="On 127.0.0.1; default: a free one."
        ),
    ] = 0,
    runs: Runs = RUNS,
) -> None:
    """Look at a run's samples in a browser, mark keep, drop or unsure, and save a manifest."""
    import curate

    def started(url: str) -> None:
        display.result({"url": url}, [url])
        display.hint("open it in a browser on this machine; Ctrl-C ends it")

    curate.view(named(display, run, runs), port=port, started=started)
