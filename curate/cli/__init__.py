"""The command line: options, exit codes, and results as text or JSON.

Each command reads its options and calls the function of its name in ``curate.stages``. Read app.py
first, which gathers the commands; results.py says how each result is shown.
"""

from curate.cli.app import call, main

__all__ = ["call", "main"]
