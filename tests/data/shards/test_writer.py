"""Shards: every sample accounted for, the same bytes every time, readable by everyone."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.data import shards
from curate.data.sample import INDEX_SCHEMA, Entry, content_uid
from curate.data.shards import writer
from curate.data.sources import open_source
from curate.errors import DataError, InUseError, ResourceError, UsageError
from curate.runtime import threads
from tests.given import Given
from tests.rendered import encoded, mixed, picture

ROOT = Path(__file__).parents[3]


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(writer, "SHARD_SAMPLES", 8)


def labelled(n, seed=0):
    """Return entries of mixed images with labels and metadata."""
    return [
        Entry(f"{'ab'[i % 2]}/{name}", data, i % 2, {"n": i, "who": "x"})
        for i, (name, data) in enumerate(mixed(n, seed))
    ]


def digest_of(folder):
    """Return a digest of every file of a folder, by name."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def rejected(folder):
    lines = (folder / "rejected.jsonl").read_text().splitlines()
    return [(row["path"], row["split"], row["reason"]) for row in map(json.loads, lines)]


def test_every_sample_is_there_with_its_own_bytes(tmp_path, small_shards):
    entries = labelled(30)
    facts = shards.write([(Given(entries, classes="ab"), "train")], tmp_path / "s")
    reader = shards.Reader(tmp_path / "s")
    index = reader.index()
    assert index.schema == INDEX_SCHEMA
    assert list(reader.read(range(30))) == [entry.data for entry in entries]
    assert index["path"].to_pylist() == [entry.path for entry in entries]
    assert index["label"].to_pylist() == [entry.label for entry in entries]
    assert index["uid"].to_pylist() == [content_uid(entry.data) for entry in entries]
    assert index["sha256"].to_pylist() == [hashlib.sha256(e.data).hexdigest() for e in entries]
    assert set(index["split"].to_pylist()) == {"train"}
    assert index["shard"].to_pylist() == [f"{i // 8:05d}.tar" for i in range(30)]
    assert facts["written"] == 30 and facts["rejected"] == 0
    assert facts["splits"] == {"train": {"written": 30, "rejected": 0}}
    assert facts["classes"] == ["a", "b"]
    assert rejected(tmp_path / "s") == []
    for name, shard in facts["shards"].items():
        data = (tmp_path / "s" / name).read_bytes()
        assert shard["size"] == len(data)
        assert shard["sha256"] == hashlib.sha256(data).hexdigest()
    assert sum(shard["samples"] for shard in facts["shards"].values()) == 30
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == [
        *sorted(facts["shards"]), "dataset.json", "index.parquet", "rejected.jsonl",
    ]  # fmt: skip


def test_the_index_agrees_with_the_members(tmp_path, small_shards):
    shards.write([(Given(labelled(20), classes="ab"), "extra")], tmp_path / "s")
    rows = {row["key"]: row for row in shards.Reader(tmp_path / "s").index().to_pylist()}
    seen = 0
    for tar in sorted((tmp_path / "s").glob("*.tar")):
        with tarfile.open(tar) as archive:
            for info in archive:
                key, _, kind = info.name.partition(".")
                row = rows[key]
                assert (info.mtime, info.uid, info.gid, info.uname, info.mode) == (
                    0,
                    0,
                    0,
                    "",
                    0o644,
                )
                assert info.isreg() and row["shard"] == tar.name
                content = archive.extractfile(info).read()
                if kind == "cls":
                    assert int(content) == row["label"]
                elif kind == "json":
                    facts = json.loads(content)
                    assert facts.pop("metadata") == {"n": int(key[:8]), "who": "x"}
                    assert facts == {k: row[k] for k in facts} and "uid" in facts
                else:
                    assert (info.offset_data, info.size) == (row["offset"], row["size"])
                    seen += 1
    assert seen == len(rows) == 20


def test_the_same_input_gives_the_same_bytes(tmp_path, small_shards):
    for name in "ab":
        items = [*labelled(20), ("bad.jpg", b"text"), ("gone.jpg", "is missing")]
        shards.write([(Given(items), "train"), (Given(labelled(5, 3)), "test")], tmp_path / name,
                     max_bad=0.5)  # fmt: skip
        time.sleep(0.02)
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b")


