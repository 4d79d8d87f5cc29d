"""The command line."""

from curate.cli.app import call, main

__all__ = ["call", "main"]
