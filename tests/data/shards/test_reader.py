"""Reading back: any rows in any order, and no damage goes unseen."""

import hashlib
import json
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.data import shards
from curate.data.decoding import encode_png
from curate.data.index import open_index
from curate.data.sample import INDEX_SCHEMA
from curate.data.shards import reader as module
from curate.data.shards import writer
from curate.errors import DataError
from curate.runtime.files import sealed, write_json
from tests.given import Given
from tests.rendered import mixed


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Return a folder of 5 shards with 20 images in all, and the images."""
    monkeypatch.setattr(writer, "SHARD_SAMPLES", 4)
    images = list(mixed(20))
    shards.write([(Given(images), "train")], tmp_path / "s")
    return tmp_path / "s", [data for _, data in images]


def test_rows_come_in_the_order_asked(made, monkeypatch):
    folder, images = made
    monkeypatch.setattr(module, "BATCH", 7)
    monkeypatch.setattr(module, "OPEN_SHARDS", 2)
    reader = shards.Reader(folder)
    order = np.random.default_rng(0).integers(0, 20, 100)
    assert list(reader.read(order)) == [images[i] for i in order]
    assert list(reader.read(order.tolist())) == [images[i] for i in order]
    assert list(reader.read(range(20))) == images
    assert list(reader.read([])) == []


def descriptors(folder):
    """Return how many files of the folder are open."""
    return sum(f.resolve().is_relative_to(folder) for f in Path("/proc/self/fd").iterdir())


def test_few_files_are_open_at_a_time_and_none_afterwards(made, monkeypatch):
    folder, _ = made
    monkeypatch.setattr(module, "OPEN_SHARDS", 2)
    most = 0
    for _ in shards.Reader(folder).read(range(20)):
        most = max(most, descriptors(folder))
    assert most == 2
    assert descriptors(folder) == 0
    half = shards.Reader(folder).read(range(20))
    next(half)
    half.close()
    assert descriptors(folder) == 0


def sampled_rows(folder, tar):
    index = shards.Reader(folder).index().to_pylist()
    return [(i, row) for i, row in enumerate(index) if row["shard"] == tar.name]


def test_a_cut_anywhere_is_detected_for_every_sample_behind_it(made):
    folder, images = made
    tar = folder / "00001.tar"
    data = tar.read_bytes()
    rows = sampled_rows(folder, tar)
    cuts = {
        *range(0, len(data), 512),
        *np.random.default_rng(0).integers(0, len(data), 400).tolist(),
    }
    detected = 0
    for cut in sorted(cuts):
        tar.write_bytes(data[:cut])
        reader = shards.Reader(folder)
        for i, row in rows:
            if row["offset"] + row["size"] <= cut:
                assert next(reader.read([i])) == images[i]
                continue
            where = f"00001.tar at offset {row['offset']:,} (sample {row['key']}) is cut short"
            with pytest.raises(DataError, match=re.escape(where)):
                list(reader.read([i]))
            detected += 1
    assert detected > 500


def test_one_bit_flipped_anywhere_in_an_image_is_detected(made):
    folder, images = made
    tar = folder / "00002.tar"
    data = tar.read_bytes()
    for i, row in sampled_rows(folder, tar):
        for place in range(row["offset"], row["offset"] + row["size"], 29):
            flipped = bytearray(data)
            flipped[place] ^= 1 << place % 8
            tar.write_bytes(flipped)
            where = f"00002.tar at offset {row['offset']:,} (sample {row['key']}) changed"
            with pytest.raises(DataError, match=re.escape(where)):
                list(shards.Reader(folder).read([i]))
    tar.write_bytes(data)
    assert list(shards.Reader(folder).read(range(20))) == images


def test_a_missing_shard_is_named(made):
    folder, images = made
    (folder / "00003.tar").unlink()
    reader = shards.Reader(folder)
    assert list(reader.read(range(12))) == images[:12]
    with pytest.raises(DataError, match=r"cannot open shard .*00003.tar: No such file"):
        list(reader.read([12]))


def test_a_missing_index_is_told(made):
    folder, _ = made
    (folder / "index.parquet").unlink()
    with pytest.raises(DataError, match=r"index.parquet is missing"):
        shards.Reader(folder).index()


@pytest.mark.parametrize("content", ["{}", '{"index": 3}', "[]", "", None])
def test_without_its_facts_an_index_is_not_trusted(made, content):
    folder, _ = made
    (folder / "dataset.json").unlink()
    if content is not None:
        (folder / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=r"index.parquet|dataset.json"):
        shards.Reader(folder).index()


def test_any_change_to_the_index_is_detected(made):
    folder, _ = made
    path = folder / "index.parquet"
    data = path.read_bytes()
    random = np.random.default_rng(0)
    for place in [0, len(data) - 1, *random.integers(0, len(data), 300).tolist()]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        for changed in (bytes(flipped), data[:place]):
            path.write_bytes(changed)
            with pytest.raises(DataError, match=r"index.parquet changed since it was written"):
                shards.Reader(folder).index()


def test_an_index_of_another_version_is_told(made):
    folder, _ = made
    path = folder / "index.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["crc32"]), path)
    facts = json.loads((folder / "dataset.json").read_text())
    facts["index"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_json(folder / "dataset.json", sealed(facts))
    with pytest.raises(DataError, match=r"index.parquet lacks crc32: another version"):
        len(shards.Reader(folder))


def test_parts_are_the_index_shard_by_shard(made):
    folder, _ = made
    reader = shards.Reader(folder)
    assert len(reader) == 20
    assert [part["shard"].unique().to_pylist() for part in reader.parts(["shard"])] == [
        [f"{i:05d}.tar"] for i in range(5)
    ]
    whole = pa.concat_tables(reader.parts())
    assert whole.equals(reader.index()) and whole.schema == INDEX_SCHEMA
    assert reader.index(["uid", "split"]).equals(whole.select(["uid", "split"]))
    assert list(open_index(reader.folder).parts(["key"], shards=[3, 1]))[1].equals(
        whole.select(["key"]).slice(4, 4)
    )


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "SHARD_SAMPLES", 100)
    monkeypatch.setattr(module, "BATCH", 64)
    peaks = []
    for n in (200, 2000):
        random = np.random.default_rng(0)
        pixels = random.integers(0, 256, (n, 4, 4), dtype=np.uint8)
        folder = tmp_path / str(n)
        images = [(f"{i}.png", encode_png(image)) for i, image in enumerate(pixels)]
        shards.write([(Given(images), "train")], folder)
        del images
        reader, pool = shards.Reader(folder), pa.default_memory_pool()
        before, most, read = pool.bytes_allocated(), 0, 0
        rows = range(len(reader))
        tracemalloc.start()
        for data in reader.read(rows):
            read += len(data)
            most = max(most, pool.bytes_allocated() - before)
        most += tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert read > 50 * n
        peaks.append(most)
    # What the index's footer says of each shard; the index itself would be 250 bytes a sample.
    assert (peaks[1] - peaks[0]) / 1800 < 60


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    reader = shards.Reader(tmp_path / "nowhere")
    with pytest.raises(DataError):
        list(reader.read([0]))


def test_memory_does_not_grow_with_what_is_read(tmp_path):
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(200)]
    images = [(f"{i}.png", encode_png(pixels)) for i, pixels in enumerate(noise)]
    total = sum(len(data) for _, data in images)
    shards.write([(Given(images), "train")], tmp_path / "s")
    reader = shards.Reader(tmp_path / "s")
    reader.index()
    del images, noise
    sizes = []
    tracemalloc.start()
    for data in reader.read(range(200)):
        sizes.append(len(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(sizes) == total
    assert peak < total / 5
