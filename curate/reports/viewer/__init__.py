"""Viewing: a run's samples in a browser on this machine, to be looked at, marked and selected."""

from __future__ import annotations

from curate.reports.viewer.server import serve

__all__ = ["serve"]
