"""What commands on a run share: which run is meant, and what is said of it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate import describe
from curate.console import Display
from curate.options import RUNS

if TYPE_CHECKING:
    from curate.rundir import Run


def named(display: Display, name: str | None, runs: Path) -> Run:
    """Open the run a command is about, and say which where it was left out."""
    from curate import api

    run = api.open_run(name, runs=runs, create=False)
    if name is None:
        display.hint(f"run: {run.path}")
    return run


def typed(run: Run) -> str:
    """Return what a user types for a run: its name, or its path where that is not found by name."""
    return shlex.quote(run.name if run.path.parent == RUNS else str(run.path))


def warn_of_noise(display: Display, facts: dict[str, Any]) -> None:
    """Warn where scores do not tell members from non-members."""
    if facts.get("separation") == "none":
        display.warn(describe.NO_SEPARATION)
