"""Exact repeats are counted as a dictionary would count them, in less memory."""

import hashlib
from collections import Counter

import numpy as np

from curate.shards.repeats import Repeats


def digests(numbers):
    return [hashlib.sha256(str(n).encode()).hexdigest()[:32] for n in numbers]


def test_counts_are_those_of_a_dictionary(monkeypatch):
    monkeypatch.setattr(Repeats, "MERGE", 37)
    given = digests(np.random.default_rng(0).integers(0, 400, 3000).tolist())
    given += ["0" * 32, "0" * 32, "00" * 8 + "ff" * 8, "ff" * 8 + "00" * 8, "ff" * 8 + "00" * 8]
    given += ["f" * 32, "f" * 32, "0" * 31 + "1", "1" + "0" * 31]
    repeats, seen = Repeats(), Counter()
    for digest in given:
        assert repeats.number(digest) == seen[digest]
        seen[digest] += 1


def test_a_digest_takes_sixteen_bytes(monkeypatch):
    monkeypatch.setattr(Repeats, "MERGE", 1000)
    repeats = Repeats()
    for digest in digests(range(5000)):
        repeats.number(digest)
    assert repeats._sorted.nbytes == 16 * 5000 and not repeats._latest
