"""Layouts of data sets, read by datasets and by curate: the same splits, classes and counts."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

datasets = pytest.importorskip("datasets")

from curate.data import splits  # noqa: E402
from curate.data.sources import open_source  # noqa: E402
from tests.rendered import mixed  # noqa: E402

IMAGES = [data for _, data in mixed(8)]
BOTH = ("train", "test")


def parquet(*names):
    return {f"{name}.parquet": None for name in names}


def images(*folders):
    return {f"{folder}/{i}.jpg": None for folder in folders for i in range(2)}


LAYOUTS = {
    "one parquet": parquet("train"),
    "two parquets": parquet("train", "test"),
    "three": parquet("train", "validation", "test"),
    "numbered": parquet("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"),
    "in data": parquet("data/train-00000-of-00001", "data/test-00000-of-00001"),
    "hub convert": parquet("default/train/0000", "default/test/0000"),
    "hub convert, parts": parquet("default/train/0000", "default/train/0001", "default/test/0000"),
    "a configuration": parquet("plain_text/train-00000-of-00001", "plain_text/test-00000-of-00001"),
    "words in names": parquet("cifar10-train", "cifar10-test"),
    "words with underscores": parquet("my_train_file", "my_test_file"),
    "words at the end": parquet("birds.train", "birds.test"),
    "val": parquet("train", "val"),
    "dev": parquet("train", "dev"),
    "valid": parquet("train", "valid"),
    "training": parquet("training", "testing"),
    "eval": parquet("train", "eval"),
    "folders": parquet("train/0", "train/1", "test/0"),
    "folders with a year": parquet("train2017/0", "val2017/0"),
    "folders, decorated": parquet("birds-train/0", "birds-test/0"),
    "no word": parquet("a", "b"),
    "no word in folders": parquet("x/a", "y/a"),
    "image folders": images("train/cat", "train/dog", "test/cat", "test/dog"),
    "image folders, val": images("train/cat", "train/dog", "val/cat", "val/dog"),
    "image folders, three": images("train/a", "validation/a", "test/a", "train/b", "test/b"),
    "image folders, years": images("train2017/cat", "val2017/cat", "train2017/dog", "val2017/dog"),
    "image folders, training": images("training/cat", "testing/cat", "training/dog", "testing/dog"),
    "image folders, stray image": images("train/cat", "test/cat", "train/d", "test/d")
    | {"logo.jpg": None},
    "image folders, stray folder": images("train/cat", "test/cat", "train/d", "test/d", "docs"),
    "image folders, below": images("photos/train/cat", "photos/test/cat", "photos/train/d"),
    "classes alone": images("cat", "dog", "eel"),
    "names of files": {f"{s}_{i}.jpg": None for s in BOTH for i in range(3)},
    "metadata": {
        "a.jpg": None,
        "b.jpg": None,
        "metadata.csv": "file_name,label\na.jpg,1\nb.jpg,0\n",
    },
    "metadata in splits": {
        **{f"{s}/{i}.jpg": None for s in BOTH for i in range(2)},
        **{f"{s}/metadata.csv": "file_name,label\n0.jpg,1\n1.jpg,0\n" for s in BOTH},
    },
}
assert len(LAYOUTS) >= 30
UNLIKE = {
    "test and others": (
        parquet("test", "a"),
        {"test": 2},
        {"train": 2, "test": 2},
        "files without a word are for training beside those for tests; datasets drops them",
    ),
    "a class called train": (
        images("train", "tram", "tank"),
        {"train": 2},
        {"train": 6},
        "classes; datasets takes the one folder and drops the others",
    ),
}
"""What is read otherwise, and why: files, what datasets finds, what we find."""


def lay(root, files):
    for i, (name, content) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_text(content)
        elif name.endswith(".parquet"):
            image = pa.array([{"bytes": d, "path": None} for d in IMAGES[:2]])
            pq.write_table(pa.table({"image": image, "label": [0, 1]}), path)
        else:
            path.write_bytes(IMAGES[i % 8])


def theirs(root, cache):
    parquet_files = any(root.rglob("*.parquet"))
    name = {"path": str(root)} if parquet_files else {"path": "imagefolder", "data_dir": str(root)}
    found = datasets.load_dataset(**name, cache_dir=str(cache))
    kinds = {split: splits.WORDS[split] for split in found}
    counts = {kinds[split]: len(part) for split, part in found.items()}
    label = next(iter(found.values())).features.get("label")
    return counts, tuple(getattr(label, "names", None) or ())


def ours(root):
    kind = "hf" if any(root.rglob("*.parquet")) else "folder"
    first = open_source(f"{kind}:{root}")
    sources = [open_source(f"{kind}:{root}", split=split) for split in first.splits]
    counts = {splits.WORDS[s.split]: len(list(s.entries())) for s in sources}
    return counts, first.classes


@pytest.mark.parametrize("name", LAYOUTS)
def test_datasets_and_curate_agree(tmp_path, name):
    lay(tmp_path / "in", LAYOUTS[name])
    counts, classes = ours(tmp_path / "in")
    their_counts, their_classes = theirs(tmp_path / "in", tmp_path / "cache")
    assert counts == their_counts
    if "stray" not in name and "names of files" not in name:
        assert classes == their_classes


@pytest.mark.parametrize("name", UNLIKE)
def test_where_they_differ_nothing_is_dropped(tmp_path, name):
    files, their_counts, our_counts, _why = UNLIKE[name]
    lay(tmp_path / "in", files)
    assert ours(tmp_path / "in")[0] == our_counts
    assert theirs(tmp_path / "in", tmp_path / "cache")[0] == their_counts
