"""Marks: what a person decided of single samples, each line with a checksum of its own."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from curate.errors import ResourceError
from curate.runtime.files import REFUSED

log = logging.getLogger("curate")

KINDS = ("keep", "drop", "unsure")


class Marks:
    """The marks of a run, in ``marks.jsonl``: one line a decision, the last of a sample counts.

    Lines are only ever added, so that no crash loses what was marked before; a line that was cut
    short or changed is no mark, and is said.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writing = threading.Lock()
        """Held while anything is written, so that closing can wait for it."""
        self._reported: set[int] = set()

    def read(self) -> dict[str, str]:
        """Return the mark of each sample that has one; lines that are none are said, once each."""
        marks, damaged = self.parse()
        for number in damaged:
            if number not in self._reported:
                self._reported.add(number)
                log.warning("%s: line %d is damaged and marks nothing.", self.path, number)
        return marks

    def parse(self) -> tuple[dict[str, str], list[int]]:
        """Return the mark of each sample that has one, and the numbers of lines that are damaged.

        The last line may be cut short by a crash; it is among them, since nobody knows.
        """
        marks: dict[str, str] = {}
        damaged = []
        data = self.path.read_bytes() if self.path.is_file() else b""
        for number, line in enumerate(data.split(b"\n"), 1):
            if not line:
                continue
            entry = _said(line)
            if entry is None:
                damaged.append(number)
            elif entry["mark"] in KINDS:
                marks[entry["uid"]] = entry["mark"]
            else:
                marks.pop(entry["uid"], None)
        return marks, damaged

    def put(self, uids: Iterable[str], mark: str | None) -> None:
        """Mark samples, all of them or none; a mark of None takes theirs away.

        Raises:
            ResourceError: If it cannot be written.
        """
        lines = "".join(_line(uid, mark) for uid in uids)
        try:
            with self.writing, self.path.open("ab+", buffering=0) as stream:
                before = stream.seek(0, os.SEEK_END)
                if before:
                    stream.seek(-1, os.SEEK_END)
                    if stream.read(1) != b"\n":
                        lines = "\n" + lines
                rest = lines.encode()
                try:
                    while rest:
                        rest = rest[stream.write(rest) :]
                    os.fsync(stream.fileno())
                except OSError:
                    stream.truncate(before)
                    raise
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            raise ResourceError(f"cannot write {self.path}: {error.strerror}.") from error


def _line(uid: str, mark: str | None) -> str:
    return json.dumps({"uid": uid, "mark": mark, "check": _check(uid, mark)}) + "\n"


def _check(uid: str, mark: str | None) -> str:
    """Return 16 hex digits by which a change of a line shows."""
    return hashlib.sha256(json.dumps([uid, mark]).encode()).hexdigest()[:16]


def _said(line: bytes) -> dict[str, Any] | None:
    """Return what a line says, None if it is not as it was written."""
    try:
        entry = json.loads(line)
        whole = {*entry} == {"uid", "mark", "check"}
        return entry if whole and entry["check"] == _check(entry["uid"], entry["mark"]) else None
    except (ValueError, TypeError, RecursionError):
        return None
