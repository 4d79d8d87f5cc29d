"""Exact repeats are counted as a dictionary would count them, in less memory."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from curate.shards.repeats import Repeats


def digests(numbers):
    return [hashlib.sha256(str(n).encode()).hexdigest()[:32] for n in numbers]


@pytest.mark.parametrize(("merge", "share"), [(37, 64), (37, 2), (1, 1000)])
def test_counts_are_those_of_a_dictionary(monkeypatch, merge, share):
    monkeypatch.setattr(Repeats, "MERGE", merge)
    monkeypatch.setattr(Repeats, "SHARE", share)
    given = digests(np.random.default_rng(0).integers(0, 400, 3000).tolist())
    given += ["0" * 32, "0" * 32, "ff" * 8 + "00" * 8, "ff" * 8 + "00" * 8]
    given += ["1" + "0" * 31, "f" * 15 + "e" + "f" * 16, "1" + "0" * 31]
    repeats, seen = Repeats(), Counter()
    for digest in given:
        assert repeats.number(digest) == seen[digest]
        seen[digest] += 1


def test_a_digest_takes_twelve_bytes():
    repeats = Repeats()
    for digest in digests(range(40_960)):
        repeats.number(digest)
    assert repeats._words.nbytes + repeats._counts.nbytes == 12 * 40_960 and not repeats._latest
