"""The command line: parse, call the library, turn named errors into messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence

from curate.cli import adoption, evaluation, inspection, pipeline, runs, selection
from curate.cli.exits import explain
from curate.cli.options import app
from curate.runtime import options, signals
from curate.runtime.signals import Stopped
from curate.runtime.text import visible_lines

REGISTERED = (pipeline, adoption, inspection, selection, evaluation, runs)
"""Modules whose commands the app has, in the order in which it lists them."""
app.registered_commands.sort(
    key=lambda entry: [module.__name__ for module in REGISTERED].index(entry.callback.__module__)
)


def main() -> None:
    """Run the command line and exit with a code of docs/cli.md."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    signals.answer()
    # Arrow's own pool keeps several times what is in use; it reads this when it is first needed.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    sys.exit(call(sys.argv[1:]))


_arrived: list[int] = []
"""Signals that came while a command ran."""


def _stop(number: int, _frame: object) -> None:
    # A second signal while leaving must not cut the saving short.
    signal.signal(number, signal.SIG_IGN)
    _arrived.append(number)
    signals.obey(number)


def call(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; errors become one or two lines on stderr."""
    _arrived.clear()
    try:
        # typer returns the code of an early exit, such as --help's, and what a command returns.
        words = list(arguments) or ["--help"]
        with options.typed():
            return app(words, prog_name="curate", standalone_mode=False) or 0
    except (Stopped, Exception) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        # Libraries that call back from C make errors of their own of what stopped them.
        code, message = explain(Stopped(_arrived[0]) if _arrived else error)
        sys.stderr.write(f"{visible_lines(message)}\n")
        return code
