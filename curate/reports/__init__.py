"""The report: one self-contained HTML file that shows a run, its evidence and its images."""

from __future__ import annotations

from curate.reports.page import build

__all__ = ["build"]
