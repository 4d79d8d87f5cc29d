"""Words of uids: the first half of each, whatever they come in."""

import hashlib

import numpy as np
import pytest

from curate.runtime import randomness

pytestmark = pytest.mark.numeric

PLAIN = [hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(300)]
REPEATED = [*PLAIN, *(f"{uid}-{i}" for i, uid in enumerate(PLAIN[:120], 1))]


@pytest.mark.parametrize(
    "uids",
    [
        PLAIN,
        REPEATED,
        np.array(REPEATED, dtype=object),
        np.array(REPEATED, dtype=np.bytes_),
        np.array(REPEATED, dtype=np.bytes_).astype(object),
        np.array(PLAIN[:1], dtype=np.bytes_),
    ],
    ids=["strings", "repeats", "objects", "bytes", "objects of bytes", "one"],
)
def test_words_are_the_first_sixteen_digits(uids):
    texts = [uid.decode() if isinstance(uid, bytes) else str(uid) for uid in uids]
    wanted = [int(text[:16], 16) for text in texts]
    found = randomness.uid_keys(uids)
    assert found.dtype == np.uint64 and found.tolist() == wanted
    again = [int(text[33:] or 0) for text in texts]
    found = randomness.uid_keys(uids, repeats=True)
    assert found.tolist() == [
        (word + n * randomness.GAMMA) % 2**64 for word, n in zip(wanted, again, strict=True)
    ]


def test_no_uids_have_no_words():
    for nothing in ([], np.array([], dtype=object), np.array([], dtype="S32")):
        assert randomness.uid_keys(nothing).tolist() == []
