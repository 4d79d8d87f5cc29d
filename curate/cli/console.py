"""What a person sees while work goes on: bars on a terminal, one line a stage elsewhere."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from curate.errors import ResourceError
from curate.runtime.results import Result, plain
from curate.runtime.text import duration, visible_lines


@dataclass(frozen=True)
class Listing:
    """Rows of a result: a table on a terminal, lines elsewhere.

    Attributes:
        header: What stands above the columns; empty for none.
        rows: A text for each column.
        lines: What is printed where no terminal is, for people and for tools such as grep.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    lines: Sequence[str]

    def text(self) -> str:
        """Return the rows as stdout shows them."""
        if not sys.stdout.isatty():
            return visible_lines("\n".join(self.lines))
        table = Table(*self.header, show_header=any(self.header), box=SIMPLE_HEAD, pad_edge=False)
        for row in self.rows:
            table.add_row(*(Text(visible_lines(cell)) for cell in row))
        console = Console(file=sys.stdout, highlight=False)
        with console.capture() as text:
            console.print(table)
        return text.get().rstrip("\n")


EVERY = 30.0
"""Seconds between two lines about one piece of work where no terminal is."""


@dataclass
class _Work:
    """One kind of work: when it began and was last told of, what was done then, and its bar."""

    started: float
    told: float
    before: int
    bar: TaskID | None = None


class Display:
    """Progress and messages on stderr, results on stdout; a context manager."""

    def __init__(self, *, quiet: bool, as_json: bool) -> None:
        self.quiet = quiet
        self.as_json = as_json
        self._err = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._bars: Progress | None = None
        self._work: dict[str, _Work] = {}
        self._handler = _ToDisplay(self)

    def __enter__(self) -> Display:
        logger = logging.getLogger("curate")
        logger.addHandler(self._handler)
        logger.setLevel(logging.INFO)
        if self._err.is_terminal and not self.quiet:
            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}", markup=False),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._err,
            )
            self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bars:
            self._bars.stop()
        logging.getLogger("curate").removeHandler(self._handler)

    def progress(self, what: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` steps of ``what`` are made (a ``progress.Progress``)."""
        if self.quiet:
            return
        now, (name, colon, _) = time.monotonic(), what.partition(":")
        work = self._work.get(name)
        if work is None:
            work = self._work[name] = _Work(now, now, done)
            if self._bars:
                work.bar = self._bars.add_task(what, total=total, rate="")
        spent = now - work.started
        speed = (done - work.before) / spent if spent > 0 else 0.0
        rate = f"{speed:,.0f}/s" if speed >= 0.5 else ""
        if self._bars and work.bar is not None:
            self._bars.update(work.bar, description=what, completed=done, total=total, rate=rate)
        opening = f"{what}{', ' if colon else ': '}"
        if done >= total:
            del self._work[name]
            if not self._bars:
                self._say(f"{opening}{total:,} in {spent:.1f} s" + (f", {rate}" if rate else ""))
        elif not self._bars and now - work.told >= EVERY:
            work.told = now
            left = f", about {duration((total - done) / speed)} left" if speed else ""
            self._say(f"{opening}{done / total:.0%}" + (f", {rate}" if rate else "") + left)

    def hint(self, text: str) -> None:
        """Say on stderr what is good to know, such as which run was taken."""
        if not self.quiet:
            self._say(text)

    def next(self, command: str, why: str = "") -> None:
        """Say on stderr what to type next: the line can be pasted, its end is a comment."""
        self.hint(f"next: {command}" + (f"  # {why}" if why else ""))

    def warn(self, text: str) -> None:
        """Say on stderr what must not be missed, also where quiet was asked for."""
        self._say(f"warning: {text}")

    def _say(self, text: str) -> None:
        self._err.print(visible_lines(text))

    def result(self, result: Result | Mapping[str, Any], lines: Sequence[str | Listing]) -> None:
        """Print a command's result on stdout: as JSON where asked, else in ``lines``."""
        if self.as_json:
            text = json.dumps(plain(result), indent=2, sort_keys=True)
        else:
            text = "\n".join(
                x.text() if isinstance(x, Listing) else visible_lines(x) for x in lines
            )
        if sys.stdout is None:
            raise ResourceError("the result cannot be shown: stdout is closed.")
        try:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader, such as head, has what it wanted; nor may the last flush complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _ToDisplay(logging.Handler):
    """Shows what the library has to say beside the progress bars, and marks its warnings."""

    def __init__(self, display: Display) -> None:
        super().__init__(logging.INFO)
        self.display = display

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        show = self.display.warn if record.levelno >= logging.WARNING else self.display.hint
        show(record.getMessage())
