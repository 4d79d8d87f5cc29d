"""Report: one self-contained page about a run, or its figures and tables as files."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from curate import reports
from curate.runs.dataset import say_outdated
from curate.runs.run import Run
from curate.stages.agree import agree


def report(
    run: Run,
    *,
    formats: Sequence[str] = ("html",),
    against: Sequence[Run | str | Path] = (),
    runs: str | Path = "runs",
) -> Path:
    """Write ``report.html`` of a run, one self-contained file, or what it shows as files.

    Args:
        run: A scored run.
        formats: ``html``; ``png`` and ``svg`` write each figure, ``csv`` each table, into
            ``report/`` of the run.
        against: Other runs, or tables of scores, whose rankings are compared with this one's.
        runs: Folder that holds the runs of ``against``.

    Returns:
        The page, or the folder of the files where no page was asked for.

    Raises:
        UsageError: For an unknown format or run.
        DataError: If a run has no scores yet.
    """
    agreement = agree([run, *against], runs=runs) if against else None
    # It only reads, and so it does while another command holds the run.
    with contextlib.nullcontext() if run.in_use() else run.lock():
        say_outdated(run)
        return reports.build(run.path, formats=formats, agreement=agreement)
