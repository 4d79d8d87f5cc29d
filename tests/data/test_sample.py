"""uids packed into arrays are the uids."""

import numpy as np
import pyarrow as pa
import pytest

from curate.data.sample import base_uid, content_uid, packed_uids, uid_of

UIDS = [content_uid(bytes([i % 250, i // 250])) for i in range(40_000)]


@pytest.mark.parametrize(
    "texts",
    [UIDS, [*UIDS[:5], f"{UIDS[0]}-1", f"{UIDS[0]}-12"], UIDS[:1], []],
    ids=["many", "repeats", "one", "none"],
)
def test_packed_uids_are_the_uids(texts):
    chunks = [texts[:3], texts[3:]]
    found = packed_uids(pa.chunked_array([pa.array(part, pa.string()) for part in chunks]))
    assert found.dtype.kind == "S"
    assert [uid.decode() for uid in found.tolist()] == texts
    assert found.itemsize == max(map(len, texts), default=1)
    assert np.sort(found).tolist() == sorted(uid.encode() for uid in texts)


def test_a_uid_is_half_of_the_sha256():
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert content_uid(b"abc") == uid_of(sha256) == sha256[:32]
    assert base_uid(f"{sha256[:32]}-3") == sha256[:32]
