"""How much of a selection is luck; lives beside the manifest, which stores it."""

from __future__ import annotations

from curate.records.chance import luck, p_top

__all__ = ["luck", "p_top"]
