"""Data sets of Hugging Face: saved to disk, as parquet with and without their features, and hub."""

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

datasets = pytest.importorskip("datasets")

from curate.data import shards  # noqa: E402
from curate.data.sources import open_source  # noqa: E402
from curate.errors import DataError, UsageError  # noqa: E402
from tests.rendered import mixed  # noqa: E402

IMAGES = [data for _, data in mixed(30)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def table(n=30, *, names=("ant", "bee", "cow"), start=0, **columns):
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))}
    features |= {name: datasets.Value("string") for name in columns}
    rows = {
        "image": [{"bytes": data, "path": f"{i}.jpg"} for i, data in enumerate(IMAGES[start:][:n])],
        "label": [i % len(names) for i in range(n)],
        **columns,
    }
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


def test_a_saved_data_set_keeps_bytes_labels_and_extras(tmp_path):
    captions = [f"caption {i}" if i % 2 else None for i in range(30)]
    table(caption=captions).save_to_disk(tmp_path / "d")
    for name, data in ((f"hf:{tmp_path / 'd'}", None), ("hf", tmp_path / "d")):
        source = open_source(name, split="train", data=data)
        entries = list(source.entries())
        assert source.splits == ("train",) and source.classes == ("ant", "bee", "cow")
        assert [entry.data for entry in entries] == IMAGES
        assert [entry.label for entry in entries] == [i % 3 for i in range(30)]
        assert [e.metadata for e in entries] == [{"caption": c} if c else {} for c in captions]
        assert [entry.path for entry in entries] == list(source.paths())
        assert entries[7].path == "train/00000007"


def test_a_saved_dictionary_has_its_splits(tmp_path):
    both = datasets.DatasetDict(train=table(20), test=table(10, start=20))
    both.save_to_disk(tmp_path / "d")
    test = open_source(f"hf:{tmp_path / 'd'}", split="test")
    assert test.splits == ("train", "test")
    assert [entry.data for entry in test.entries()] == IMAGES[20:]
    with pytest.raises(UsageError, match="has no split 'val'; it has: train, test"):
        open_source(f"hf:{tmp_path / 'd'}", split="val")
    train = open_source(f"hf:{tmp_path / 'd'}", split="train")
    facts = shards.write([(train, "train"), (test, "test")], tmp_path / "out")
    assert facts["splits"]["train"]["written"] == 20 and facts["splits"]["test"]["written"] == 10
    assert facts["classes"] == ["ant", "bee", "cow"]


def test_a_part_of_a_saved_data_set_is_that_part(tmp_path):
    table().select([3, 1, 4, 15]).save_to_disk(tmp_path / "d")
    source = open_source(f"hf:{tmp_path / 'd'}", split="train")
    assert [entry.data for entry in source.entries()] == [IMAGES[i] for i in (3, 1, 4, 15)]
    assert len(list(source.paths())) == 4


def test_parquet_files_are_read_as_they_lie(tmp_path):
    (tmp_path / "data").mkdir()
    for k in range(3):
        table(10, start=10 * k).to_parquet(tmp_path / "data" / f"train-{k:05d}-of-00003.parquet")
    table(4).to_parquet(tmp_path / "data" / "validation-00000-of-00001.parquet")
    for place in (tmp_path, tmp_path / "data", tmp_path / "data" / "train-*.parquet"):
        source = open_source(f"hf:{place}", split="train")
        assert [entry.data for entry in source.entries()] == IMAGES
        assert source.classes == ("ant", "bee", "cow")
    source = open_source("hf", split="validation", data=tmp_path)
    assert source.splits == ("train", "validation")
    assert [entry.data for entry in source.entries()] == IMAGES[:4]
    one = tmp_path / "data" / "train-00001-of-00003.parquet"
    assert [e.data for e in open_source(f"hf:{one}", split="train").entries()] == IMAGES[10:20]
    assert not (tmp_path / "cache").exists()  # nothing was copied


def test_datasets_itself_reads_the_same(tmp_path):
    table().to_parquet(tmp_path / "train.parquet")
    theirs = datasets.Dataset.from_parquet(
        str(tmp_path / "train.parquet"), cache_dir=str(tmp_path / "cache")
    ).cast_column("image", datasets.Image(decode=False))
    ours = list(open_source(f"hf:{tmp_path / 'train.parquet'}", split="train").entries())
    assert [row["image"]["bytes"] for row in theirs] == [entry.data for entry in ours]
    assert theirs["label"][:] == [entry.label for entry in ours]


@pytest.mark.parametrize("kind", ["binary", "large_binary", "struct"])
def test_parquet_without_features_is_understood(tmp_path, kind):
    if kind == "struct":
        images = pa.array([{"bytes": data, "path": "x"} for data in IMAGES])
    else:
        images = pa.array(IMAGES, getattr(pa, kind)())
    labels = ["zebra", "ant", None] * 10
    numbers = pa.array([math.nan, 1.5, None] * 10)
    pq.write_table(
        pa.table({"id": range(30), "img": images, "label": labels, "x": numbers}),
        tmp_path / "a.parquet",
    )
    source = open_source(f"hf:{tmp_path / 'a.parquet'}", split="train")
    entries = list(source.entries())
    assert source.classes == ("ant", "zebra")
    assert [entry.data for entry in entries] == IMAGES
    assert [entry.label for entry in entries] == [1, 0, None] * 10
    assert entries[0].metadata == {"id": 0, "x": None}
    assert entries[1].metadata == {"id": 1, "x": 1.5}
    assert shards.write([(source, "train")], tmp_path / "out")["written"] == 30


