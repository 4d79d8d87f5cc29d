"""Looking: view."""

from __future__ import annotations

from typing import Annotated

import typer

from curate.commands.named import named
from curate.console import Display
from curate.options import RUNS, RunName, Runs, command


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
    from curate import api

    def started(url: str) -> None:
        display.result({"url": url}, [url])
        display.hint("next: open it in a browser on this machine; Ctrl-C ends it")

    api.view(named(display, run, runs), port=port, started=started)