def test_bytes_do_not_depend_on_the_number_of_threads(tmp_path, small_shards, monkeypatch):
    items = [*labelled(150), ("bad.jpg", b"text"), *labelled(60, 3), ("gone.jpg", "is missing")]
    for n_threads in (1, 2, 5):
        monkeypatch.setattr(threads, "cores", lambda n=n_threads: n)
        shards.write(
            [(Given(items, classes="ab"), "train")], tmp_path / str(n_threads), max_bad=0.5
        )
    assert digest_of(tmp_path / "1") == digest_of(tmp_path / "2") == digest_of(tmp_path / "5")
    assert len(list((tmp_path / "1").glob("*.tar"))) == 27


def test_the_index_has_a_checksum_of_every_byte_of_a_sample(tmp_path, small_shards):
    facts = shards.write([(Given(labelled(20), classes="ab"), "train")], tmp_path / "s")
    rows = shards.Reader(tmp_path / "s").index().to_pylist()
    covered = 0
    for name, shard in facts["shards"].items():
        data = (tmp_path / "s" / name).read_bytes()
        starts = [row["offset"] - 512 for row in rows if row["shard"] == name]
        found = [row["crc32"] for row in rows if row["shard"] == name]
        ends = [*starts[1:], shard["end"]]
        assert starts[0] == 0 and not data[shard["end"] :].strip(b"\0")
        records = [data[a:b] for a, b in zip(starts, ends, strict=True)]
        assert found == [zlib.crc32(record) for record in records]
        covered += len(found)
    assert covered == 20