def test_labels_may_be_missing_numbers_or_negative(tmp_path):
    pq.write_table(pa.table({"image": IMAGES[:3]}), tmp_path / "none.parquet")
    pq.write_table(
        pa.table({"image": IMAGES[:3], "fine_label": [7, -1, None]}), tmp_path / "some.parquet"
    )
    none = open_source(f"hf:{tmp_path / 'none.parquet'}", split="train")
    some = open_source(f"hf:{tmp_path / 'some.parquet'}", split="train")
    assert [entry.label for entry in none.entries()] == [None] * 3
    assert [entry.label for entry in some.entries()] == [7, None, None]
    assert none.classes == some.classes == ()


def test_rows_without_an_image_are_rejected(tmp_path):
    (tmp_path / "there.jpg").write_bytes(IMAGES[2])
    rows = [
        {"bytes": IMAGES[0], "path": None},
        {"bytes": None, "path": str(tmp_path / "gone.jpg")},
        {"bytes": None, "path": str(tmp_path / "there.jpg")},
        {"bytes": None, "path": None},
        None,
        {"bytes": None, "path": "https://example.com/a.jpg"},
    ]
    pq.write_table(pa.table({"image": rows}), tmp_path / "a.parquet")
    source = open_source(f"hf:{tmp_path / 'a.parquet'}", split="train")
    assert [entry.data for entry in source.entries()] == [IMAGES[0], IMAGES[2]]
    assert [path for path, _ in source.rejected] == [f"train/{i:08d}" for i in (1, 3, 4, 5)]
    assert len(list(source.paths())) == 6


def test_selected_rows_alone_are_yielded(tmp_path):
    table().save_to_disk(tmp_path / "d")
    source = open_source(f"hf:{tmp_path / 'd'}", split="train")
    chosen = {"train/00000003", "train/00000029"}
    assert [e.data for e in source.entries(chosen.__contains__)] == [IMAGES[3], IMAGES[29]]


def test_a_cut_parquet_file_is_detected(tmp_path):
    path = tmp_path / "a.parquet"
    table().to_parquet(path)
    data = path.read_bytes()
    for end in (0, 4, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(DataError, match=r"a.parquet"):
            list(open_source(f"hf:{path}", split="train").entries())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a"]}, "has no column of images; it has text"),
        ({"image": ["not bytes"]}, "has no column of images"),
    ],
)
def test_without_images_it_says_what_there_is(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=message):
        open_source(f"hf:{tmp_path / 'a.parquet'}", split="train")


def test_files_may_differ_in_columns_that_travel_along_and_not_in_others(tmp_path):
    pq.write_table(pa.table({"image": IMAGES[:1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"image": IMAGES[:1], "x": [1]}), tmp_path / "b.parquet")
    found = list(open_source(f"hf:{tmp_path}", split="train").entries())
    assert [entry.metadata for entry in found] == [{}, {"x": 1}]
    pq.write_table(pa.table({"image": IMAGES[:1], "label": [1]}), tmp_path / "c.parquet")
    with pytest.raises(DataError, match=r"a.parquet has no column 'label', and others have"):
        open_source(f"hf:{tmp_path}", split="train")


def test_a_folder_of_something_else_is_told(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="no data set saved by datasets, and no parquet"):
        open_source(f"hf:{tmp_path}", split="train")
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(DataError, match="cannot read"):
        open_source(f"hf:{tmp_path}", split="train")


def test_the_hub_is_asked_by_name(tmp_path, monkeypatch):
    table(9).to_parquet(tmp_path / "train.parquet")
    table(4).to_parquet(tmp_path / "test.parquet")
    files = {split: str(tmp_path / f"{split}.parquet") for split in ("train", "test")}
    asked = []

    def on_the_hub(name):
        asked.append(name)
        return real("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))

    real = datasets.load_dataset_builder
    monkeypatch.setattr(datasets, "load_dataset_builder", on_the_hub)
    source = open_source("hf:someone/birds", split="test")
    assert asked == ["someone/birds"]
    assert source.splits == ("train", "test") and source.classes == ("ant", "bee", "cow")
    assert [entry.data for entry in source.entries()] == IMAGES[:4]
    with pytest.raises(
        UsageError, match="hf:someone/birds has no split 'val'; it has: train, test"
    ):
        open_source("hf:someone/birds", split="val")


def test_a_hub_that_cannot_be_reached_says_what_to_do(monkeypatch):
    with pytest.raises(DataError, match=r"cannot load hf:someone/birds: .* path of a local copy"):
        open_source("hf:someone/birds", split="train")
