"""Exit codes and messages: what a command that was ended by an error says."""

from __future__ import annotations

import errno

import typer

from curate.data import addresses
from curate.errors import CurateError
from curate.runtime.signals import Stopped


def explain(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the message of what ended a command."""
    code, text = _explained(error)
    return code, addresses.in_words(text)


def _explained(error: BaseException) -> tuple[int, str]:
    match error:
        case Stopped():
            text = "interrupted: what was finished is kept; type the same command again."
            return 128 + error.number, text
        case CurateError():
            return error.exit_code, f"error: {error}"
        case typer.TyperException():
            context = getattr(error, "ctx", None)
            path = context.command_path if context else "curate"
            message = error.format_message().replace("\n", " ")
            return error.exit_code, f"error: {message}\nType '{path} --help' for what there is."
        case MemoryError():
            where = f" {error}" if str(error) else ""
            advice = "lower train.batch_size, score.batch_size or --workers"
            return 6, f"error: out of memory{where}; {advice}."
        case OSError(
            errno=errno.ENOENT | errno.ENOTDIR | errno.EISDIR | errno.EEXIST | errno.ENAMETOOLONG
        ) if error.filename:
            return 2, f"error: {error.filename}: {error.strerror}; check the path."
        case OSError(errno=None | errno.ENOENT):  # Arrow's own, which names no file but in words
            return 3, f"error: data cannot be read: {_line(error)}; get or make it again."
        case OSError():
            place = f"{error.filename}: " if error.filename else ""
            return 6, f"error: {place}{error.strerror or error}; free it, or choose another place."
    if type(error).__name__ == "OutOfMemoryError":
        text = "error: out of GPU memory; lower train.batch_size or score.batch_size."
        return 6, text
    line = _line(error)
    if type(error).__module__ == "pyarrow.lib":
        return 3, f"error: a table cannot be read: {line}; get or make it again."
    return 1, (
        f"internal error: {type(error).__name__}: {line}\n"
        "This is a bug in curate; run again with --debug and report what it shows."
    )


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:300]
