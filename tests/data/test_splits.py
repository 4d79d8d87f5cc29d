"""Names of folders and files say which split they are; what can be read in two ways is refused."""

import pytest

from curate.data import splits
from curate.errors import UsageError


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("Train", "train"), ("train2017", "train"), ("val_2014", "val"),
        ("birds-test", "test"), ("test-00000-of-00001.parquet", "test"), ("training", "training"),
        ("split=dev", "dev"), ("split=my%20own", "my own"), ("label=test", None), ("contest", None),
        ("trainer", None), ("latest", None), ("x-train-test", None), ("train-on-test", "train"),
        ("0000.parquet", None), ("", None), ("unlabeled", "unlabeled"), ("EVAL.tar", "eval"),
    ],
)  # fmt: skip
def test_a_name_says_its_split(name, split):
    assert splits.split_of(name) == split


FILES = {
    "a": {"train": ("a",)},
    "train-0 train-1 test-0": {"train": ("train-0", "train-1"), "test": ("test-0",)},
    "d/train/0 d/test/0": {"train": ("d/train/0",), "test": ("d/test/0",)},
    "val-0 x": {"train": ("x",), "val": ("val-0",)},
    "split=a/0 split=b/0": {"a": ("split=a/0",), "b": ("split=b/0",)},
    "train/label=x/0 test/label=y/0": {
        "train": ("train/label=x/0",),
        "test": ("test/label=y/0",),
    },
}


@pytest.mark.parametrize("names", FILES)
def test_files_are_split_by_their_names(names):
    assert dict(splits.of_files(names.split(), "t").of) == FILES[names]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("train-0 x", "some names say that they are for training, and x do not"),
        ("a/train/test/0", "lies in train and in test"),
        ("my-train-and-test", "says train and test"),
        ("en/train/0 fr/train/0 en/test/0", r"several data sets \(configurations\): en, fr"),
    ],
)
def test_files_that_can_be_read_in_two_ways_are_refused(names, said):
    with pytest.raises(UsageError, match=said) as caught:
        splits.of_files(names.split(), "t")
    assert "split='all'" in str(caught.value)


FOLDERS = {
    ("cat dog", "", ""): None,
    ("train test", "", ""): ("train", "test"),
    ("train test docs", "", "train test"): ("train", "test"),
    ("train test", "logo.jpg", ""): ("train", "test"),
    ("train2014 train2017 val2017", "", ""): ("val", "train2014", "train2017"),
    ("train tram tank", "", ""): None,
    ("birds-train birds-val", "", ""): ("train", "val"),
    ("images_train images_test", "", ""): ("train", "test"),
}


@pytest.mark.parametrize("given", FOLDERS)
def test_folders_are_splits_or_classes(given):
    names, loose, nested = (text.split() for text in given)
    found = splits.of_folders(names, "t", loose=loose, nested=nested)
    want = FOLDERS[given]
    assert (found and sorted(found.of)) == (want and sorted(want))


def test_a_class_whose_name_has_a_word_of_a_split_is_a_class():
    assert splits.of_folders(["test tube", "train set"], "t", loose=[], nested=[]) is None


@pytest.mark.parametrize(
    ("names", "loose", "nested"),
    [
        ("train docs", "", "train"), ("train", "x.jpg", ""), ("test other", "", "test"),
        ("train test a b c", "", ""),
    ],
)  # fmt: skip
def test_folders_that_can_be_both_are_refused(names, loose, nested):
    with pytest.raises(UsageError, match=r"can be a split, but .* split='t\w+/\*' .*test="):
        splits.of_folders(names.split(), "t", loose=loose.split(), nested=nested.split())


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("train/*", "train/a/b.jpg", True), ("train/", "train/a.jpg", True), ("*a*", "b/c", False),
        ("cat/tr*", "cat/tram/1", True), ("[ab]/*", "c/1", False), ("train2017/*", "train/1", False)
    ],
)  # fmt: skip
def test_patterns_are_of_paths(pattern, path, fits):
    assert splits.is_pattern(pattern) and splits.matches(pattern, path) is fits
    prefix = splits.prefix_of(pattern)
    assert not fits or path.startswith(prefix)


def test_a_split_is_found_by_another_word_of_its_kind():
    assert splits.find("train", ["training", "test"], "t") == "training"
    assert splits.find("validation", ["train", "val"], "t") == "val"
    for wanted, have in (("test", ["train"]), ("val", ["dev", "valid"]), ("extra", ["unlabeled"])):
        with pytest.raises(UsageError, match=f"no split '{wanted}'; it has: {', '.join(have)}"):
            splits.find(wanted, have, "t")


@pytest.mark.parametrize(
    ("have", "train", "test"),
    [
        (["train", "val", "test"], "train", "test"),
        (["train", "valid"], "train", "valid"),
        (["train", "dev", "val"], "train", "val"),
        (["train", "extra"], "train", None),
        (["test"], "test", None),
    ],
)
def test_probes_are_tested_on_the_tests_or_on_validation(have, train, test):
    assert splits.for_tests(have, train) == test


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["train_1.jpg", "a/test_2.jpg"], ("test", "train")),
        (["train_1.jpg", "train_2.jpg"], ()),
        (["train_1.jpg", "test_1.jpg", "logo.jpg"], ()),
        (["train.jpg", "test.jpg"], ()),
        (["trainer_1.jpg", "test_1.jpg"], ()),
        (["val1.jpg", "test1.jpg"], ()),
    ],
)
def test_names_of_images_are_splits_where_all_of_them_say_so(paths, names):
    assert splits.of_names(paths) == names
