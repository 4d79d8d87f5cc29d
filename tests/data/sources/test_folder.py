"""Folders of images: classes, splits, metadata files, odd names and odd files."""

import json
import math
import os
from datetime import datetime

import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.data import shards
from curate.data.sources import open_source
from curate.errors import DataError, UsageError
from tests.rendered import encoded, mixed, picture

IMAGES = [data for _, data in mixed(12)]


def lay(root, files):
    """Write files below ``root``; values are bytes, text, or None for the next image."""
    images = iter(IMAGES * 10)
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        data = next(images) if content is None else content
        (root / path).write_bytes(data.encode() if isinstance(data, str) else data)


def opened(root, split="train"):
    return open_source(f"folder:{root}", split=split)


def labels(source):
    return {entry.path: entry.label for entry in source.entries()}


def test_class_folders_are_labels_whatever_lies_below(tmp_path):
    lay(tmp_path, dict.fromkeys(["cat/1.jpg", "cat/deep/er/2.png", "ant/3.JPEG", "cow/4.webp"]))
    source = opened(tmp_path)
    assert source.classes == ("ant", "cat", "cow") and source.splits == ("train",)
    assert list(source.paths()) == ["ant/3.JPEG", "cat/1.jpg", "cat/deep/er/2.png", "cow/4.webp"]
    assert list(labels(source).values()) == [0, 1, 1, 2]
    assert list(labels(source)) == list(source.paths())


def test_torchvision_gives_the_same_labels(tmp_path):
    datasets = pytest.importorskip("torchvision.datasets")
    lay(tmp_path, dict.fromkeys(["b/1.jpg", "b/x/2.png", "a/3.jpeg", "C/4.webp", "a b/5.bmp"]))
    theirs = datasets.ImageFolder(tmp_path)
    ours = labels(opened(tmp_path))
    assert {str(tmp_path / path): label for path, label in ours.items()} == dict(theirs.samples)
    assert list(opened(tmp_path).classes) == theirs.classes


def test_bytes_are_untouched(tmp_path):
    lay(tmp_path, {f"{i}.jpg": data for i, data in enumerate(IMAGES[:9])})
    assert [entry.data for entry in opened(tmp_path).entries()] == IMAGES[:9]


def test_a_flat_folder_has_no_labels(tmp_path):
    lay(tmp_path, dict.fromkeys(["b.jpg", "a.png", "c.TIFF"]))
    source = opened(tmp_path)
    assert source.classes == ()
    assert labels(source) == {"a.png": None, "b.jpg": None, "c.TIFF": None}


def test_images_beside_class_folders_have_no_label(tmp_path):
    lay(tmp_path, dict.fromkeys(["b.jpg", "cat/a.png"]))
    assert labels(opened(tmp_path)) == {"b.jpg": None, "cat/a.png": 0}


def test_other_files_are_no_images(tmp_path):
    lay(
        tmp_path,
        {"a.jpg": None, "README.txt": "x", "b.npy": "x", ".hidden.jpg": None, ".git/c.jpg": None,
         "cat/.d.png": None, "Thumbs.db": "x", "noextension": None},
    )  # fmt: skip
    source = opened(tmp_path)
    assert list(source.paths()) == ["a.jpg"]
    assert source.classes == ()  # a folder with hidden files alone is no class


def test_split_folders_are_splits_and_share_their_classes(tmp_path):
    lay(
        tmp_path,
        dict.fromkeys(["train/cat/1.jpg", "train/dog/2.jpg", "val/dog/3.jpg", "val/eel/4.jpg"])
        | {"README.md": "x"},
    )
    train, val = opened(tmp_path), opened(tmp_path, "val")
    assert train.splits == val.splits == ("train", "val")
    assert train.classes == val.classes == ("cat", "dog", "eel")
    assert labels(train) == {"train/cat/1.jpg": 0, "train/dog/2.jpg": 1}
    assert labels(val) == {"val/dog/3.jpg": 1, "val/eel/4.jpg": 2}
    with pytest.raises(UsageError, match="has no split 'test'; it has: train, val"):
        opened(tmp_path, "test")
    facts = shards.write([(train, "train"), (val, "test")], tmp_path / "out")
    assert facts["splits"] == {r: {"written": 2, "rejected": 0} for r in ("train", "test")}
    assert facts["classes"] == ["cat", "dog", "eel"]


