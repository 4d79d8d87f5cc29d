"""Hostile images in a source: rejected with a reason before they cost memory, and all counted."""

import io
import json
import os
import random
import struct
import zlib

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.data.canvas import decode
from curate.data.shards import Reader
from tests.rendered import every_mode, mixed, turned

ALLOWED = 2**27
"""Bytes that a hostile image may cost besides what a small one does."""


def bomb(width, height, bits=1):
    """Return a PNG of a single colour: a few kilobytes that are hundreds of megapixels."""
    packer, row = zlib.compressobj(9), bytes(1 + width * bits // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    )


def claims(width, height):
    """Return a PNG whose header claims a size that its pixels do not have."""
    small = bomb(8, 8)
    header = struct.pack(">II", width, height) + small[24:29]
    return small[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + small[33:]


GOOD = dict(mixed(12))
HOSTILE = {
    "empty.jpg": b"",
    "text.jpg": b"This is no image.\n" * 40,
    "page.png": b"<!DOCTYPE html><html><script>alert(1)</script></html>",
    "program.gif": b"\x7fELF" + bytes(400),
    "svg.png": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
    "script.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n",
    "zeros.bmp": bytes(4096),
    "magic.png": b"\x89PNG\r\n\x1a\n",
    "start.jpg": b"\xff\xd8\xff",
    "bomb.png": bomb(20_000, 20_000),
    "claims.png": claims(20_000, 20_000),
    "claims-more.png": claims(2**31 - 1, 2**31 - 1),
    "flat.png": claims(0, 0),
    "half.jpg": next(iter(GOOD.values()))[:300],
}
"""Files that no source may let through."""


def write(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def accounted(folder, files):
    """Return {path: reason} of what was rejected; everything else is there and decodes."""
    index = pq.read_table(folder / "index.parquet").to_pylist()
    lines = map(json.loads, (folder / "rejected.jsonl").read_text().splitlines())
    rejected = {line["path"]: line["reason"] for line in lines}
    assert sorted([row["path"] for row in index] + list(rejected)) == sorted(files)
    for row, data in zip(index, Reader(folder).read(range(len(index))), strict=True):
        assert data == files[row["path"]]
        assert decode(data, channels=3).shape == (3, row["height"], row["width"])
    return rejected


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_image_is_rejected_before_it_costs_memory(name, zygotes, faults, place):
    files = {**GOOD, name: HOSTILE[name]}
    write(place / "images", files)
    small = zygotes.type(place, "shard", "images", "--out", "one", "--max-bad", "1")
    with_it = small.memory
    (place / "images" / name).unlink()
    without = zygotes.type(place, "shard", "images", "--out", "two", "--max-bad", "0").memory
    try:
        assert small.code == 0, small
        assert list(accounted(place / "one", files)) == [name]
        assert with_it < without + ALLOWED, f"{with_it - without:,} bytes"
        (place / "images" / name).write_bytes(HOSTILE[name])
        strict = zygotes.type(place, "shard", "images", "--out", "three")
        assert strict.code == 3 and name in strict.err, strict
        assert not (place / "three" / "index.parquet").exists()
    except AssertionError as error:
        faults.undetected("image", f"{name}: {error}")
    else:
        faults.detected("image", 2)


def test_cut_and_changed_images_are_written_whole_or_rejected(zygotes, faults, place, drills):
    drawn = random.Random("images")
    sound = {name: data for name, (data, _, _) in every_mode().items()}
    sound |= {f"turned-{i}.jpg": turned(i)[0] for i in range(1, 9)}
    files = dict(sound)
    for name, data in sound.items():
        for k in range(max(1, drills // 20)):
            files[f"cut-{k}-{name}"] = data[: drawn.randrange(len(data))]
            changed = bytearray(data)
            for _ in range(5):
                changed[drawn.randrange(len(data))] = drawn.randrange(256)
            files[f"changed-{k}-{name}"] = bytes(changed)
    write(place / "images", files)
    ended = zygotes.type(place, "shard", "images", "--out", "out", "--max-bad", "1")
    try:
        assert ended.code == 0, ended
        rejected = accounted(place / "out", files)
        assert not rejected.keys() & sound.keys() and all(rejected.values())
        assert sum(name.startswith("cut-") for name in rejected) > len(sound) // 2
    except AssertionError as error:
        faults.lost("image", f"of {len(files)} images: {error}")
    else:
        faults.detected("image", len(rejected))
        faults.survived("image", len(files) - len(sound) - len(rejected))


@pytest.mark.parametrize(("bad", "allowed", "code"), [(1, 0.01, 0), (2, 0.01, 3), (99, 1.0, 0)])
def test_too_many_bad_images_are_an_error(bad, allowed, code, zygotes, faults, place):
    files = {f"{i:03d}.jpg": data for i, (_, data) in enumerate(mixed(100 - bad))}
    files |= {f"bad-{i:02d}.jpg": b"no image" for i in range(bad)}
    write(place / "images", files)
    ended = zygotes.type(place, "shard", "images", "--out", "out", "--max-bad", allowed)
    if ended.code == code and (code or len(accounted(place / "out", files)) == bad):
        faults.detected("image")
    else:
        faults.undetected("image", f"{bad} of 100 bad, {allowed} allowed: {ended}")


def test_links_and_pipes_in_a_folder_are_rejected(zygotes, faults, place):
    images = write(place / "images", GOOD)
    (images / "nowhere.jpg").symlink_to("gone.jpg")
    (images / "loop.jpg").symlink_to("loop.jpg")
    (images / "folder").symlink_to(images)
    os.mkfifo(images / "pipe.jpg")
    ended = zygotes.type(place, "shard", "images", "--out", "out", "--max-bad", "1", hang=30)
    lines = (place / "out" / "rejected.jsonl").read_text() if ended.code == 0 else ""
    rejected = sorted(json.loads(line)["path"] for line in lines.splitlines())
    if rejected == ["folder/", "loop.jpg", "nowhere.jpg", "pipe.jpg"]:
        faults.detected("image", 3)
    else:
        faults.undetected("image", f"links and pipes: {rejected}, {ended}")


def test_what_is_left_out_of_memory_is_left_out_of_the_table_too():
    """The bombs are what they are taken for."""
    assert len(HOSTILE["bomb.png"]) < 10**5
    with io.BytesIO(HOSTILE["bomb.png"]) as stream:
        stream.seek(16)
        assert np.prod(struct.unpack(">II", stream.read(8))) == 4 * 10**8
