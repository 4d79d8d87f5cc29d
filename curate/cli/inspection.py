"""Beside memorization: other people's measures, and where in an encoder it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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
    chosen,
    command,
    named,
    typed,
    values,
)
from curate.cli.results.inspection import (
    copies_lines,
    inspect_lines,
    localize_lines,
    measure_lines,
    sample_lines,
)
from curate.errors import UsageError
from curate.runs.recipe import read_value
from curate.runtime.engines import LOCAL


def _of_inspect(given: dict[str, Any]) -> dict[str, Any]:
    """Return settings of the section ``inspect`` by their own names.

    Raises:
        UsageError: If one is of another section, which nothing reads without a run.
    """
    for key in given:
        if not key.startswith("inspect."):
            raise UsageError(f"--set {key}: without a run only inspect.* is read.")
    return {key.removeprefix("inspect."): read_value(value) for key, value in given.items()}


@command("curate inspect digits")
def inspect(
    display: Display,
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="A run; default: the newest. With --out a SOURCE."),
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(
            "--sample",
            metavar="NAME",
            help="Show this sample alone: its path, its key, or how its uid begins.",
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            metavar="NAME",
            help="Whose space is looked at: an encoder of the run, `timm:NAME`, a file of weights, "
            "or the folder of a saved encoder. Trains nothing.",
        ),
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            "--embeddings",
            metavar="FILE",
            help="A space that is given: a `.npy` in the order of the source (of a run: of its "
            "index), or a `.parquet` by uid or path.",
        ),
    ] = None,
    backbone: Backbone = None,
    size: Size = None,
    prefix: Prefix = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Inspect a SOURCE, without a run, into here."),
    ] = None,
    runs: Runs = RUNS,
    device: Device = "auto",
    set_: Set = None,
    data: DataPath = None,
) -> None:
    """Find outliers, near-duplicates and what is worth a look among the memorized."""
    import curate

    space = {"backbone": backbone, "size": size, "prefix": prefix}
    network = {key: value for key, value in space.items() if value is not None}
    if out is not None:
        if run is None or sample is not None:
            raise UsageError("--out goes with a SOURCE: curate inspect SOURCE --out DIR.")
        inspection = curate.inspect_source(
            run,
            out,
            encoder=encoder,
            embeddings=embeddings,
            settings={**_of_inspect(values(set_)), **network},
            data=data,
            device=device,
            progress=display.progress,
        )
        display.result(inspection, inspect_lines(inspection))
        display.hint(f"which image a uid is: {out / 'images.parquet'}")
        return
    if encoder is not None and embeddings is not None:
        raise UsageError("say what gives the space: either --encoder or --embeddings.")
    name = encoder if embeddings is None else str(embeddings)
    chosen: dict[str, Any] = {f"inspect.{key}": value for key, value in network.items()}
    if name is not None:
        # Settings of another space do not hold for this one.
        chosen = {f"inspect.{key}": space[key] for key in space} | {"inspect.encoder": name}
    opened = named(display, run, runs, set_, chosen)
    if sample is not None:
        card = curate.inspect(
            opened, sample=sample, data=data, device=device, progress=display.progress
        )
        display.result(card, sample_lines(card))
        return
    inspection = curate.inspect(opened, data=data, device=device, progress=display.progress)
    display.result(inspection, inspect_lines(inspection))
    display.next(f"curate report {typed(opened)}")


@command("curate copies photos/ --out copies")
def copies(
    display: Display,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder, a source (`KIND:WHERE`), a folder of shards, or a run; "
            "a word that names a run means that run.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the tables.")],
    against: Annotated[
        str | None,
        typer.Option(
            "--against", metavar="SOURCE2", help="Another source; what both have is a leak."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="A,B", help="Splits to look at; default: all there are."),
    ] = None,
    runs: Runs = RUNS,
    device: Device = "auto",
) -> None:
    """Find every copy among images, and every leak between their splits; nothing is trained."""
    import curate

    result = curate.copies(
        source,
        out,
        against=against,
        split=split,
        runs=runs,
        device=device,
        progress=display.progress,
    )
    display.result(result, copies_lines(result))
    display.hint(
        f"open {out / 'pairs.parquet'} in pandas, polars or duckdb; its first rows are the leaks"
    )


@command("curate measure digits --kinds supervised,el2n")
def measure(
    display: Display,
    run: RunName = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            "--kinds",
            metavar="A,B",
            help="`supervised`, `deja-vu`, `relative`, `alignment`, `el2n`, `grand`, "
            "`loss`, `knn-outlierness`; of supervised encoders `feldman`, `feldman-softmax`; "
            "default: all that can be computed.",
        ),
    ] = None,
    runs: Runs = RUNS,
    device: Device = "auto",
    engine: EngineName = LOCAL,
    engine_set: EngineSet = None,
    set_: Set = None,
    data: DataPath = None,
) -> None:
    """Compute other people's measures of each sample, and how they agree with memorization."""
    import curate

    opened = named(display, run, runs, set_)
    asked = None if kinds is None else [kind.strip() for kind in kinds.split(",") if kind.strip()]
    measured = curate.measure(
        opened,
        asked,
        data=data,
        device=device,
        engine=chosen(engine, engine_set),
        progress=display.progress,
    )
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