def test_a_class_called_test_is_a_class_where_others_are_none(tmp_path):
    lay(tmp_path, dict.fromkeys(["test/1.jpg", "exam/2.jpg"]))
    assert opened(tmp_path).classes == ("exam", "test")


def test_split_folders_may_be_flat(tmp_path):
    lay(tmp_path, dict.fromkeys(["train/1.jpg", "test/2.jpg"]))
    assert labels(opened(tmp_path, "test")) == {"test/2.jpg": None}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_metadata_file_gives_labels_and_extras(tmp_path, kind):
    lay(tmp_path, dict.fromkeys(["b.jpg", "sub/a.png", "c.bin", "d.jpg"]))
    rows = [
        {"file_name": "c.bin", "label": "zebra", "caption": "in ink", "n": 3},
        {"file_name": "sub/a.png", "label": "ant", "caption": 'quoted, "so"', "n": 1},
        {"file_name": "./b.jpg", "label": "zebra", "caption": "ünï", "n": 2},
    ]
    frame = pandas.DataFrame(rows)
    if kind == "csv":
        frame.to_csv(tmp_path / "metadata.csv", index=False)
    elif kind == "parquet":
        frame.to_parquet(tmp_path / "metadata.parquet")
    else:
        lay(tmp_path, {"metadata.jsonl": "\n".join(json.dumps(row) for row in rows) + "\n\n"})
    source = opened(tmp_path)
    assert source.classes == ("ant", "zebra")
    found = {entry.path: (entry.label, entry.metadata) for entry in source.entries()}
    assert found == {
        "b.jpg": (1, {"caption": "ünï", "n": 2}),
        "c.bin": (1, {"caption": "in ink", "n": 3}),
        "d.jpg": (None, {}),
        "sub/a.png": (0, {"caption": 'quoted, "so"', "n": 1}),
    }


def test_hugging_face_reads_the_same_from_a_metadata_file(tmp_path):
    datasets = pytest.importorskip("datasets")
    lay(
        tmp_path / "d",
        {"a.png": None, "b.jpg": None, "metadata.csv": "file_name,label\na.png,4\nb.jpg,2\n"},
    )
    theirs = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "d"), split="train", cache_dir=str(tmp_path / "c")
    )
    assert sorted(theirs["label"]) == sorted(labels(opened(tmp_path / "d")).values()) == [2, 4]


def test_numbers_are_labels_and_empty_or_negative_ones_are_none(tmp_path):
    names = [f"{i}.jpg" for i in range(5)]
    lay(tmp_path, dict.fromkeys(names))
    pandas.DataFrame({"file_name": names, "label": [3, 0, -1, None, 7]}).to_parquet(
        tmp_path / "metadata.parquet"
    )
    assert list(labels(opened(tmp_path)).values()) == [3, 0, None, None, 7]
    assert opened(tmp_path).classes == ()


def test_metadata_without_labels_leaves_the_folders_their_say(tmp_path):
    lay(tmp_path, {"cat/a.jpg": None, "dog/b.jpg": None,
                   "metadata.csv": "file_name,who\ncat/a.jpg,me\ndog/odd.bin,you\n",
                   "dog/odd.bin": None})  # fmt: skip
    source = opened(tmp_path)
    found = {entry.path: (entry.label, entry.metadata) for entry in source.entries()}
    assert found == {
        "cat/a.jpg": (0, {"who": "me"}),
        "dog/b.jpg": (1, {}),
        "dog/odd.bin": (1, {"who": "you"}),
    }


