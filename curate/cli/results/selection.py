"""What is said of selections."""

from __future__ import annotations

from typing import Any


def select_lines(facts: dict[str, Any]) -> list[str]:
    """Return what was selected."""
    return [
        f"kept {facts['kept']:,}, dropped {facts['dropped']:,}: {facts['description']}",
        f"manifest    {facts['path']}",
    ]
