"""Tars that others wrote: nothing lost, nothing merged, nothing run, nothing written."""

import gzip
import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from curate.data import shards
from curate.data.shards import writer
from curate.data.sources import open_source
from curate.errors import DataError, UsageError
from tests.given import Given
from tests.rendered import mixed

IMAGES = [data for _, data in mixed(40)]


def pack(path, members, **options):
    """Write a tar; members are (name, content), or (name, TarInfo's type, link's target)."""
    with tarfile.open(path, "w", **options) as archive:
        for name, *rest in members:
            info = tarfile.TarInfo(name)
            if len(rest) == 2:
                info.type, info.linkname = rest
                archive.addfile(info)
            else:
                data = rest[0].encode() if isinstance(rest[0], str) else rest[0]
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def opened(place, split="train"):
    return open_source(f"wds:{place}", split=split)


def found(source):
    """Return {path without the tar: (number of its image, label, metadata)}."""
    return {
        e.path.partition("/")[2]: (IMAGES.index(e.data), e.label, e.metadata)
        for e in source.entries()
    }


def test_images_with_labels_and_metadata(tmp_path):
    pack(
        tmp_path / "a.tar",
        [
            ("x/1.jpg", IMAGES[0]), ("x/1.cls", "3"), ("x/1.json", '{"who": "me", "nan": NaN}'),
            ("x/2.PNG", IMAGES[1]), ("x/2.CLS", " 5\n"), ("x/2.txt", "a cat"),
            ("x/3.webp", IMAGES[2]), ("x/3.json", '{"label": 7, "k": [1]}'),
            ("x/4.jpeg", IMAGES[3]), ("x/4.cls", "-1"), ("x/4.json", "[1]"),
            ("x/5.jpg", IMAGES[4]), ("x/5.json", '{"label": true}'),
        ],
    )  # fmt: skip
    source = opened(tmp_path)
    assert found(source) == {
        "x/1.jpg": (0, 3, {"who": "me", "nan": None}),
        "x/2.PNG": (1, 5, {"text": "a cat"}),
        "x/3.webp": (2, 7, {"k": [1]}),
        "x/4.jpeg": (3, None, {}),
        "x/5.jpg": (4, None, {"label": True}),
    }
    assert source.splits == ("train",) and source.classes == () and source.rejected == []
    assert list(source.paths()) == [f"a.tar/{name}" for name in found(source)]


