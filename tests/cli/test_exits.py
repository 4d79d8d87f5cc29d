"""What a command that was ended by an error says, and its code."""

import errno

import pyarrow as pa
import pytest

from curate.cli.exits import explain


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x"), 6, "x: No space left"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 6, "x: Permission denied"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), 2, "x: No such file"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x"), 2, "x: File name too long; check"),
        (FileNotFoundError(errno.ENOENT, "Failed to open 'x'"), 3, "read: [Errno 2] Failed to op"),
        (OSError("thrift: invalid data"), 3, "data cannot be read: thrift: invalid data; get"),
        (pa.ArrowInvalid("no magic bytes"), 3, "a table cannot be read: no magic bytes; get or"),
        (MemoryError(), 6, "out of memory"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), 6, "GPU memory"),
        (ValueError("odd\nmore"), 1, "ValueError: odd\nThis is a bug"),
    ],
)
def test_every_error_has_its_code(error, code, text):
    found, message = explain(error)
    assert found == code
    assert text in message
    assert len(message.splitlines()) <= 2
