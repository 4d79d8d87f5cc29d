"""Where units of work run."""

from curate.engine.local import Unit, run_units

__all__ = ["Unit", "run_units"]