def test_what_webdataset_writes_is_read(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.ShardWriter(str(tmp_path / "w-%03d.tar"), maxcount=7, verbose=0) as sink:
        for i, data in enumerate(IMAGES):
            sink.write({"__key__": f"k{i:03d}", "jpg": data, "cls": i % 5, "json": {"i": i}})
    for place in (tmp_path, tmp_path / "w-*.tar"):
        entries = list(opened(place).entries())
        assert [entry.data for entry in entries] == IMAGES
        assert [entry.label for entry in entries] == [i % 5 for i in range(40)]
        assert [entry.metadata for entry in entries] == [{"i": i} for i in range(40)]
    assert len(list(opened(tmp_path / "w-001.tar").entries())) == 7


def test_names_of_classes_become_numbers_in_order(tmp_path):
    pack(tmp_path / "a.tar", [("1.jpg", IMAGES[0]), ("1.cls", "zebra")])
    pack(tmp_path / "b.tar", [("1.jpg", IMAGES[1]), ("1.json", '{"label": "ant"}')])
    source = opened(tmp_path)
    assert source.classes == ("ant", "zebra")
    assert [entry.label for entry in source.entries()] == [1, 0]
    pack(tmp_path / "c.tar", [("1.jpg", IMAGES[2]), ("1.cls", "4")])
    with pytest.raises(DataError, match="mixes labels that are numbers and names"):
        opened(tmp_path)


def test_dotted_names_do_not_merge(tmp_path):
    pack(
        tmp_path / "a.tar",
        [("x.v1.jpg", IMAGES[0]), ("x.v2.jpg", IMAGES[1]), ("x.cls", "4"), ("x.v2.cls", "5"),
         ("dir.d/y.jpg", IMAGES[2]), ("dir.d/y.cls", "6")],
    )  # fmt: skip
    assert found(opened(tmp_path)) == {
        "x.v1.jpg": (0, 4, {}), "x.v2.jpg": (1, 5, {}), "dir.d/y.jpg": (2, 6, {}),
    }  # fmt: skip


def test_members_in_any_order_find_their_image(tmp_path):
    members = [(f"{i:02d}.jpg", IMAGES[i]) for i in range(20)]
    members += [(f"{i:02d}.cls", str(i)) for i in range(20)]
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(40)
        pack(tmp_path / "a.tar", [members[i] for i in order])
        assert found(opened(tmp_path)) == {f"{i:02d}.jpg": (i, i, {}) for i in range(20)}


@pytest.mark.parametrize("apart", [False, True])
def test_a_repeated_name_is_listed_and_the_first_is_taken(tmp_path, apart):
    between = [("y.jpg", IMAGES[2]), ("y.cls", "2")] if apart else []
    pack(
        tmp_path / "a.tar",
        [("x.jpg", IMAGES[0]), ("x.cls", "0"), *between, ("x.jpg", IMAGES[1]), ("x.cls", "1")],
    )
    source = opened(tmp_path)
    assert found(source)["x.jpg"] == (0, 0, {})
    assert source.rejected == [
        ("a.tar/x.jpg", "the name is repeated in its tar; the first is taken")
    ]
    facts = shards.write([(opened(tmp_path), "train")], tmp_path / "out", max_bad=0.5)
    assert (facts["written"], facts["rejected"]) == (1 + apart, 1)


def test_the_same_name_in_two_tars_is_two_samples(tmp_path):
    for k, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        pack(tmp_path / folder / "0.tar", [("x.jpg", IMAGES[k]), ("x.cls", str(k))])
    source = opened(tmp_path / "*" / "0.tar")
    assert [(e.path, e.label) for e in source.entries()] == [
        ("a/0.tar/x.jpg", 0),
        ("b/0.tar/x.jpg", 1),
    ]


def test_hidden_and_extensionless_images_are_read_and_others_are_not(tmp_path):
    pack(
        tmp_path / "a.tar",
        [(".x.jpg", IMAGES[0]), ("bare", IMAGES[1]), ("README", "no image"),
         ("y.npy", b"\x93NUMPY"),
         ("._z.jpg", b"\0\5\x16\7 of macOS"), ("./z.jpg", IMAGES[2]), ("dir/.cls", "1"),
         ("Case.jpg", IMAGES[3]), ("case.JPG", IMAGES[4]), ("case.jpg", IMAGES[5]),
         ("ü/漢.jpg", IMAGES[6]), ("n" * 300 + ".jpg", IMAGES[7])],
    )  # fmt: skip
    source = opened(tmp_path)
    assert {path: value[0] for path, value in found(source).items()} == {
        ".x.jpg": 0, "bare": 1, "z.jpg": 2, "Case.jpg": 3, "case.JPG": 4, "case.jpg": 5,
        "ü/漢.jpg": 6, "n" * 300 + ".jpg": 7,
    }  # fmt: skip
    assert source.rejected == []


def test_hostile_members_are_refused_and_listed_and_nothing_is_written(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self):
            return (Path.touch, (canary,))

    payload = pickle.dumps(Payload())
    hostile = [
        ("../up.jpg", IMAGES[1]),
        ("a/../../b.jpg", IMAGES[1]),
        ("/abs.jpg", IMAGES[1]),
        ("../up.cls", "1"),
        ("link.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        ("hard.jpg", tarfile.LNKTYPE, "ok.jpg"),
        ("pipe.jpg", tarfile.FIFOTYPE, ""),
        ("disk.jpg", tarfile.BLKTYPE, ""),
        ("tty.jpg", tarfile.CHRTYPE, ""),
    ]
    harmless = [
        ("folder", tarfile.DIRTYPE, ""),
        ("ok.jpg", IMAGES[0]),
        ("ok.cls", "2"),
        ("ok.pyd", payload),
        ("ok.pickle", payload),
        ("ok.pth", payload),
        ("ok.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O'}" + payload),
    ]
    (home / "in").mkdir()
    pack(home / "in" / "a.tar", [*hostile, *harmless])
    before = set(tmp_path.rglob("*"))
    source = opened(home / "in")
    assert found(source) == {"ok.jpg": (0, 2, {})}
    assert source.rejected == [
        ("a.tar/../up.jpg", "the name leads out of the tar"),
        ("a.tar/a/../../b.jpg", "the name leads out of the tar"),
        ("a.tar//abs.jpg", "the name leads out of the tar"),
        ("a.tar/../up.cls", "the name leads out of the tar"),
        ("a.tar/link.jpg", "a link to /etc/passwd"),
        ("a.tar/hard.jpg", "a link to ok.jpg"),
        ("a.tar/pipe.jpg", "not a plain file"),
        ("a.tar/disk.jpg", "not a plain file"),
        ("a.tar/tty.jpg", "not a plain file"),
    ]
    facts = shards.write([(opened(home / "in"), "train")], home / "out", max_bad=0.95)
    assert (facts["written"], facts["rejected"]) == (1, 9)
    after = set(tmp_path.rglob("*"))
    assert {p for p in after - before if home / "out" not in (p, *p.parents)} == set()
    assert not canary.exists()


def test_a_pipe_is_no_tar_and_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("pipe:touch canary", "pipe:touch canary.tar", "|touch canary.tar"):
        with pytest.raises(UsageError, match="no tar file at"):
            opened(name)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_companion_rejects_its_sample(tmp_path):
    pack(
        tmp_path / "a.tar",
        [("1.jpg", IMAGES[0]), ("1.json", "{not json"),
         ("2.jpg", IMAGES[1]), ("2.cls", b"\xff\xfe"),
         ("3.jpg", IMAGES[2]), ("3.json", "[" * 100_000), ("4.jpg", IMAGES[3])],
    )  # fmt: skip
    source = opened(tmp_path)
    assert list(found(source)) == ["4.jpg"]
    assert source.rejected == [
        ("a.tar/1.jpg", "its .json member is no JSON"),
        ("a.tar/2.jpg", "its .cls member is no text"),
        ("a.tar/3.jpg", "its .json member is no JSON"),
    ]


def test_every_cut_of_a_tar_is_detected_before_anything_is_written(tmp_path):
    pack(tmp_path / "a.tar", [m for i in range(12) for m in
                              ((f"{i}.jpg", IMAGES[i]), (f"{i}.cls", str(i)))])  # fmt: skip
    data = (tmp_path / "a.tar").read_bytes()
    end = len(data.rstrip(b"\0"))
    last = -(-end // 512) * 512
    cuts = {*range(0, last + 512, 512), *np.random.default_rng(0).integers(0, last, 400).tolist()}
    lost_by_tarfile = 0
    for cut in sorted(cuts):
        (tmp_path / "a.tar").write_bytes(data[:cut])
        with pytest.raises(DataError, match=r"a.tar is (cut short|damaged)"):
            opened(tmp_path)
        try:
            with tarfile.open(tmp_path / "a.tar") as archive:
                lost_by_tarfile += len(archive.getnames()) < 24
        except tarfile.TarError:
            pass
    assert lost_by_tarfile > 10  # why we look ourselves
    assert len(cuts) > 350
    (tmp_path / "a.tar").write_bytes(data[: last + 512])  # one block of the end mark is enough
    assert len(found(opened(tmp_path))) == 12


def test_a_cut_packed_tar_is_detected(tmp_path):
    pack(tmp_path / "b.tar", [(f"{i}.jpg", IMAGES[i]) for i in range(12)])
    data = gzip.compress((tmp_path / "b.tar").read_bytes())
    (tmp_path / "b.tar").unlink()
    path = tmp_path / "a.tar.gz"
    path.write_bytes(data)
    assert len(found(opened(tmp_path))) == 12
    for cut in [0, 1, 10, *np.random.default_rng(0).integers(0, len(data), 60).tolist()]:
        path.write_bytes(data[:cut])
        with pytest.raises(DataError, match=r"a.tar.gz is"):
            opened(tmp_path)


def test_flipped_bits_in_headers_lose_no_sample_in_silence(tmp_path):
    pack(tmp_path / "a.tar", [(f"{i}.jpg", IMAGES[i]) for i in range(4)])
    data = (tmp_path / "a.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as archive:
        headers = [info.offset for info in archive]
    whole, detected = found(opened(tmp_path)), 0
    for header in headers:
        for place in range(header, header + 512, 5):
            flipped = bytearray(data)
            flipped[place] ^= 1 << place % 8
            (tmp_path / "a.tar").write_bytes(flipped)
            try:
                assert found(opened(tmp_path)) == whole
                assert place - header in range(148, 156)  # padding of the checksum itself
            except DataError as error:
                assert "a.tar is" in str(error)
                detected += 1
    assert detected >= 4 * 102


def test_two_tars_glued_together_are_told(tmp_path):
    pack(tmp_path / "a.tar", [("1.jpg", IMAGES[0])])
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(data + data)
    with pytest.raises(DataError, match=r"a.tar is damaged at offset"):
        opened(tmp_path)


def test_a_file_that_is_no_tar_is_told(tmp_path):
    for content in (b"", b"hello" * 1000, bytes(100)):
        (tmp_path / "a.tar").write_bytes(content)
        with pytest.raises(DataError, match=r"a.tar is"):
            opened(tmp_path)


def test_an_empty_tar_holds_no_samples(tmp_path):
    pack(tmp_path / "a.tar", [])
    assert found(opened(tmp_path)) == {}


def test_a_header_that_claims_too_much_costs_no_memory(tmp_path):
    path = pack(tmp_path / "a.tar", [("1.jpg", IMAGES[0])])
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**33 - 1
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + path.read_bytes())
    with pytest.raises(DataError, match="a header claims 8,589,93"):
        opened(tmp_path)
    info = tarfile.TarInfo("big.jpg")
    info.size = 2**28 + 512
    with path.open("wb") as stream:
        stream.write(info.tobuf())
        stream.truncate(512 + info.size + 1024)
    source = opened(tmp_path)
    assert found(source) == {}
    assert source.rejected == [
        ("a.tar/big.jpg", "268,435,968 bytes are more than the 268,435,456 allowed")
    ]


def test_sparse_members_are_refused(tmp_path):
    info = tarfile.TarInfo("s.jpg")
    info.type = tarfile.GNUTYPE_SPARSE
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    source = opened(tmp_path)
    assert found(source) == {}
    assert source.rejected == [("a.tar/s.jpg", "not a plain file")]


def test_other_splits_and_places_are_told(tmp_path):
    pack(tmp_path / "a.tar", [("1.jpg", IMAGES[0])])
    with pytest.raises(UsageError, match="has no split 'test'; it has: train"):
        opened(tmp_path, "test")
    (tmp_path / "d").mkdir()
    with pytest.raises(UsageError, match="no tar file at"):
        opened(tmp_path / "d")


# Shards of our own


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Return shards of ours with two roles and repeats, and what went into them."""
    monkeypatch.setattr(writer, "SHARD_SAMPLES", 6)
    rows = [(f"cat/{i}.jpg", IMAGES[i % 10], i % 3 if i % 4 else None) for i in range(20)]
    rest = [(f"dog/{i}.jpg", IMAGES[20 + i], 2) for i in range(5)]
    parts = [
        (Given(rows, classes="abc"), "train"),
        (Given(rest, classes="abc"), "test"),
    ]
    facts = shards.write(parts, tmp_path / "own")
    return tmp_path / "own", rows, rest, facts


def test_shards_of_ours_come_back_as_they_went_in(tmp_path, own):
    folder, rows, rest, facts = own
    train, test = opened(folder), opened(folder, "test")
    assert train.splits == test.splits == ("train", "test")
    assert train.classes == ("a", "b", "c")
    assert [(e.path, e.data, e.label) for e in train.entries()] == rows
    assert [(e.path, e.data, e.label) for e in test.entries()] == rest
    assert list(train.paths()) == [path for path, *_ in rows]
    assert [e.path for e in train.entries({"cat/7.jpg"}.__contains__)] == ["cat/7.jpg"]
    again = shards.write([(train, "train"), (test, "test")], tmp_path / "again")
    assert again["fingerprint"] == facts["fingerprint"]
    assert again["shards"] == facts["shards"]  # the very same bytes
    with pytest.raises(UsageError, match="has no split 'extra'; it has: train, test"):
        opened(folder, "extra")


def test_damage_to_shards_of_ours_is_detected(own):
    folder, *_ = own
    tar = folder / "00001.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 4
    tar.write_bytes(data)
    with pytest.raises(DataError, match=r"00001.tar at offset 512 \(sample 00000006-.*changed"):
        list(opened(folder).entries())
    tar.write_bytes(data[:700])
    with pytest.raises(DataError, match=r"00001.tar at offset 512 .* is cut short"):
        list(opened(folder).entries())
    tar.unlink()
    with pytest.raises(DataError, match=r"cannot open shard .*00001.tar: No such file"):
        list(opened(folder).entries())
    (folder / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"index.parquet changed since it was written"):
        opened(folder)


def test_shards_of_ours_without_their_index_are_tars_like_others(own):
    folder, rows, rest, _ = own
    (folder / "index.parquet").unlink()
    entries = list(opened(folder).entries())
    assert [e.data for e in entries] == [data for _, data, _ in rows + rest]
    assert [e.label for e in entries] == [label for *_, label in rows + rest]
    assert [e.metadata["path"] for e in entries] == [path for path, *_ in rows + rest]
    assert json.dumps(entries[0].metadata)
