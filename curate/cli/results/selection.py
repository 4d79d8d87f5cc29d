"""What is said of selections."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from curate.selection.selection import Selected


def select_lines(selected: Selected) -> list[str]:
    """Return what was selected."""
    return [
        f"kept {selected.kept:,}, dropped {selected.dropped:,}: {selected.description}",
        f"manifest    {selected.path}",
    ]
