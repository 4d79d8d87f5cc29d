"""Exact repeats are counted as a dictionary would count them, in less memory."""

import hashlib
import tracemalloc
from collections import Counter

import numpy as np
import pytest

from curate.shards import repeats as module
from curate.shards.repeats import Repeats


def digests(numbers):
    return [hashlib.sha256(str(n).encode()).hexdigest()[:32] for n in numbers]


@pytest.mark.parametrize("bits", [1, 4, 10])
def test_counts_are_those_of_a_dictionary(monkeypatch, bits):
    monkeypatch.setattr(module, "BUCKETS", bits)
    given = digests(np.random.default_rng(0).integers(0, 400, 3000).tolist())
    given += ["0" * 32, "0" * 32, "ff" * 8 + "00" * 8, "ff" * 8 + "00" * 8]
    given += ["1" + "0" * 31, "f" * 15 + "e" + "f" * 16, "1" + "0" * 31, "0" * 15 + "1" + "0" * 16]
    repeats, seen = Repeats(), Counter()
    for digest in given:
        assert repeats.number(digest) == seen[digest]
        seen[digest] += 1


def test_a_digest_takes_twelve_bytes():
    given = digests(range(20_000))
    tracemalloc.start()
    repeats = Repeats()
    empty, _ = tracemalloc.get_traced_memory()
    for digest in given:
        repeats.number(digest)
    full, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Short arrays grow by a few places at a time, which is most where they are shortest.
    assert full - empty < 24 * len(given)
    assert peak - full < 10_000