def test_webdataset_and_datasets_see_every_sample(tmp_path, small_shards, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets")
    webdataset = pytest.importorskip("webdataset")
    # Labels and metadata that come up late are what these readers lose.
    entries = [
        Entry(f"p/{i}.{name}", data, i % 2 if i > 10 else None, {"n": i} if i > 12 else {})
        for i, (name, data) in enumerate(mixed(37))
    ]
    facts = shards.write([(Given(entries, classes="ab"), "train")], tmp_path / "s")
    tars = [str(tmp_path / "s" / name) for name in facts["shards"]]
    index = shards.Reader(tmp_path / "s").index().to_pylist()
    assert len(tars) == 5
    wanted = {row["key"]: -1 if row["label"] is None else row["label"] for row in index}

    plain = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert {s["__key__"]: int(s["cls"]) for s in plain} == wanted
    assert [s["jpg"] for s in plain] == [entry.data for entry in entries]
    decoded = list(webdataset.WebDataset(tars, shardshuffle=False).decode("pil"))
    assert [s["jpg"].size for s in decoded] == [(row["width"], row["height"]) for row in index]

    for streaming in (False, True):
        found = datasets.load_dataset(
            "webdataset", data_files=tars, split="train", streaming=streaming,
            cache_dir=str(tmp_path / "cache"),
        )  # fmt: skip
        rows = list(found)
        assert {row["__key__"]: row["cls"] for row in rows} == wanted
        assert [r["jpg"].size for r in rows] == [(r["width"], r["height"]) for r in index]
        assert [row["json"]["uid"] for row in rows] == [row["uid"] for row in index]


def test_without_labels_there_are_no_label_members(tmp_path):
    shards.write([(Given(mixed(6)), "train")], tmp_path / "s")
    with tarfile.open(tmp_path / "s" / "00000.tar") as archive:
        assert [n.partition(".")[2] for n in archive.getnames()] == ["jpg", "json"] * 6
    assert shards.Reader(tmp_path / "s").index()["label"].null_count == 6


def test_in_is_written_and_rejected(tmp_path, small_shards):
    good = labelled(40)
    bad = [
        ("text.jpg", b"I am a text, renamed\n" * 20),
        ("empty.png", b""),
        ("cut.jpg", good[0].data[: len(good[0].data) // 2]),
        ("gone.jpg", "cannot be read: No such file"),
        Entry("alien.png", good[1].data + b"", 7),
    ]
    items = good[:10] + bad[:2] + good[10:30] + bad[2:4] + good[30:] + bad[4:]
    source = Given(items, classes="ab")
    facts = shards.write([(source, "train")], tmp_path / "s", max_bad=0.2)
    assert (facts["written"], facts["rejected"]) == (40, 5)
    assert facts["written"] + facts["rejected"] == len(list(source.paths()))
    found = rejected(tmp_path / "s")
    assert [path for path, _, _ in found] == [
        "text.jpg", "empty.png", "cut.jpg", "gone.jpg", "alien.png",
    ]  # fmt: skip
    assert [split for _, split, _ in found] == ["train"] * 5
    for (_, _, reason), word in zip(
        found, ["not an image", "empty", "damaged", "No such file", "none of the 2"], strict=True
    ):
        assert word in reason
    assert shards.Reader(tmp_path / "s").index()["path"].to_pylist() == [e.path for e in good]


def test_too_many_bad_ones_stop_it_and_stay_listed(tmp_path):
    items = [*mixed(97), *((f"{i}.jpg", b"no") for i in range(3))]
    with pytest.raises(DataError) as caught:
        shards.write([(Given(items), "train")], tmp_path / "s", max_bad=0.02)
    assert "3 of 100 samples rejected, 2.00% are allowed" in str(caught.value)
    assert "such as 0.jpg, 1.jpg, 2.jpg: not an image" in str(caught.value)
    assert str(tmp_path / "s" / "rejected.jsonl") in str(caught.value)
    assert [path for path, _, _ in rejected(tmp_path / "s")] == ["0.jpg", "1.jpg", "2.jpg"]
    assert shards.finished(tmp_path / "s") is None
    with pytest.raises(DataError, match=r"index.parquet is missing"):
        shards.Reader(tmp_path / "s").index()
    facts = shards.write([(Given(items), "train")], tmp_path / "s", max_bad=0.03)
    assert (facts["written"], facts["rejected"]) == (97, 3)
    assert shards.finished(tmp_path / "s") == facts


@pytest.mark.parametrize("items", [[], [("a.jpg", b"no")], [("a.jpg", "gone")]])
def test_nothing_to_write_is_an_error(tmp_path, items):
    with pytest.raises(DataError, match="no images found" if not items else "1 of 1 samples"):
        shards.write([(Given(items), "train")], tmp_path / "s", max_bad=1.0)


def test_one_image_is_a_dataset(tmp_path):
    facts = shards.write([(Given(mixed(1)), "train")], tmp_path / "s")
    assert facts["written"] == 1
    assert len(list(shards.Reader(tmp_path / "s").read([0]))) == 1


def test_exact_repeats_are_numbered_over_the_whole_dataset(tmp_path, small_shards):
    data = encoded(picture(1, 9, 9), "PNG")
    other = encoded(picture(2, 9, 9), "PNG")
    train = [(f"{i}.png", data if i % 3 else other) for i in range(12)]
    shards.write([(Given(train), "train"), (Given([("x.png", data)]), "test")], tmp_path / "s")
    uids = shards.Reader(tmp_path / "s").index()["uid"].to_pylist()
    assert len(set(uids)) == 13
    mine = [uid for uid in uids if uid.startswith(content_uid(data))]
    assert mine == [content_uid(data), *(f"{content_uid(data)}-{i}" for i in range(1, 9))]
    keys = shards.Reader(tmp_path / "s").index()["key"].to_pylist()
    assert len(set(keys)) == 13


def test_odd_names_get_safe_keys_and_are_kept(tmp_path):
    names = [
        "a.b.c.jpg", "A.jpg", "a.jpg", "../up.jpg", "/etc/x.jpg", "ü ß 漢字.jpg", ".hidden.jpg",
        "no extension", "x" * 5000, "new\nline.jpg", "quote'\".jpg", "__meta__", "tab\t", "0", "-",
    ]  # fmt: skip
    items = [(name, data) for name, (_, data) in zip(names, mixed(len(names)), strict=True)]
    shards.write([(Given(items), "train")], tmp_path / "s")
    index = shards.Reader(tmp_path / "s").index()
    assert index["path"].to_pylist() == names
    keys = index["key"].to_pylist()
    assert len({key.lower() for key in keys}) == len(names)
    assert all(key.replace("-", "").isalnum() and key.isascii() and len(key) < 30 for key in keys)


def test_a_limit_chooses_by_path_not_by_order(tmp_path):
    entries = labelled(60)
    fingerprints = set()
    for name, order in (("a", entries), ("b", entries[::-1])):
        facts = shards.write([(Given(order), "train")], tmp_path / name, limit=20)
        assert facts["written"] == 20
        fingerprints.add(facts["fingerprint"])
    assert len(fingerprints) == 1
    chosen = set(shards.Reader(tmp_path / "a").index()["path"].to_pylist())
    assert chosen == set(shards.Reader(tmp_path / "b").index()["path"].to_pylist())
    assert chosen != {entry.path for entry in entries[:20]}
    shards.write([(Given(entries), "train")], tmp_path / "c", limit=30)
    assert chosen < set(shards.Reader(tmp_path / "c").index()["path"].to_pylist())
    everything = shards.write([(Given(entries), "train")], tmp_path / "d", limit=1000)
    assert everything["written"] == 60


def test_a_limit_is_for_each_part(tmp_path):
    parts = [(Given(labelled(20)), "train"), (Given(labelled(20, 1)), "test")]
    facts = shards.write(parts, tmp_path / "s", limit=7)
    assert facts["splits"] == {role: {"written": 7, "rejected": 0} for role in ("train", "test")}


def test_the_fingerprint_is_of_content_labels_and_roles(tmp_path):
    base = labelled(12)
    prints = {}
    variants = {
        "base": [(base, "train")],
        "reversed": [(base[::-1], "train")],
        "renamed": [([Entry("x" + e.path, e.data, e.label) for e in base], "train")],
        "label": [([Entry(e.path, e.data, 1) for e in base], "train")],
        "unlabelled": [([Entry(e.path, e.data) for e in base], "train")],
        "role": [(base, "extra")],
        "fewer": [(base[1:], "train")],
        "image": [([*base[1:], *labelled(1, 9)], "train")],
    }
    for name, parts in variants.items():
        sources = [(Given(entries), role) for entries, role in parts]
        prints[name] = shards.write(sources, tmp_path / name)["fingerprint"]
    assert prints["base"] == prints["reversed"] == prints["renamed"]
    assert len(set(prints.values())) == len(variants) - 2
    assert all(len(p) == 64 for p in prints.values())


def test_parts_with_other_classes_do_not_mix(tmp_path):
    parts = [
        (Given(labelled(4), classes="ab"), "train"),
        (Given(labelled(4, 1), classes="ac"), "test"),
    ]
    with pytest.raises(DataError, match="differ in their classes"):
        shards.write(parts, tmp_path / "s")


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("dear diary")
    with pytest.raises(UsageError, match=r"is not empty \(it holds mine.txt\)"):
        shards.write([(Given(mixed(3)), "train")], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(UsageError, match="is no folder"):
        shards.write([(Given(mixed(3)), "train")], tmp_path / "mine.txt")
    shards.write([(Given(mixed(3)), "train")], tmp_path / "s")
    with pytest.raises(UsageError, match="is not empty"):
        shards.write([(Given(mixed(3)), "train")], tmp_path / "s")


def test_a_second_writer_is_refused(tmp_path):
    class Meddler(Given):
        def entries(self, select=None):
            with pytest.raises(InUseError, match="another process"):
                shards.write([(Given(mixed(3)), "train")], tmp_path / "s")
            yield from super().entries(select)

    assert shards.write([(Meddler(mixed(5)), "train")], tmp_path / "s")["written"] == 5


def test_an_error_in_the_middle_leaves_no_part_under_a_final_name(tmp_path, small_shards):
    class Failing(Given):
        def entries(self, select=None):
            for i, entry in enumerate(super().entries(select)):
                if i == 90:
                    raise DataError("the source broke")
                yield entry

    with pytest.raises(DataError, match="the source broke"):
        shards.write([(Failing(labelled(100)), "train")], tmp_path / "s")
    for tar in (tmp_path / "s").glob("*.tar"):
        with tarfile.open(tar) as archive:
            assert len(archive.getnames()) == 8 * 3
    assert shards.finished(tmp_path / "s") is None
    assert not list((tmp_path / "s").glob(".00*"))
    shards.write([(Given(labelled(100)), "train")], tmp_path / "s")
    shards.write([(Given(labelled(100)), "train")], tmp_path / "t")
    assert digest_of(tmp_path / "s") == digest_of(tmp_path / "t")


KILLED = """
import sys
from pathlib import Path
from curate.data import shards
from curate.data.shards import writer
from tests.given import Given
from tests.rendered import mixed
writer.SHARD_SAMPLES = 8
images = list(mixed(120))
print("ready", flush=True)
shards.write([(Given(images), "train")], Path(sys.argv[1]))
"""


def test_killed_at_any_moment_and_begun_again_gives_the_same_bytes(tmp_path, small_shards):
    wanted = shards.write([(Given(mixed(120)), "train")], tmp_path / "whole")
    random = np.random.default_rng(0)
    unfinished = 0
    for attempt in range(6):
        folder = tmp_path / f"killed-{attempt}"
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, cwd=ROOT
        )
        process.stdout.readline()
        time.sleep(float(random.uniform(0.0, 0.12)))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for tar in folder.glob("*.tar") if folder.exists() else ():
            expected = wanted["shards"][tar.name]["sha256"]
            assert hashlib.sha256(tar.read_bytes()).hexdigest() == expected
        if shards.finished(folder) is None:
            unfinished += 1
            shards.write([(Given(mixed(120)), "train")], folder)
        assert digest_of(folder) == digest_of(tmp_path / "whole")
    assert unfinished


def test_a_full_disk_is_told_and_survived(tmp_path):
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from curate.data import shards\n"
        "from curate.errors import ResourceError\n"
        "from tests.given import Given\nfrom tests.rendered import mixed\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "try:\n    shards.write([(Given(mixed(60)), 'train')], Path(sys.argv[1]))\n"
        "except ResourceError as error:\n    sys.exit(str(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s")], capture_output=True, text=True, cwd=ROOT
    )
    assert "cannot write" in done.stderr and "00000.tar" in done.stderr, done.stderr
    assert done.returncode == 1
    assert not list((tmp_path / "s").glob("*.tar"))
    assert shards.write([(Given(mixed(60)), "train")], tmp_path / "s")["written"] == 60


