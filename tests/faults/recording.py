"""The table of faults: what was tried, and what became of it."""

import os
import platform
import re
from collections import Counter
from pathlib import Path

ROWS = {
    "kill": "kill -9 at any moment of any stage, then the same command again",
    "crash": "a crash between any write, fsync and rename",
    "store": "kill -9 while a run links from and writes into the store, and while it is cleaned",
    "damage": "tar cut anywhere, one bit flipped anywhere",
    "image": "corrupt, truncated, empty, non-image, decompression-bomb file in a source",
    "name": "repeated, dotted, case-clashing, unicode, very long names",
    "member": "`../`, absolute, link and device members in a tar that is read",
    "canary": "pickles, `pipe:` URLs, foreign .pt files",
    "disk": "disk full, read-only directory",
    "two": "two processes on one run",
    "change": "recipe, data or code changed under a resume",
    "manifest": "a manifest applied to another dataset",
    "loss": "NaN or infinite loss",
    "collapse": "constant or NaN representations",
    "few": "0 or 1 samples, empty class, top n larger than n, more workers than samples",
    "signal": "SIGTERM, SIGINT",
    "settings": "other worker count, batch size or world size on resume",
    "report": "hostile labels and paths in the report",
}
"""Every fault that something is promised for, in the order of docs/reliability.md."""
GOOD = ("survived", "detected")
BAD = ("lost", "undetected", "canaries fired")
ENDS = ("named", "mended", "all results equal", "used in silence")
"""What becomes of an artefact that is damaged where it lies; none may end as the last says."""


class Recorder:
    """Counts drills by fault; ``bad`` says what went wrong in the current test."""

    def __init__(self):
        self.counts = {row: Counter() for row in ROWS}
        self.damage = {}
        self.bad = []

    def plain(self):
        """Return the counts as plain dicts, which can be sent to another process."""
        both = {"drills": self.counts, "damage": self.damage}
        return {
            name: {row: dict(found) for row, found in counts.items()}
            for name, counts in both.items()
        }

    def add(self, plain):
        """Add what another process counted."""
        for row, counts in plain.get("drills", {}).items():
            self.counts[row].update(counts)
        for row, counts in plain.get("damage", {}).items():
            self.damage.setdefault(row, Counter()).update(counts)

    def damaged(self, artefact, fault, end, why=""):
        """Count what became of an artefact that was damaged; ``end`` is one of ``ENDS``."""
        self.damage.setdefault(f"{artefact} | {fault}", Counter())[end] += 1
        if end == ENDS[-1]:
            self.bad.append(f"{artefact}, {fault}, {end}: {why}")

    def survived(self, row, n=1):
        """Count drills after which everything was as without the fault."""
        self.counts[row]["survived"] += n

    def detected(self, row, n=1):
        """Count drills whose fault was named, with the right exit code and nothing harmed."""
        self.counts[row]["detected"] += n

    def lost(self, row, why):
        """Count a drill that lost something, or left what nothing promised."""
        self._failed(row, "lost", why)

    def undetected(self, row, why):
        """Count a drill whose fault nobody noticed."""
        self._failed(row, "undetected", why)

    def fired(self, row, why):
        """Count a planted payload that ran."""
        self._failed(row, "canaries fired", why)

    def _failed(self, row, kind, why):
        self.counts[row][kind] += 1
        self.bad.append(f"{kind}: {why}")

    def tables(self):
        """Return the tables of what was tried in Markdown, by the name of their marks."""
        found = {}
        if any(counts.total() for counts in self.counts.values()):
            rows = {text: self.counts[row] for row, text in ROWS.items()}
            found["drills"] = _table("| fault |", "|---|", rows, (*GOOD, *BAD), "**all** |")
        if self.damage:
            head = "| artefact | what was done to it |"
            found["damage"] = _table(head, "|---|---|", self.damage, ENDS, "**all** | |")
        return found

    def write(self, page, about):
        """Put each table between its two marks of a page; one of which nothing was tried stays."""
        text = Path(page).read_text(encoding="utf-8")
        for name, table in self.tables().items():
            begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
            block = f"{begin}\n{about}\n\n{table}\n{end}"
            parts = re.split(f"{begin}.*?{end}", text, flags=re.DOTALL)
            assert len(parts) == 2, f"{page} lacks the marks {begin} and {end}"
            text = block.join(parts)
        Path(page).write_text(text, encoding="utf-8")


def _table(head, rule, rows, kinds, last):
    """Return rows of counts in Markdown, and their sum."""
    lines = [f"{head} tried | {' | '.join(kinds)} |", f"{rule}{'---:|' * (1 + len(kinds))}"]
    whole = sum(rows.values(), Counter())
    for text, found in (*((f"{row} |", rows[row]) for row in rows), (last, whole)):
        cells = [found.total(), *(found[kind] for kind in kinds)]
        lines.append(f"| {text} {' | '.join(f'{n:,}' for n in cells)} |")
    return "\n".join(lines)


def machine():
    """Return the hardware in words."""
    cores = len(os.sched_getaffinity(0))
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")),
        platform.machine(),
    )  # fmt: skip
    return f"{cores} cores of {model}, Python {platform.python_version()}"


RECORDER = Recorder()
"""What was counted in this process."""
