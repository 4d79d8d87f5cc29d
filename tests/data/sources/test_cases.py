"""What users' data did to us once, and its siblings: nothing is lost or mixed, all is told."""

import hashlib
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.data import account, shards
from curate.data.sources import open_source, open_tests
from curate.errors import DataError, UsageError
from curate.runtime.files import read_json, sealed, write_json
from tests.command import curate
from tests.rendered import mixed

IMAGES = [data for _, data in mixed(40)]


def lay(root, files):
    """Write files below ``root``: bytes, text, or None for the next image."""
    images = iter(IMAGES * 9)
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        data = next(images) if content is None else content
        (root / path).write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def table(path, n=6, start=0, **columns):
    """Write a parquet file of images and other columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = pa.array(IMAGES[start : start + n], pa.binary())
    pq.write_table(pa.table({"image": images, **columns}), path)


def pack(path, pieces):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in pieces:
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def sharded(source, out, **options):
    """Write shards of a split; returns what dataset.json says, after checking the account."""
    max_bad = options.pop("max_bad", 1.0)
    opened = open_source(source, **options)
    facts = shards.write([(opened, "train")], out, max_bad=max_bad)
    found = facts["account"]["train"]
    assert found["in"] == found["written"] + found["rejected"] + found["left_out"]
    listed = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert len([row for row in listed if row.get("left_out")]) == found["left_out"]
    assert len([row for row in listed if not row.get("left_out")]) == found["rejected"]
    assert all(len(line) < 400 for line in account.lines(facts))
    return facts


def count(source, split):
    return len(list(open_source(source, split=split).entries()))


# Splits (cases 001 and 003)

SPLIT_FILES = [
    ("default/train/0000", "default/test/0000"),
    ("cifar10-train", "cifar10-test"),
    ("train-00000-of-00001", "test-00000-of-00001"),
    ("data/train-00000-of-00001", "data/test-00000-of-00001"),
    ("split=train/0", "split=test/0"),
    ("plain_text/train/0000", "plain_text/test/0000"),
    ("train", "test"),
    ("mnist_train_part1", "mnist_test_part1"),
]


@pytest.mark.parametrize(("train", "test"), SPLIT_FILES)
def test_splits_of_parquet_files_and_tars_are_told_by_names(tmp_path, train, test):
    table(tmp_path / "p" / f"{train}.parquet", 6, label=[0] * 6)
    table(tmp_path / "p" / f"{test}.parquet", 4, 6, label=[0] * 4)
    for name, images in ((train, IMAGES[:6]), (test, IMAGES[6:10])):
        pack(tmp_path / "t" / f"{name}.tar", [(f"{i}.jpg", d) for i, d in enumerate(images)])
    for source in (f"hf:{tmp_path / 'p'}", f"wds:{tmp_path / 't'}"):
        assert open_source(source, split="train").splits == ("train", "test")
        assert (count(source, "train"), count(source, "test")) == (6, 4)
        assert count(source, "all") == 10
        assert count(source, "*test*") == 4


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("en/train/0", "fr/train/0"), "holds several data sets"),
        (("x-train-test",), "says train and test"),
        (("train/test/0",), "lies in train and in test"),
        (("train-0", "more"), "some names say that they are for training"),
    ],
)
def test_files_that_can_be_read_in_two_ways_are_refused(tmp_path, files, message):
    for name in files:
        table(tmp_path / f"{name}.parquet", 2)
    with pytest.raises(UsageError, match=message) as caught:
        open_source(f"hf:{tmp_path}")
    assert "split='" in str(caught.value)
    assert count(f"hf:{tmp_path}", "all") == 2 * len(files)


FOLDERS = {
    "stray folder": (["docs/figure.jpg"], "train", "test"),
    "stray image": (["logo.jpg"], "train", "test"),
    "years": ([], "train2017", "val2017"),
    "capitals": ([], "Train", "Test"),
    "decorated": ([], "images_train", "images_val"),
    "the same besides": ([], "birds-train", "birds-test"),
    "a folder above": ([], "photos/train", "photos/test"),
    "two folders above": ([], "ILSVRC/Data/train", "ILSVRC/Data/val"),
    "the long words": ([], "training", "testing"),
    "labels beside": (["labels/readme.txt"], "images/train", "images/val"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_split_folders_are_told_whatever_lies_beside(tmp_path, name):
    strays, train, test = FOLDERS[name]
    files = [f"{s}/{c}/{i}.jpg" for s in (train, test) for c in ("cat", "dog") for i in range(3)]
    lay(tmp_path / "in", dict.fromkeys([*files, *strays]))
    source = f"folder:{tmp_path / 'in'}"
    facts = sharded(source, tmp_path / "out")
    assert facts["classes"] == ["cat", "dog"] and facts["written"] == 6
    images = [stray for stray in strays if stray.endswith(".jpg")]
    assert facts["account"]["train"]["left_out_for"].get("in no split", 0) == len(images)
    told = " ".join(account.lines(facts))
    assert all(stray.split("/")[0] in told for stray in images)
    other = open_source(source).splits[1]
    assert count(source, other) == 6


@pytest.mark.parametrize(
    "files",
    [
        ["train/cat/1.jpg", "docs/2.jpg"],
        ["cat/train/1.jpg", "cat/test/2.jpg", "dog/train/3.jpg", "dog/test/4.jpg"],
        ["train/cat/1.jpg", "2.jpg"],
        ["test/cat/1.jpg", "other/2.jpg"],
    ],
)
def test_folders_that_can_be_read_in_two_ways_are_refused(tmp_path, files):
    lay(tmp_path, dict.fromkeys(files))
    with pytest.raises(UsageError, match=r"split=.* split='all' .*test="):
        open_source(f"folder:{tmp_path}")
    assert count(f"folder:{tmp_path}", "all") == len(files)
    part = open_source(f"folder:{tmp_path}", split="*train/*")
    assert all("train/" in entry.path for entry in part.entries())


def test_names_of_files_tell_splits_where_all_do(tmp_path):
    lay(tmp_path, dict.fromkeys(["train_1.jpg", "train_2.jpg", "test_1.jpg"]))
    assert count(f"folder:{tmp_path}", "train") == 2 and count(f"folder:{tmp_path}", "test") == 1
    lay(tmp_path, {"logo.jpg": None})
    assert count(f"folder:{tmp_path}", "train") == 4


def test_a_class_called_train_is_a_class_among_others(tmp_path):
    lay(tmp_path, dict.fromkeys(["train/1.jpg", "tram/2.jpg", "tank/3.jpg", "test tube/4.jpg"]))
    assert open_source(f"folder:{tmp_path}").classes == ("tank", "test tube", "train", "tram")


def test_tests_may_be_a_pattern_a_folder_or_another_source(tmp_path):
    lay(tmp_path / "a", dict.fromkeys(["cat/1.jpg", "dog/2.jpg", "eel/3.jpg"]))
    lay(tmp_path / "b", dict.fromkeys(["dog/4.jpg"]))
    lay(tmp_path / "c", dict.fromkeys(["yak/4.jpg"]))
    source = open_source(str(tmp_path / "a"))
    for wanted in (str(tmp_path / "b"), f"folder:{tmp_path / 'b'}"):
        tests = open_tests(wanted, source, reopen=lambda split: None)
        assert [entry.label for entry in tests.entries()] == [1]
    with pytest.raises(DataError, match=r"has classes that .* has not: yak"):
        open_tests(str(tmp_path / "c"), source, reopen=lambda split: None)
    result = curate("shard", tmp_path / "a", "--test", tmp_path / "b", "--out", tmp_path / "out")
    assert result.code == 0 and "test (train)" in result.err, result.err


# Labels and columns (cases 002, 005, 013, 014)

NAMES = ["cat"] * 6 + ["dog"] * 6
LABELS = {
    "large_string": (pa.array(NAMES, pa.large_string()), ["cat", "dog"]),
    "string_view": (pa.array(NAMES, pa.string_view()), ["cat", "dog"]),
    "dictionary": (pa.array(NAMES).dictionary_encode(), ["cat", "dog"]),
    "dictionary of large": (
        pa.array(NAMES, pa.large_string()).dictionary_encode(),
        ["cat", "dog"],
    ),
    "float": (pa.array([0.0] * 6 + [1.0] * 6), []),
    "half": (pa.array([0.0] * 6 + [1.0] * 6, pa.float32()), []),
    "bool": (pa.array([True] * 6 + [False] * 6), ["false", "true"]),
    "list of one": (pa.array([[n] for n in NAMES]), ["cat", "dog"]),
    "list of one number": (pa.array([[0]] * 6 + [[1]] * 6, pa.large_list(pa.int8())), []),
    "int8": (pa.array([0] * 6 + [1] * 6, pa.int8()), []),
    "uint64": (pa.array([0] * 6 + [1] * 6, pa.uint64()), []),
}


@pytest.mark.parametrize("kind", LABELS)
def test_every_type_that_is_a_label_in_meaning_is_one(tmp_path, kind):
    column, classes = LABELS[kind]
    table(tmp_path / "in" / "train.parquet", 12, label=column)
    facts = sharded(f"hf:{tmp_path / 'in'}", tmp_path / "out")
    labels = shards.Reader(tmp_path / "out").index()["label"].to_pylist()
    assert facts["classes"] == classes and sorted(labels) == [0] * 6 + [1] * 6
    lay(tmp_path / "meta", {f"{i}.jpg": None for i in range(12)})
    rows = pa.table({"file_name": [f"{i}.jpg" for i in range(12)], "label": column})
    pq.write_table(rows, tmp_path / "meta" / "metadata.parquet")
    source = open_source(f"folder:{tmp_path / 'meta'}")
    assert sorted(e.label for e in source.entries()) == sorted(labels)
    assert list(source.classes) == classes


@pytest.mark.parametrize(
    "column", [[1.5, 2.0], [[1, 2], [3, 4]], [{"a": 1}, {"a": 2}], [b"\xff\xfe", b"\xff"]]
)
def test_a_label_column_that_is_none_is_told_and_can_be_left(tmp_path, column):
    table(tmp_path / "train.parquet", 2, label=column)
    with pytest.raises(DataError, match="label"):
        open_source(f"hf:{tmp_path}")
    source = open_source(f"hf:{tmp_path}", label="none")
    assert [entry.label for entry in source.entries()] == [None, None]


def test_folders_of_hive_are_labels(tmp_path):
    for name in ("cat", "dog", "guinea%20pig"):
        table(tmp_path / f"label={name}" / "0.parquet", 2)
    source = open_source(f"hf:{tmp_path}")
    assert source.classes == ("cat", "dog", "guinea pig")
    assert [entry.label for entry in source.entries()] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("name", ["category", "target", "y", "species", "labels", "class"])
def test_labels_of_other_names_are_found_and_said(tmp_path, name):
    table(tmp_path / "train.parquet", 2, **{name: ["a", "b"]})
    assert open_source(f"hf:{tmp_path}").classes == ("a", "b")
    table(tmp_path / "train.parquet", 2, odd=["a", "b"], label=[7, 8])
    assert open_source(f"hf:{tmp_path}", label="odd").classes == ("a", "b")
    with pytest.raises(UsageError, match=r"label: unknown column .*'oddd'. Did you mean 'odd'"):
        open_source(f"hf:{tmp_path}", label="oddd")


def test_of_several_columns_that_can_be_labels_one_must_be_named(tmp_path):
    table(tmp_path / "p" / "train.parquet", 2, species=["a", "b"], target=[3, 4])
    lay(tmp_path / "m", {"0.jpg": None, "1.jpg": None})
    lay(tmp_path / "m", {"metadata.csv": "file_name,target,species\n0.jpg,03,a\n1.jpg,04,b\n"})
    for source in (f"hf:{tmp_path / 'p'}", f"folder:{tmp_path / 'm'}"):
        said = "2 columns that can be labels, target, species; say which: label='target' .*'none'"
        with pytest.raises(UsageError, match=said):
            open_source(source)
        assert open_source(source, label="species").classes == ("a", "b")
        assert open_source(source, label="none").classes == ()
    assert open_source(f"folder:{tmp_path / 'm'}", label="target").classes == ("03", "04")
    table(tmp_path / "p" / "train.parquet", 2, species=["a", "b"], Label=["x", "y"])
    assert open_source(f"hf:{tmp_path / 'p'}").classes == ("x", "y")


@pytest.mark.parametrize("values", [[0.5, 1.5], [[1.0, 2.0], [3.0, 4.0]], [{"a": 1}, {"a": 2}]])
def test_a_column_that_may_be_labels_and_is_not_is_said_to_be_left(tmp_path, values):
    table(tmp_path / "p" / "train.parquet", 2, y=values, species=["a", "b"])
    assert open_source(f"hf:{tmp_path / 'p'}").classes == ("a", "b")
    table(tmp_path / "p" / "train.parquet", 2, y=values, caption=["a", "b"])
    told = open_source(f"hf:{tmp_path / 'p'}").chosen["labels"]
    assert told.startswith("none; data.label takes one of ") and "caption" in told
    rows = [{"file_name": f"{i}.jpg", "y": y, "note": "a"} for i, y in enumerate(values)]
    lines = "\n".join(map(json.dumps, rows))
    lay(tmp_path / "m", {"0.jpg": None, "1.jpg": None, "metadata.jsonl": lines})
    told = open_source(f"folder:{tmp_path / 'm'}").chosen["labels"]
    assert told == "none; data.label takes one of y, note"


def test_a_named_column_of_a_csv_is_taken_as_it_stands(tmp_path):
    lay(tmp_path, {"0.jpg": None, "1.jpg": None})
    lay(tmp_path, {"metadata.csv": "name,Label,code\n0.jpg,007,0x1F\n1.jpg,008,0x20\n"})
    with pytest.raises(DataError, match="without file_name"):
        open_source(str(tmp_path))
    assert open_source(str(tmp_path), image="name").classes == ("007", "008")
    assert open_source(str(tmp_path), image="name", label="code").classes == ("0x1F", "0x20")


def test_the_column_called_image_is_taken_and_others_are_named(tmp_path):
    for name, front in (("a", "annotation"), ("b", "depth"), ("c", "mask")):
        rows = {front: [{"bytes": d, "path": None} for d in IMAGES[:2]], "image": IMAGES[2:4]}
        (tmp_path / name).mkdir()
        pq.write_table(pa.table(rows), tmp_path / name / "train.parquet")
        source = open_source(f"hf:{tmp_path / name}")
        assert [entry.data for entry in source.entries()] == IMAGES[2:4]
        assert source.chosen["images"] == f"column image; also there: {front}"
        other = open_source(f"hf:{tmp_path / name}", image=front)
        assert [entry.data for entry in other.entries()] == IMAGES[:2]
    rows = {n: [{"bytes": d, "path": None} for d in IMAGES[:2]] for n in ("left", "right")}
    (tmp_path / "d").mkdir()
    pq.write_table(pa.table(rows), tmp_path / "d" / "train.parquet")
    with pytest.raises(
        UsageError, match="images in 2 columns, left, right; say which: image='left'"
    ):
        open_source(f"hf:{tmp_path / 'd'}")


@pytest.mark.parametrize(
    "said",
    [
        b'{"info": {"features": {"image": {"_type": "Image"}, "w": {"_type": "NewerThing"}}}}',
        b'{"info": {"features": {"image": {"_type": "Image"}, "w": 7}}}',
        b'{"info": [1]}', b"{not json", b"\xff\xfe", b"[" * 5000, b'{"info": {"features": null}}',
    ],
)  # fmt: skip
def test_what_others_wrote_of_columns_stops_nobody(tmp_path, said):
    rows = pa.table({"image": IMAGES[:3], "label": [0, 1, 0], "w": [[1]] * 3})
    pq.write_table(rows.replace_schema_metadata({b"huggingface": said}), tmp_path / "train.parquet")
    assert [entry.label for entry in open_source(f"hf:{tmp_path}").entries()] == [0, 1, 0]


@pytest.mark.parametrize(
    "other",
    [
        {"label": pa.array([0] * 3, pa.int32())},
        {"label": pa.array([0.0] * 3)},
        {"label": pa.array([None] * 3)},
        {"label": pa.array([0] * 3), "note": pa.array([None] * 3)},
        {"note": pa.array(["x"] * 3), "label": pa.array([0] * 3)},
    ],
)
def test_files_that_differ_in_what_does_not_matter_are_one(tmp_path, other):
    table(tmp_path / "train-0.parquet", 3, label=[0] * 3)
    table(tmp_path / "train-1.parquet", 3, 3, **other)
    assert len(list(open_source(f"hf:{tmp_path}").entries())) == 6
    table(tmp_path / "train-2.parquet", 3, 6, label=["a"] * 3)
    with pytest.raises(DataError, match=r"'label' is of type string in .*train-2.*, and int"):
        open_source(f"hf:{tmp_path}")


def test_half_a_character_in_a_class_is_spelled_out(tmp_path):
    lines = ['{"file_name": "a.jpg", "label": "\\ud83d"}', '{"file_name": "b.jpg", "label": "x"}']
    lay(tmp_path, {"a.jpg": None, "b.jpg": None, "metadata.jsonl": "\n".join(lines)})
    assert open_source(str(tmp_path)).classes == ("\\ud83d", "x")
    pack(tmp_path / "t" / "a.tar", [("1.jpg", IMAGES[0]), ("1.json", '{"label": "\\udc00"}')])
    assert open_source(f"wds:{tmp_path / 't'}").classes == ("\\udc00",)


# Rows and files (cases 004, 007, 016)


def test_every_row_of_metadata_is_written_or_rejected(tmp_path):
    names = ("a.jpg", ".b.jpg", "sub/c.jpg", ".hid/d.jpg", "e.jpg", "f.jpg")
    rows = [*names, "sub", "gone.jpg"]
    text = "file_name,label\n" + "".join(f"{name},cat\n" for name in rows)
    lay(tmp_path / "in", {**dict.fromkeys(names), "metadata.csv": text})
    facts = sharded(f"folder:{tmp_path / 'in'}", tmp_path / "out")
    assert facts["written"] == 4
    assert facts["account"]["train"]["rejected_for"] == {
        "listed in the metadata file, but a folder": 1,
        "listed in the metadata file, but hidden": 2,
        "listed in the metadata file, but missing": 1,
    }


@pytest.mark.parametrize("where", ["", "docs/"])
def test_rows_in_no_split_are_rejected(tmp_path, where):
    text = "file_name,label\n" + "".join(f"{where}{i}.jpg,cat\n" for i in range(6))
    files = dict.fromkeys([*(f"train/images/{i}.jpg" for i in range(6)), "test/images/0.jpg"])
    lay(tmp_path / "in", {**files, "metadata.csv": text})
    facts = sharded(f"folder:{tmp_path / 'in'}", tmp_path / "out")
    assert facts["account"]["train"]["rejected_for"] == {"listed, but in no split": 6}
    assert curate("shard", tmp_path / "in", "--out", tmp_path / "two").code == 3


def test_images_that_no_row_lists_are_counted(tmp_path):
    lay(
        tmp_path / "in",
        {"a.jpg": None, "b.jpg": None, "metadata.csv": "file_name,label\na.jpg,x\n"},
    )
    facts = sharded(str(tmp_path / "in"), tmp_path / "out")
    assert facts["account"]["train"]["unlabelled"] == 1
    assert "  unlabelled 1" in account.lines(facts)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_metadata_in_class_folders_counts_for_them(tmp_path, kind):
    for folder in "xy":
        rows = [{"file_name": f"{i}.jpg", "label": ("bad", "good")[i]} for i in range(2)]
        text = "file_name,label\n0.jpg,bad\n1.jpg,good\n"
        if kind == "jsonl":
            text = "\n".join(map(json.dumps, rows))
        lay(tmp_path, {f"{folder}/{i}.jpg": None for i in range(2)})
        lay(tmp_path, {f"{folder}/metadata.{kind}": text})
    source = open_source(str(tmp_path))
    assert source.classes == ("bad", "good")
    assert [entry.label for entry in source.entries()] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "classes", "found"),
    [
        (["001", "002"], ("001", "002"), [0, 1]),
        (["0x1F", "0x20"], ("0x1F", "0x20"), [0, 1]),
        (["2020-01-02", "2021-01-02"], ("2020-01-02", "2021-01-02"), [0, 1]),
        (["true", "false"], ("false", "true"), [1, 0]),
        (["1.0", "2"], (), [1, 2]),
        (["7", ""], (), [7, None]),
    ],
)
def test_labels_of_a_csv_are_what_stands_there(tmp_path, labels, classes, found):
    text = "file_name,label\n" + "".join(f"{i}.jpg,{label}\n" for i, label in enumerate(labels))
    lay(tmp_path, {"0.jpg": None, "1.jpg": None, "metadata.csv": text})
    source = open_source(str(tmp_path))
    assert source.classes == classes and [e.label for e in source.entries()] == found


def test_a_csv_whose_captions_have_line_breaks_is_read_however_large(tmp_path):
    caption = "a cat\nsitting\n\n" + '""on""' + " mat," * 300
    rows = "".join(f'{i:04d}.jpg,cat,"{caption}"\n' for i in range(900))
    lay(tmp_path, {f"{i:04d}.jpg": None for i in range(3)})
    lay(tmp_path, {"metadata.csv": f"file_name,label,caption\n{rows}"})
    assert (tmp_path / "metadata.csv").stat().st_size > 2**20
    source = open_source(str(tmp_path))
    assert source.classes == ("cat",)
    assert next(source.entries()).metadata["caption"].startswith("a cat\nsitting\n\n")


# Tars (cases 006 and 011) and formats


@pytest.mark.parametrize("label", ["--5", "9" * 5000, "1e400", "-", "+3", ".5", "\u0665" * 30])
def test_an_odd_label_rejects_its_sample_alone(tmp_path, label):
    pieces = [(f"{i}.jpg", IMAGES[i]) for i in range(4)]
    pieces += [(f"{i}.cls", label if i == 3 else "1") for i in range(4)]
    pack(tmp_path / "a.tar", pieces)
    try:
        facts = sharded(f"wds:{tmp_path}", tmp_path / "out")
    except DataError as error:
        assert "mixes labels" in str(error)
    else:
        assert (facts["written"], facts["rejected"]) == (3, 1)


def test_refused_members_are_counted_in_the_bar_and_listed_once(tmp_path):
    pack(tmp_path / "in" / "a.tar", [(f"{i % 9}.jpg", IMAGES[i % 9]) for i in range(18)])
    told = []
    shards.write(
        [(open_source(f"wds:{tmp_path / 'in'}"), "train")], tmp_path / "out", max_bad=0.9,
        progress=lambda what, done, total: told.append((done, total)),
    )  # fmt: skip
    assert told == [(i, 18) for i in range(1, 19)]
    result = curate("shard", f"wds:{tmp_path / 'in'}", "--out", tmp_path / "o", "--max-bad", "0.9")
    assert len(result.err.splitlines()) < 10


@pytest.mark.parametrize("suffix", [".heic", ".jxl", ".jpg_large", ""])
def test_files_with_other_endings_are_counted(tmp_path, suffix):
    heads = {".heic": b"\0\0\0\x18ftypheic" + bytes(30), ".jxl": b"\xff\x0a" + bytes(30)}
    data = heads.get(suffix, IMAGES[0])
    lay(tmp_path / "in", {"a.jpg": None, f"b{suffix}": data})
    pack(tmp_path / "t" / "a.tar", [("a.jpg", IMAGES[0]), (f"b{suffix or '.odd'}", data)])
    for source in (f"folder:{tmp_path / 'in'}", f"wds:{tmp_path / 't'}"):
        out = tmp_path / source[:3]
        found = sharded(source, out)["account"]["train"]
        assert found["in"] == 2 and found["written"] == 1
        reason = next(iter({**found["rejected_for"], **found["left_out_for"]}))
        listed = json.loads((out / "rejected.jsonl").read_text())["reason"]
        assert ("curate[formats]" in listed) == (suffix in heads), reason


def test_braces_stand_for_tars(tmp_path):
    for i in range(3):
        pack(tmp_path / f"t-{i:03d}.tar", [("a.jpg", IMAGES[i])])
    for place in (
        "t-{000..002}.tar",
        "t-{000,001,002}.tar",
        "t-00{0..2}.tar",
        "{t,t}-00{0..2}.tar",
    ):
        assert len(list(open_source(f"wds:{tmp_path}/{place}").entries())) == 3
    with pytest.raises(UsageError, match=r"stands for .*t-003.tar, which is not there"):
        open_source(f"wds:{tmp_path}/t-{{000..003}}.tar")
    with pytest.raises(UsageError, match="too many"):
        open_source(f"wds:{tmp_path}/t-{{0..99999999}}.tar")


def test_a_folder_says_itself_what_it_is(tmp_path):
    table(tmp_path / "p" / "train.parquet", 3)
    pack(tmp_path / "t" / "a.tar", [("a.jpg", IMAGES[0])])
    for name, n in (("p", 3), ("t", 1), ("p/train.parquet", 3), ("t/a.tar", 1)):
        assert len(list(open_source(str(tmp_path / name)).entries())) == n
    for name, kind in (("p", "hf"), ("t", "wds")):
        with pytest.raises(UsageError, match=rf"holds no images; write {kind}:"):
            open_source(f"folder:{tmp_path / name}")
    lay(tmp_path / "p", {"figure.jpg": None})
    with pytest.raises(UsageError, match=r"say which is meant: .*folder:.* or .*hf:"):
        open_source(str(tmp_path / "p"))


# Security


def test_rows_read_no_file_outside(tmp_path):
    lay(tmp_path, {"secret.png": None, "in/own.png": None})
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "secret.png")
    named = [str(tmp_path / "secret.png"), "../secret.png", "link.png", "/etc/passwd", "a\0b",
             "own.png", "http://x/y.png", "gone.png"]  # fmt: skip
    rows = [{"bytes": None, "path": name} for name in named]
    pq.write_table(pa.table({"image": rows}), tmp_path / "in" / "train.parquet")
    source = open_source(f"hf:{tmp_path / 'in'}")
    assert len(list(source.entries())) == 1
    reasons = [reason for _, reason in source.rejected]
    assert sum("leads out of the folder" in reason for reason in reasons) == 5
    assert all(short in " ".join(reasons) for short in ("http://x/y.png", "gone.png"))
    wide = open_source(f"hf:{tmp_path / 'in'}", outside=True)
    assert len(list(wide.entries())) == 5  # /etc/passwd as bytes, which nobody decodes


@pytest.mark.parametrize("size", ["-5", "-512", "99999999999999999999"])
def test_a_size_that_pax_claims_is_refused(tmp_path, size):
    info = tarfile.TarInfo("a.jpg")
    info.pax_headers = {"size": size}
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO())
    with pytest.raises(DataError, match=r"a.tar"):
        open_source(f"wds:{tmp_path}")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_long_headers_are_refused_unread(tmp_path, kind):
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 2**21
    filling = b"11 a=bcdef\n" * (2**21 // 11 + 1)
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + filling[: 2**21])
    with pytest.raises(DataError, match="a header claims 2,097,152 bytes"):
        open_source(f"wds:{tmp_path}")


@pytest.mark.parametrize("column", ["key", "shard", "uid"])
@pytest.mark.parametrize("name", ["../../../x", "/etc/x", "a/b", ".hidden", "", "a\nb"])
def test_an_index_whose_names_lead_out_is_not_opened(tmp_path, column, name):
    shards.write(
        [(open_source(str(lay(tmp_path / "in", {"a.jpg": None}))), "train")], tmp_path / "s"
    )
    path = tmp_path / "s" / "index.parquet"
    rows = pq.read_table(path)
    at = rows.schema.get_field_index(column)
    pq.write_table(rows.set_column(at, column, pa.array([name])), path)
    # Whoever forges an index seals it as well.
    facts = read_json(tmp_path / "s" / "dataset.json")
    facts["index"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_json(tmp_path / "s" / "dataset.json", sealed(facts))
    with pytest.raises(DataError, match=f"has the {column} "):
        shards.Reader(tmp_path / "s").index()


@pytest.mark.parametrize(
    "value",
    ["{a: &a [x, x], b: [*a, *a]}", "[" * 3000, "9" * 5000, ".inf", "!!binary aGk=", "2001-01-01",
     "? [1]\n: 2", "\x00", "{1: 2}", "!!python/object:os.system x", "nan"],
)  # fmt: skip
def test_values_of_set_and_recipes_end_in_a_short_message(tmp_path, value):
    result = curate("train", "digits", "--dry-run", "--set", f"train.lr={value}")
    assert result.code == 2 and len(result.err) < 900, result.err
    (tmp_path / "r.yaml").write_text(
        f"name: r\ntrain: {{lr: {value}}}\n" if "\n" not in value else value
    )
    result = curate("train", tmp_path / "r.yaml", "--dry-run")
    assert result.code == 2 and len(result.err) < 900, result.err
