"""Progress: long work reports (what, done, total); whoever called decides how to show it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Progress callback: (what, done, total); called often, shown rarely. What stands before a colon in
``what`` names the work, what stands behind it says how far it is and changes: ``train: 3 of 32
encoders``."""


def silent(what: str, done: int, total: int) -> None:
    """Show no progress."""


class Together:
    """The progress of several units of work, told of as that of one piece of work."""

    def __init__(self, what: str, of: str, units: int, progress: Progress) -> None:
        """Begin to follow units.

        Args:
            what: The work, such as ``train``.
            of: What each unit makes, in the plural.
            units: How many there are.
            progress: Gets the steps done and those of all units. A unit that has told of none yet
                counts as many as the others have on average.
        """
        self.what, self.of, self.units, self.progress = what, of, units, progress
        self._steps: dict[str, tuple[int, int]] = {}
        self._finished: set[str] = set()

    def tell(self, unit: str, done: int, total: int) -> None:
        """Take in that a unit has made ``done`` of its ``total`` steps."""
        self._steps[unit] = done, total
        steps = sum(total for _, total in self._steps.values())
        # Whoever shows this takes all steps for the end, which is the last unit's.
        left = self.units - len(self._finished)
        made = min(sum(done for done, _ in self._steps.values()), steps if not left else steps - 1)
        of_all = round(steps * self.units / len(self._steps))
        self.progress(
            f"{self.what}: {len(self._finished)} of {self.units} {self.of}",
            max(0, made),
            of_all,
        )

    def finish(self, unit: str) -> None:
        """Take in that a unit is made."""
        self._finished.add(unit)
        _, total = self._steps.get(unit, (0, 1))
        self.tell(unit, total, total)
