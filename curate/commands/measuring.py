"""Beside memorization: other people's measures, and where in an encoder it lies."""

from __future__ import annotations

from typing import Annotated

import typer

from curate import describe
from curate.commands.named import named, typed
from curate.console import Display
from curate.options import RUNS, Device, RunName, Runs, command


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
) -> None:
    """Compute other people's measures of each sample, and how they agree with memorization."""
    from curate import api

    made = named(display, run, runs)
    chosen = None if kinds is None else [kind.strip() for kind in kinds.split(",") if kind.strip()]
    facts = api.measure(made, chosen, device=device, report=display.report)
    display.result(facts, describe.measure_lines(facts))
    display.hint(f"next: 'curate localize {typed(made)}'")


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
) -> None:
    """Find the layers and units that hold what one encoder memorized and another never saw."""
    from curate import api

    made = named(display, run, runs)
    pair = None if encoders is None else [name.strip() for name in encoders.split(",")]
    facts = api.localize(made, encoders=pair, device=device, report=display.report)
    display.result(facts, describe.localize_lines(facts))
    display.hint(f"next: 'curate report {typed(made)}'")
