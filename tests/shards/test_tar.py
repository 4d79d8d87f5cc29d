"""Our tars are what the standard library would write, byte for byte, and its reader reads."""

import hashlib
import io
import tarfile

import numpy as np
import pytest

from curate.shards.tar import Tar, header


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
    offsets = {name: tar.add(name, data) for name, data in members.items()}
    tar.close()
    assert ours.getvalue() == theirs.getvalue()
    assert tar.size == len(ours.getvalue())
    assert tar.sha256 == hashlib.sha256(ours.getvalue()).hexdigest()
    for name, offset in offsets.items():
        assert ours.getvalue()[offset : offset + len(members[name])] == members[name]


@pytest.mark.parametrize(("name", "size"), [("n" * 101, 1), ("x", 8**11)])
def test_what_a_header_cannot_hold_is_our_own_mistake(name, size):
    with pytest.raises(AssertionError):
        header(name, size)
