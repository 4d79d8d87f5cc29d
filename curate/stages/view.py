"""View: serve the samples of a run to a browser on this machine."""

from __future__ import annotations

from collections.abc import Callable

from curate.reports import viewer
from curate.runs.dataset import say_outdated
from curate.runs.run import Run


def view(
    run: Run,
    *,
    port: int = 0,
    started: Callable[[str], None] | None = None,
) -> None:
    """Serve a run's samples to a browser on this machine, for looking and marking, until closed.

    Args:
        run: A scored run.
        port: To listen on, on 127.0.0.1 alone; 0 takes a free one.
        started: Called with the address once it can be opened.

    Raises:
        UsageError: If the port is taken or not allowed.
        DataError: If the run has no scores yet.
    """
    say_outdated(run)
    viewer.serve(run, port=port, started=started)