def test_each_split_may_have_its_own_metadata(tmp_path):
    lay(tmp_path, {"train/a.jpg": None, "test/a.jpg": None,
                   "train/metadata.csv": "file_name,label\na.jpg,x\n",
                   "test/metadata.csv": "file_name,label\na.jpg,w\nb.jpg,x\n"})  # fmt: skip
    train, test = opened(tmp_path), opened(tmp_path, "test")
    assert train.classes == test.classes == ("w", "x")
    assert labels(train) == {"train/a.jpg": 1}
    assert labels(test) == {"test/a.jpg": 0}
    assert test.rejected == [("test/b.jpg", "listed in the metadata file, but missing")]
    assert train.rejected == []


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"metadata.csv": "name,label\na.jpg,1\n"}, "has a row without file_name"),
        ({"metadata.csv": "file_name\n../../etc/passwd\n"}, "leads out of the folder"),
        ({"metadata.csv": "file_name\n/etc/passwd\n"}, "leads out of the folder"),
        ({"metadata.csv": "file_name\na.jpg\n./a.jpg\n"}, "lists a.jpg, which is listed before"),
        (
            {"metadata.csv": "file_name,label\na.jpg,1.5\n"},
            "label 1.5 of 'a.jpg' is no",
        ),
        ({"metadata.csv": 'file_name,label\n"a.jpg\n'}, "cannot read .*metadata.csv|row"),
        ({"metadata.jsonl": '{"file_name": "a.jpg", "label": [1, 2]}'}, "no whole number or name"),
        ({"metadata.jsonl": '{"file_name": "a.jpg"'}, "cannot read .*metadata.jsonl"),
        ({"metadata.jsonl": "[1, 2]"}, "cannot read .*metadata.jsonl"),
        (
            {"metadata.jsonl": '{"file_name":"a.jpg","label":1}\n{"file_name":"b","label":"x"}'},
            "mixes labels that are numbers and names",
        ),
        ({"metadata.parquet": "PAR1 not"}, "cannot read .*metadata.parquet"),
        (
            {"metadata.csv": "file_name\na.jpg\n", "metadata.jsonl": ""},
            "has both metadata.csv and metadata.jsonl",
        ),
    ],
)
def test_broken_metadata_is_told(tmp_path, files, message):
    lay(tmp_path, {"a.jpg": None, **files})
    with pytest.raises(DataError, match=message):
        opened(tmp_path)


def test_metadata_that_json_cannot_hold_still_travels(tmp_path):
    lay(tmp_path, {"a.jpg": None})
    when = datetime(2020, 1, 2)
    row = {"file_name": "a.jpg", "nan": math.nan, "when": when, "gone": None, "many": [1, 2]}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "metadata.parquet")
    source = opened(tmp_path)
    (entry,) = source.entries()
    assert entry.metadata == {"nan": None, "when": "2020-01-02 00:00:00", "many": [1, 2]}
    assert shards.write([(source, "train")], tmp_path / "out")["written"] == 1


def test_text_renamed_is_rejected_and_counts_reconcile(tmp_path):
    lay(tmp_path, {f"cat/{i}.jpg": None for i in range(10)})
    lay(
        tmp_path, {"cat/notes.jpg": "I am a text\n" * 9, "dog/empty.png": "", "cat/readme.txt": "x"}
    )
    source = opened(tmp_path)
    facts = shards.write([(source, "train")], tmp_path / "out", max_bad=0.2)
    lines = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    found = {row["path"]: row["reason"] for row in rows if not row.get("left_out")}
    assert set(found) == {"cat/notes.jpg", "dog/empty.png"}
    assert {row["path"]: row["reason"] for row in rows if row.get("left_out")} == {
        "cat/readme.txt": "no image: ending .txt",
        "out/": "shards of curate",
    }
    assert facts["account"]["train"]["in"] == 14
    assert "not an image" in found["cat/notes.jpg"] and "empty" in found["dog/empty.png"]
    assert (facts["written"], facts["rejected"]) == (10, 2)
    assert len(list(source.paths())) == 12


def test_what_cannot_be_read_is_rejected_without_waiting(tmp_path):
    lay(tmp_path, {"good.jpg": None})
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    source = opened(tmp_path)
    assert [entry.path for entry in source.entries()] == ["good.jpg"]
    assert source.rejected == [
        ("broken.jpg", "a link to nowhere"),
        ("pipe.jpg", "not a plain file"),
        ("self.jpg", "a link to nowhere"),
    ]
    assert len(list(source.paths())) == 4


def test_a_file_over_the_limit_is_rejected_unread(tmp_path):
    with (tmp_path / "huge.jpg").open("wb") as stream:
        stream.truncate(2**28 + 1)
    source = opened(tmp_path)
    assert list(source.entries()) == []
    assert source.rejected == [
        ("huge.jpg", "268,435,457 bytes are more than the 268,435,456 allowed")
    ]


def test_links_are_followed_and_loops_are_not(tmp_path):
    lay(tmp_path, {"in/cat/a.jpg": None, "out/b.jpg": None, "out/c.jpg": None})
    (tmp_path / "in" / "cat" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "dog").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "cat" / "d.jpg").symlink_to(tmp_path / "out" / "b.jpg")
    source = open_source(f"folder:{tmp_path / 'in'}", outside=True)
    assert labels(source) == {
        "cat/a.jpg": 0, "cat/d.jpg": 0, "dog/b.jpg": 1, "dog/c.jpg": 1,
    }  # fmt: skip
    with pytest.raises(DataError, match=r"dog is a link to a folder outside of .*outside=True"):
        opened(tmp_path / "in")
    (tmp_path / "in" / "dog").unlink()
    within = opened(tmp_path / "in")
    assert labels(within) == {"cat/a.jpg": 0}
    assert [path for path, _ in within.rejected] == ["cat/d.jpg"]
    assert all("leads out of the folder (data.outside=true" in why for _, why in within.rejected)
    assert [path for path, _ in within.left_out] == ["cat/loop/"]


