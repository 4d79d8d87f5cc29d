"""Our tars are what the standard library would write, byte for byte, and its reader reads."""

import hashlib
import io
import tarfile
import zlib

import numpy as np
import pytest

from curate.data.shards.tar import Tar, header


@pytest.mark.parametrize("name", ["a", "00000042-deadbeef.jpg", "n" * 100])
@pytest.mark.parametrize("size", [0, 1, 511, 512, 2**28, 8**11 - 1])
def test_a_header_is_tarfiles(name, size):
    info = tarfile.TarInfo(name)
    info.size = size
    assert header(name, size) == info.tobuf(tarfile.USTAR_FORMAT)


def test_a_tar_is_tarfiles():
    random = np.random.default_rng(0)
    members = {
        f"{i:08d}.bin": random.bytes(int(n)) for i, n in enumerate([0, 1, 511, 512, 513, 9000])
    }
    theirs = io.BytesIO()
    with tarfile.open(fileobj=theirs, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    ours = io.BytesIO()
    tar = Tar(ours)
    names, added = list(members), []
    for sample in (names[:1], names[1:3], names[3:]):
        start = tar.size
        offset, crc32 = tar.add((name, members[name]) for name in sample)
        added.append((sample[0], start, offset, crc32))
    ends = [start for _, start, _, _ in added[1:]] + [tar.size]
    tar.close()
    assert ours.getvalue() == theirs.getvalue()
    assert tar.size == len(ours.getvalue())
    assert tar.sha256 == hashlib.sha256(ours.getvalue()).hexdigest()
    for (name, start, offset, crc32), end in zip(added, ends, strict=True):
        assert offset == start + 512
        assert ours.getvalue()[offset : offset + len(members[name])] == members[name]
        assert crc32 == zlib.crc32(ours.getvalue()[start:end])


@pytest.mark.parametrize(("name", "size"), [("n" * 101, 1), ("x", 8**11)])
def test_what_a_header_cannot_hold_is_our_own_mistake(name, size):
    with pytest.raises(AssertionError):
        header(name, size)
