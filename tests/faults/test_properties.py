"""What goes in comes out: keys, the index and manifests, whatever names and numbers there are."""

import json
import shutil
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.data import shards
from curate.data.sample import INDEX_SCHEMA, Entry, content_uid
from curate.data.shards import Reader, writer
from curate.errors import DataError
from curate.selection.manifest import MANIFEST_SCHEMA, Manifest
from tests.given import Given
from tests.rendered import mixed

IMAGES = [data for _, data in mixed(12)]
PATHS = (
    st.text(min_size=1, max_size=300)
    .filter(lambda name: "\0" not in name)
    .map(lambda name: name.encode("utf-8", "backslashreplace").decode())
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=20)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inside: (
        st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=8), inside, max_size=3)
    ),
    max_leaves=6,
)
SAMPLES = st.lists(
    st.tuples(
        PATHS,
        st.integers(0, len(IMAGES) - 1),
        st.none() | st.integers(0, 2**40),
        st.dictionaries(
            st.text(min_size=1, max_size=8), JSON.filter(lambda v: v is not None), max_size=3
        ),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda sample: sample[0],
)


@pytest.fixture
def often(drills):
    """Settings of hypothesis: the same examples every time, and none that is slow is a failure."""
    return settings(
        max_examples=max(15, drills),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def test_samples_come_back_from_tars_and_index(often, faults, monkeypatch):
    monkeypatch.setattr(writer, "SHARD_SAMPLES", 5)

    @often
    @given(SAMPLES)
    def check(samples):
        entries = [Entry(p, IMAGES[i], label, extras) for p, i, label, extras in samples]
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "s"
            shards.write([(Given(entries), "train")], out)
            table = pq.read_table(out / "index.parquet")
            assert table.schema.names[: len(INDEX_SCHEMA)] == INDEX_SCHEMA.names
            rows = table.to_pylist()
            assert [row["path"] for row in rows] == [e.path for e in entries]
            assert [row["label"] for row in rows] == [e.label for e in entries]
            assert [row["uid"][:32] for row in rows] == [content_uid(e.data) for e in entries]
            assert (
                len({row["uid"] for row in rows}) == len({row["key"] for row in rows}) == len(rows)
            )
            assert list(Reader(out).read(range(len(rows)))) == [e.data for e in entries]
            found = list(read_by_webdataset(out))
            assert [f["__key__"] for f in found] == [row["key"] for row in rows]
            for sample, entry in zip(found, entries, strict=True):
                (image,) = (
                    v for k, v in sample.items() if k not in ("cls", "json") and k[0] != "_"
                )
                facts = json.loads(sample["json"])
                assert image == entry.data and facts["path"] == entry.path
                assert facts.get("metadata", {}) == entry.metadata
                # A dataset whose first sample has no label, and which names no classes, has its
                # labels in the index alone.
                if entries[0].label is not None:
                    assert int(sample["cls"]) == (-1 if entry.label is None else entry.label)
            for tar in out.glob("*.tar"):
                with tarfile.open(tar) as archive:
                    assert all(n.isascii() and "/" not in n for n in archive.getnames())
        faults.survived("name", len(entries))

    check()


def read_by_webdataset(folder):
    """Yield what another reader finds in shards."""
    tars = sorted(str(path) for path in folder.glob("*.tar"))
    yield from webdataset.WebDataset(tars, shardshuffle=False, empty_check=False)


NUMBERS = st.none() | st.floats(-1e6, 1e6)
TABLES = st.dictionaries(
    st.text("0123456789abcdef", min_size=32, max_size=32),
    st.tuples(NUMBERS, NUMBERS),
    min_size=1,
    max_size=20,
)


def made(rows, keep):
    """Return the manifest of scores by uid."""
    table = pa.table(
        {
            "uid": pa.array(list(rows), pa.string()),
            "memorization": pa.array([m for m, _ in rows.values()], pa.float64()),
            "se": pa.array([None if s is None else abs(s) for _, s in rows.values()], pa.float64()),
        }
    )
    return Manifest.build(table, np.array(keep), strategy="top", parameters={"count": sum(keep)})


def test_manifests_come_back_and_no_changed_byte_passes(often, faults):
    @often
    @given(TABLES, st.data())
    def check(rows, data):
        keep = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.parquet"
            manifest = made(rows, keep)
            manifest.write(path)
            again = Manifest.read(path)
            assert again.table.equals(manifest.table) and again.table.schema == MANIFEST_SCHEMA
            assert again.facts == json.loads(json.dumps(manifest.facts))
            assert again.table["uid"].to_pylist() == sorted(rows)
            kept = {uid for uid, chosen in zip(rows, keep, strict=True) if chosen}
            assert set(again.kept()) == kept
            shutil.copytree(folder, f"{folder}/two")
            manifest.write(Path(folder) / "two" / "m.parquet")
            for name in ("m.parquet", "m.json"):
                assert (path.parent / name).read_bytes() == (
                    path.parent / "two" / name
                ).read_bytes()
            content = bytearray(path.read_bytes())
            place = data.draw(st.integers(0, len(content) - 1))
            content[place] ^= data.draw(st.integers(1, 255))
            path.write_bytes(content)
            with pytest.raises(DataError, match="does not match the sha256"):
                Manifest.read(path)
        faults.detected("damage")

    check()


def test_no_changed_byte_of_an_index_passes(often, faults, place):
    shards.write([(Given([*mixed(20)]), "train")], place / "s")
    path = place / "s" / "index.parquet"
    content = path.read_bytes()

    @often
    @given(st.integers(0, len(content) - 1), st.integers(1, 255))
    def check(at, flip):
        changed = bytearray(content)
        changed[at] ^= flip
        path.write_bytes(changed)
        with pytest.raises(DataError, match=r"index\.parquet"):
            list(Reader(place / "s").read([0]))
        path.write_bytes(content[:at])
        with pytest.raises(DataError, match=r"index\.parquet"):
            list(Reader(place / "s").read([0]))
        faults.detected("damage", 2)

    check()
