"""What is there, and what it cost: verify, ledger, recipes, doctor."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from curate import describe
from curate.commands.named import named, typed
from curate.console import Display
from curate.errors import DataError
from curate.options import RUNS, RunName, Runs, command


@command("curate verify runs/digits --full")
def verify(
    display: Display,
    path: Annotated[Path, typer.Argument(help="Shards, a run or a manifest.")],
    full: Annotated[bool, typer.Option("--full", help="Check every hash, not only sizes.")] = False,
) -> None:
    """Check that everything is there and, with --full, unchanged."""
    from curate import api

    facts = api.verify(path, full=full, report=display.report)
    display.result(facts, describe.verify_lines(facts))
    if not facts["ok"]:
        raise DataError(describe.faults_in_short(facts))
    display.hint(describe.after_verify(facts))


@command("curate ledger digits")
def ledger(display: Display, name: RunName = None, runs: Runs = RUNS) -> None:
    """Show what each stage cost, and when each selection has paid for its scores."""
    from curate import api

    run = named(display, name, runs)
    facts = api.ledger(run)
    display.result(facts, describe.ledger_lines(facts))
    if not facts["selections"]:
        display.hint(f"next: 'curate select --fraction 0.75 {typed(run)}'")


@command("curate recipes digits")
def recipes(
    display: Display,
    name: Annotated[str | None, typer.Argument(help="A recipe to print in full.")] = None,
) -> None:
    """List the recipes, or print one with every default filled in."""
    from curate import api

    if name is None:
        found = api.recipe_list()
        display.result(found, describe.recipe_lines(found))
        display.hint("next: 'curate recipes NAME' prints one, 'curate run NAME' runs it")
        return
    resolved = api.load_recipe(name).resolved()
    display.result(resolved, [describe.as_yaml(resolved).rstrip()])
    display.hint(f"next: 'curate run {shlex.quote(name)}'")


@command("curate doctor")
def doctor(display: Display) -> None:
    """Show versions, devices, FAISS and disk; what is missing and how to install it."""
    from curate import api

    facts = api.doctor()
    display.result(facts, describe.doctor_lines(facts))
    display.hint("next: 'curate run digits' tries everything out")
