"""Exact repeats are counted as a dictionary would count them, and take no memory."""

import hashlib
import tracemalloc
from collections import Counter

import numpy as np
import pytest

from curate.data.shards import repeats as module
from curate.data.shards.repeats import Repeats


def digests(numbers):
    return [hashlib.sha256(str(n).encode()).hexdigest()[:32] for n in numbers]


@pytest.mark.parametrize("first", [2, 64, 2**12])
def test_counts_are_those_of_a_dictionary(tmp_path, monkeypatch, first):
    monkeypatch.setattr(module, "FIRST", first)
    given = digests(np.random.default_rng(0).integers(0, 400, 3000).tolist())
    given += ["0" * 32, "0" * 32, "ff" * 8 + "00" * 8, "ff" * 8 + "00" * 8]
    given += ["1" + "0" * 31, "f" * 15 + "e" + "f" * 16, "1" + "0" * 31, "0" * 14 + "10" + "0" * 16]
    repeats, seen = Repeats(tmp_path), Counter()
    for digest in given:
        assert repeats.number(digest) == seen[digest]
        seen[digest] += 1
    assert list(tmp_path.iterdir()) == []


def test_a_digest_takes_no_memory(tmp_path):
    given = digests(range(100_000))
    repeats = Repeats(tmp_path)
    tracemalloc.start()
    for digest in given:
        repeats.number(digest)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A block of zeros as they are written, not a byte for each digest.
    assert peak < 2**21
