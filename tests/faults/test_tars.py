"""Tars: every cut and every flipped bit of ours is found, and what others made harms nothing."""

import io
import json
import pickle
import random
import re
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.data import shards
from curate.data.sample import Entry
from curate.data.shards import Reader
from curate.data.sources import open_source
from curate.errors import DataError
from curate.runs.verification import verify
from tests.command import curate
from tests.given import Given
from tests.rendered import encoded, mixed, picture

BLOCK = 512
JPEG = encoded(picture(1, 24, 24), "JPEG")


@pytest.fixture
def own(place):
    """One tar of ours with 20 samples: its folder, its bytes, and the rows of its index."""
    folder = place / "shards"
    entries = [Entry(name, data, i % 3, {"n": i}) for i, (name, data) in enumerate(mixed(20))]
    shards.write([(Given(entries, classes="abc"), "train")], folder)
    rows = pq.read_table(folder / "index.parquet").to_pylist()
    return folder, (folder / "00000.tar").read_bytes(), rows


def checked(folder, *options):
    """Verify shards; returns the exit code, and the offsets of the faults of the tar."""
    found = curate("verify", folder, "--quiet", "--json", *options)
    return found.code, offsets(json.loads(found.out)["faults"])


def offsets(faults):
    """Return the offsets of faults; all are of the one tar there is."""
    assert {fault["file"] for fault in faults} <= {"00000.tar"}
    return [fault["offset"] for fault in faults]


def refused(folder, rows):
    """Return the rows that the reader refuses, and whether it named shard and offset of each."""
    reader, found, named = Reader(folder), [], True
    for number, row in enumerate(rows):
        try:
            next(iter(reader.read([number])))
        except DataError as error:
            found.append(number)
            named &= "00000.tar" in str(error) and f"offset {row['offset']:,}" in str(error)
    return found, named


def test_every_cut_of_our_tars_is_found(own, faults, drills):
    folder, data, rows = own
    n = 400 if drills >= 20 else 20 * drills
    cuts = {*range(0, len(data), BLOCK)}
    cuts |= {*np.random.default_rng(0).integers(0, len(data), n).tolist()}
    for cut in sorted(cuts):
        (folder / "00000.tar").write_bytes(data[:cut])
        lost = [i for i, row in enumerate(rows) if row["offset"] + row["size"] > cut]
        # What the command makes of it is the same each time.
        told = (3, offsets(verify(folder).to_json()["faults"])) if cut % BLOCK else checked(folder)
        if told != (3, [cut]):
            faults.undetected("damage", f"cut at {cut}: {told}")
        elif refused(folder, rows) != (lost, True):
            faults.undetected("damage", f"cut at {cut}: read in part, {lost} are gone")
        else:
            faults.detected("damage")