def test_no_permission_is_told(tmp_path):
    if os.geteuid() == 0:
        folder = tmp_path / "x" / "y"
        (tmp_path / "x").write_text("")
        with pytest.raises((UsageError, ResourceError), match="x/y"):
            shards.write([(Given(mixed(3)), "train")], folder)
        return
    tmp_path.chmod(0o500)
    with pytest.raises(ResourceError, match="Permission denied"):
        shards.write([(Given(mixed(3)), "train")], tmp_path / "s")


def test_digits_are_the_same_dataset_everywhere(tmp_path):
    source = open_source("digits", split="all")
    facts = shards.write([(source, "train")], tmp_path / "s")
    assert facts["written"] == 1797
    assert facts["fingerprint"] == (
        "5d8d4a6cb761cd9ccff87a16dccb4990e347a20f88d7f39bb9efd72ce2028e28"
    )


def test_progress_counts_to_the_total(tmp_path):
    told = []
    items = [*mixed(9), ("bad.jpg", b"no")]
    shards.write(
        [(Given(items), "train")], tmp_path / "s", max_bad=0.5,
        progress=lambda what, done, total: told.append((what, done, total)),
    )  # fmt: skip
    assert told == [("shard", i, 10) for i in range(1, 11)]


def test_rows_of_the_index_come_shard_by_shard(tmp_path, small_shards):
    shards.write([(Given(labelled(20)), "train")], tmp_path / "s")
    file = pq.ParquetFile(tmp_path / "s" / "index.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(3)] == [8, 8, 4]


def test_large_images_close_a_shard_early(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "SHARD_BYTES", 20_000)
    facts = shards.write([(Given(mixed(30)), "train")], tmp_path / "s")
    assert len(facts["shards"]) > 2
    assert all(shard["size"] < 50_000 for shard in facts["shards"].values())
