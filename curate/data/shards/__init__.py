"""Shards: WebDataset tars with an index, written whole or not at all, and read by position."""

from curate.data.shards.before import THERE
from curate.data.shards.damage import Fault, faults
from curate.data.shards.reader import Reader
from curate.data.shards.writer import finished, write

__all__ = ["THERE", "Fault", "Reader", "faults", "finished", "write"]
