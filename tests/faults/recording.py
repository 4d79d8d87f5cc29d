"""The table of faults: what was tried, and what became of it."""

import os
import platform
import re
from collections import Counter
from pathlib import Path

ROWS = {
    "kill": "kill -9 at any moment of any stage, then the same command again",
    "crash": "a crash between any write, fsync and rename",
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
BEGIN, END = "<!-- drills: begin -->", "<!-- drills: end -->"


class Recorder:
    """Counts drills by fault; ``bad`` says what went wrong in the current test."""

    def __init__(self):
        self.counts = {row: Counter() for row in ROWS}
        self.bad = []

    def plain(self):
        """Return the counts as plain dicts, which can be sent to another process."""
        return {row: dict(counts) for row, counts in self.counts.items()}

    def add(self, plain):
        """Add what another process counted."""
        for row, counts in plain.items():
            self.counts[row].update(counts)

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

    def table(self):
        """Return the table in Markdown."""
        lines = [
            f"| fault | tried | {' | '.join((*GOOD, *BAD))} |",
            f"|---|{'---:|' * (1 + len(GOOD) + len(BAD))}",
        ]
        for row, text in (*ROWS.items(), (None, "**all**")):
            found = self.counts[row] if row else sum(self.counts.values(), Counter())
            cells = [found.total(), *(found[kind] for kind in (*GOOD, *BAD))]
            lines.append(f"| {text} | {' | '.join(f'{n:,}' for n in cells)} |")
        return "\n".join(lines)

    def write(self, page, about):
        """Put the table between the two marks of a page."""
        text = Path(page).read_text(encoding="utf-8")
        block = f"{BEGIN}\n{about}\n\n{self.table()}\n{END}"
        made, n = re.subn(f"{BEGIN}.*?{END}", lambda _: block, text, flags=re.DOTALL)
        assert n == 1, f"{page} lacks the marks {BEGIN} and {END}"
        Path(page).write_text(made, encoding="utf-8")


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
