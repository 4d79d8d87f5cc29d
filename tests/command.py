"""The command line in this process, and the recipe that tests run."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

from curate.cli import app

TINY = Path(__file__).parent / "tiny.yaml"


@dataclass
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


def curate(*arguments):
    """Type a command; returns its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = app.call([str(a) for a in arguments])
    return Result(code, out.getvalue(), err.getvalue())
