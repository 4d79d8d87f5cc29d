"""Speed: bench."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from curate.console import Display
from curate.options import RUNS, DataPath, Device, Request, Runs, Set, command


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
    from curate import api

    facts = api.bench(
        name,
        runs=runs,
        overrides=Request(name, set_=set_).overrides(),
        data=data,
        device=device,
        report=display.report,
    )
    display.result(facts, table(facts))
    display.hint(f"next: 'curate train {shlex.quote(name)} --dry-run' tells what a run takes")


def table(facts: Mapping[str, Any]) -> list[str]:
    """Return the rates as a table, and what they are held against."""
    ceiling = facts["ceiling"]
    lines = [
        f"{facts['recipe']} on {facts['device']}, {facts['cores']} cores; a matrix product does "
        f"{ceiling['matmul'] / 1e9:,.0f} GFLOP/s ({ceiling['dtype']}), a copy moves "
        f"{ceiling['copy'] / 1e9:,.1f} GB/s",
        f"{'stage':<14}{'per second':>12}  {'slowest to fastest round':<26}{'of the ceiling':>14}",
    ]
    for row in facts["stages"]:
        spread = f"{_short(row['low'])} to {_short(row['high'])} {row['per']}"
        share = "" if row["share"] is None else f"{row['share']:.1%} {row['ceiling']}"
        lines.append(f"{row['stage']:<14}{_short(row['rate']):>12}  {spread:<26}{share:>14}")
    times = facts["times_one_at_a_time"]
    return [*lines, f"scores come {times:.1f} times as fast as one image at a time"]


def _short(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"
