"""The report: one self-contained HTML file that shows a run, its evidence and its images.

Read page.py first, which puts the page together. material.py reads the run for it, figures.py and
tables.py draw, and viewer/ serves the images of a run to a browser.
"""

from __future__ import annotations

from curate.reports.page import build

__all__ = ["build"]