def regions(data, rows):
    """Return {kind of byte: places} of a tar of ours."""
    images = {row["offset"]: row["size"] for row in rows}
    found = {kind: [] for kind in ("header", "image", "cls", "json", "padding")}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for info in archive:
            end = info.offset_data + info.size
            image = info.offset_data in images
            kind = "image" if image else info.name.rpartition(".")[2]
            found["header"] += range(info.offset, info.offset_data)
            found[kind] += range(info.offset_data, end)
            found["padding"] += range(end, -(-end // BLOCK) * BLOCK)
            last = -(-end // BLOCK) * BLOCK
    return {**found, "tail": [*range(last, len(data))]}


def test_every_flipped_bit_of_our_tars_is_found(own, faults, drills):
    folder, data, rows = own
    drawn = random.Random("flips")
    for kind, places in regions(data, rows).items():
        for place in drawn.sample(places, min(len(places), max(20, drills))):
            flipped = bytearray(data)
            flipped[place] ^= 1 << drawn.randrange(8)
            (folder / "00000.tar").write_bytes(flipped)
            hit = [i for i, r in enumerate(rows) if r["offset"] <= place < r["offset"] + r["size"]]
            begins = [r["offset"] - BLOCK for r in rows if r["offset"] - BLOCK <= place]
            named = {"image": rows[hit[0]]["offset"] if hit else None, "tail": place}
            if (told := checked(folder, "--full")) != (3, [named.get(kind, begins[-1])]):
                faults.undetected("damage", f"{kind} byte {place}: {told}")
            elif refused(folder, rows) != (hit, True):
                faults.undetected("damage", f"{kind} byte {place}: the reader let it pass")
            else:
                faults.detected("damage")


def test_a_shard_that_is_gone_or_swapped_is_found(own, faults, place):
    folder, data, _ = own
    tar = folder / "00000.tar"
    other = place / "other"
    shards.write([(Given([*mixed(20, seed=1)]), "train")], other)
    for content in (None, b"", bytes(len(data)), (other / "00000.tar").read_bytes(), data + data):
        tar.unlink() if content is None else tar.write_bytes(content)
        code, told = checked(folder, "--full")
        if code == 3 and told:
            faults.detected("damage")
        else:
            faults.undetected("damage", f"another shard in its place: exit {code}")
    assert checked(folder)[0] == 3


# Tars of others


def pack(path, members):
    """Write a tar of (name, bytes) and (name, type of member, its link)."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, content, *link in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes) and link:
                info.type, info.linkname = content, link[0]
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def sharded(source, folder):
    """Shard a source with whatever is rejected; returns (written, rejected) paths."""
    opened = open_source(source, split="train")
    shards.write([(opened, "train")], folder, max_bad=1.0)
    written = pq.read_table(folder / "index.parquet")["path"].to_pylist()
    lines = (folder / "rejected.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    # A label of no image is left out, and listed as that.
    return written, [row["path"] for row in rows if not row.get("left_out")]


def test_every_cut_of_a_foreign_tar_is_found(place, faults, drills):
    members = [
        (f"{i}.{kind}", data)
        for i, (_, image) in enumerate(mixed(10))
        for kind, data in (("jpg", image), ("cls", b"%d" % (i % 3)))
    ]
    tar = pack(place / "a.tar", members)
    data = tar.read_bytes()
    end = -(-len(data.rstrip(b"\0")) // BLOCK) * BLOCK + BLOCK
    cuts = {*range(0, end, BLOCK), *np.random.default_rng(1).integers(0, end, 5 * drills).tolist()}
    for cut in sorted(cuts):
        tar.write_bytes(data[:cut])
        found = curate("shard", f"wds:{tar}", "--out", place / "out", "--quiet")
        if found.code == 3 and "a.tar" in found.err and not (place / "out").exists():
            faults.detected("damage")
        else:
            faults.undetected("damage", f"a foreign tar cut at {cut}: {found}")


HOSTILE = {
    "../up.jpg": (JPEG,),
    "a/../../up.jpg": (JPEG,),
    "/etc/abs.jpg": (JPEG,),
    "..": (JPEG,),
    "symlink.jpg": (tarfile.SYMTYPE, "/etc/passwd"),
    "up-link.jpg": (tarfile.SYMTYPE, "../../secret"),
    "hardlink.jpg": (tarfile.LNKTYPE, "/etc/passwd"),
    "fifo.jpg": (tarfile.FIFOTYPE, ""),
    "block.jpg": (tarfile.BLKTYPE, ""),
    "char.jpg": (tarfile.CHRTYPE, ""),
}
"""Members that are refused, one a drill."""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_members_are_refused(name, place, faults):
    home = place / "home"
    home.mkdir()
    good = [("ok.jpg", JPEG), ("ok.cls", b"1")]
    tar = pack(home / "a.tar", [(name, *HOSTILE[name]), *good])
    outside = {p for p in place.rglob("*") if home not in p.parents}
    written, rejected = sharded(f"wds:{tar}", home / "out")
    new = {p for p in place.rglob("*") if home not in p.parents} - outside
    image = name.endswith(".jpg")
    if new or written != ["a.tar/ok.jpg"] or (image and rejected != [f"a.tar/{name}"]):
        faults.lost("member", f"{name}: wrote {written}, rejected {rejected}, outside {new}")
    else:
        faults.detected("member")


def test_a_header_that_claims_ten_gigabytes_costs_no_memory(place, faults, zygotes):
    small = zygotes.type(place, "shard", "digits", "--limit", "2", "--out", "small").memory
    for kind in (tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
        info = tarfile.TarInfo("huge.jpg")
        info.type, info.size = kind, 10 * 2**30
        (place / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + JPEG + bytes(1024))
        ended = zygotes.type(place, "shard", "wds:a.tar", "--out", "out")
        if ended.code == 3 and ended.memory < small + 2**26:
            faults.detected("member")
        else:
            faults.undetected("member", f"10 GiB in a header: {ended}, {ended.memory} bytes")


NAMES = [
    ("repeated", ["x.jpg", "x.jpg"]),
    ("repeated apart", ["x.jpg", "y.jpg", "x.jpg", "z.jpg", "x.jpg"]),
    ("dotted", ["x.v1.jpg", "x.v2.jpg", "x.jpg", "x.v1.v2.jpg"]),
    ("case", ["Cat.jpg", "cat.jpg", "CAT.JPG", "cat.JPG"]),
    ("unicode", ["ü.jpg", "u\u0308.jpg", "漢字/🐈.jpg", "a\u202eb.jpg", "\u200b.jpg", "ﬁ.jpg"]),
    ("long", ["n" * 300 + ".jpg", "n" * 300 + ".JPG", "d/" * 200 + "x.jpg", "é" * 120 + ".jpg"]),
    ("hidden", [".x.jpg", "d/.y.jpg", ".d/z.jpg", "x", "d/x"]),
    (
        "odd",
        [" .jpg", "a b.jpg", "a\nb.jpg", "a\tb.jpg", "-rf.jpg", "*.jpg", "a\\b.jpg", "%00.jpg"],
    ),
    ("nested", ["a.jpg/b.jpg", "a.jpg/b", "a/b.jpg", "a.b/c.jpg"]),
    ("same key", ["x.jpg", "x.png", "x.JPEG", "x.seg.png"]),
]


@pytest.mark.parametrize(("kind", "names"), NAMES, ids=[kind for kind, _ in NAMES])
def test_every_name_is_kept_or_listed(kind, names, place, faults):
    images = [encoded(picture(i + 7, 20, 20), "JPEG") for i in range(len(names))]
    members = [(name, data) for name, data in zip(names, images, strict=True)]
    tar = pack(place / "a.tar", [*members, ("x.cls", b"1")])
    first = sharded(f"wds:{tar}", place / "one")
    again = sharded(f"wds:{tar}", place / "two")
    written, rejected = first
    index = pq.read_table(place / "one" / "index.parquet").to_pylist()
    keys = [row["key"] for row in index]
    content = list(Reader(place / "one").read(range(len(index))))
    whole = (
        sorted(written + rejected) == sorted(f"a.tar/{n}" for n in names)
        and len(set(written)) == len(written)
        and all(re.fullmatch(r"[0-9a-f-]+", key) for key in keys)
        and len({key.casefold() for key in keys}) == len(keys)
        and content == [images[names.index(p.removeprefix("a.tar/"))] for p in written]
        and first == again
        and (place / "one" / "00000.tar").read_bytes() == (place / "two" / "00000.tar").read_bytes()
    )
    if whole:
        faults.survived("name", len(names))
    else:
        faults.lost("name", f"{kind}: wrote {written}, rejected {rejected}")


def test_random_tars_lose_nothing(place, faults, drills):
    alphabet = ["a", "A", ".", "/", "v1", "é", "漢", " ", "-", "_", "x" * 60, "..", "~", "\u202e"]
    for number in range(drills):
        drawn = random.Random(f"names {number}")
        names = [
            "".join(drawn.choices(alphabet, k=drawn.randrange(1, 6)))
            + drawn.choice([".jpg", ".PNG"])
            for _ in range(12)
        ]
        members = [(name, JPEG) for name in names]
        tar = pack(place / f"{number}.tar", [("first.jpg", JPEG), *members])
        written, rejected = sharded(f"wds:{tar}", place / f"{number}")
        if len(written) + len(rejected) == 13 and len(set(written)) == len(written):
            faults.survived("name", 12)
        else:
            faults.lost("name", f"{names}: wrote {written}, rejected {rejected}")


def test_pickles_in_a_tar_are_never_loaded(place, faults):
    canary = place / "canary"
    payload = pickle.dumps(Payload(canary))
    endings = (
        "pyd",
        "pkl",
        "pickle",
        "pt",
        "pth",
        "npy",
        "npz",
        "cls",
        "json",
        "jpg",
        "txt",
        "cbor",
    )
    for ending in endings:
        members = [("ok.jpg", JPEG), (f"ok.{ending}" if ending != "jpg" else "bad.jpg", payload)]
        tar = pack(place / f"{ending}.tar", members)
        found = curate("shard", f"wds:{tar}", "--out", place / ending, "--max-bad", "1", "--quiet")
        if canary.exists():
            faults.fired("canary", f"a .{ending} member")
            canary.unlink()
        elif found.code in (0, 3):
            faults.survived("canary")
        else:
            faults.lost("canary", f"a .{ending} member: {found}")


class Payload:
    """Something whose unpickling makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))