def test_a_folder_may_be_a_link_and_hold_links_to_places_inside(tmp_path):
    lay(tmp_path, dict.fromkeys(["real/cat/a.jpg", "real/cat/b.jpg", "real/.blobs/c.jpg"]))
    (tmp_path / "set").symlink_to(tmp_path / "real")
    (tmp_path / "set" / "dog").mkdir()
    (tmp_path / "set" / "dog" / "c.jpg").symlink_to("../.blobs/c.jpg")
    (tmp_path / "set" / "dog" / "d.jpg").symlink_to(tmp_path / "set" / "cat" / "b.jpg")
    (tmp_path / "set" / "eel").symlink_to("cat")
    want = {"cat/a.jpg": 0, "cat/b.jpg": 0, "dog/c.jpg": 1, "dog/d.jpg": 1,
            "eel/a.jpg": 2, "eel/b.jpg": 2}  # fmt: skip
    for place in (tmp_path / "set", tmp_path / "real", f"{tmp_path}/set/"):
        assert labels(opened(place)) == want
    (tmp_path / "above").symlink_to(tmp_path)
    assert labels(opened(tmp_path / "above" / "set")) == want


def test_odd_names_are_kept(tmp_path):
    names = [
        "a.b.c.jpg",
        "A.JPG",
        "a.jpg",
        "ü 漢字.png",
        "new\nline.jpg",
        'it\'s "so".jpg',
        "-.png",
    ]
    lay(tmp_path, dict.fromkeys(names))
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(IMAGES[0])
    source = opened(tmp_path)
    assert sorted(source.paths()) == sorted([*names, "caf\\xe9.jpg"])
    facts = shards.write([(source, "train")], tmp_path / "out")
    assert facts["written"] == 8
    assert sorted(shards.Reader(tmp_path / "out").index()["path"].to_pylist()) == sorted(
        source.paths()
    )


def test_order_on_disk_does_not_matter(tmp_path):
    files = {f"{c}/{i}.jpg": None for c in "xyz" for i in range(20)}
    lay(tmp_path / "a", files)
    data = {path: (tmp_path / "a" / path).read_bytes() for path in files}
    lay(tmp_path / "b", dict(reversed(data.items())))
    for name in "ab":
        shards.write([(opened(tmp_path / name), "train")], tmp_path / f"{name}-out", limit=30)
    for file in (tmp_path / "a-out").iterdir():
        assert file.read_bytes() == (tmp_path / "b-out" / file.name).read_bytes()


def test_an_empty_folder_is_an_error_that_says_so(tmp_path):
    (tmp_path / "d" / "sub").mkdir(parents=True)
    with pytest.raises(DataError, match="no images found"):
        shards.write([(opened(tmp_path / "d"), "train")], tmp_path / "out")


def test_selected_paths_alone_are_read(tmp_path):
    lay(tmp_path, dict.fromkeys(f"{i}.jpg" for i in range(10)))
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    source = opened(tmp_path)
    assert [entry.path for entry in source.entries({"3.jpg", "7.jpg"}.__contains__)] == [
        "3.jpg", "7.jpg",
    ]  # fmt: skip
    assert source.rejected == []


def test_every_known_extension_is_an_image(tmp_path):
    data = encoded(picture(1, 9, 9), "PNG")
    names = [f"x.{e}" for e in ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm")]
    lay(tmp_path, dict.fromkeys(names, data))
    assert shards.write([(opened(tmp_path), "train")], tmp_path / "out")["written"] == len(names)


@pytest.mark.parametrize("said", [{"label": "x"}, {"image": "x"}])
def test_a_column_of_a_folder_without_metadata_is_refused(tmp_path, said):
    lay(tmp_path, {"cat/a.jpg": None})
    with pytest.raises(UsageError, match=r"='x': .* has no metadata file with columns"):
        open_source(f"folder:{tmp_path}", **said)
    assert open_source(f"folder:{tmp_path}", label="none").classes == ()
