"""Names that every file system takes, as near to the old ones as can be."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.selection.file_names import DEVICES, PLAIN, Names, class_folders, file_name, safe

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("IMG 0001", "IMG 0001"), ("Jürgen's café", "Jürgen's café"), ("猫", "猫"),
        ("हिन्दी", "हिन्दी"), ("a/b\\c:d", "a_b_c_d"), ("..", "other"), ("", "other"),
        ("a\nb\u202ec", "a_b_c"), (".bashrc", "_bashrc"), ("-rf", "_rf"), ("dot. ", "dot"),
        ("NUL", "NUL_"), ("com1.x", "com1.x_"), ("\\xe9", "_xe9"), ("e\u0301", "é"),
        ("x" * 400, "x" * 150), ("ä" * 400, "ä" * 75),
    ],
)  # fmt: skip
def test_a_name_stays_as_it_is_where_it_can(name, wanted):
    assert safe(name, "other") == wanted


@given(st.text())
def test_no_name_leads_anywhere_or_is_read_as_anything_else(name):
    found = safe(name, "other")
    assert found and len(found.encode()) <= 151
    assert not {*found} & ({*string.punctuation} - {*PLAIN}) - {"_"}
    assert found[0] not in ".- " and found[-1] not in ". "
    assert found.partition(".")[0].lower() not in DEVICES
    assert safe(found, "other") == found


@given(st.lists(st.sampled_from(["a", "A", "a-1", "a-1-1", "b", "ß", "SS"]), max_size=30))
def test_names_are_given_once(wanted):
    names = Names()
    given_out = [names.take(name) for name in wanted]
    assert len({name.casefold() for name in given_out}) == len(wanted)
    for first in {*wanted}:
        assert given_out[wanted.index(first)].startswith(first)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("a/b.PNG", ("b", ".PNG")), ("b.jpg", ("b", ".png")), ("photo.v2", ("photo.v2", ".png")),
        ("x.tar/in/c.png", ("c", ".png")), ("d", ("d", ".png")), (".png", ("_png", ".png")),
    ],
)  # fmt: skip
def test_an_ending_says_what_an_image_is(path, wanted):
    assert file_name(path, PNG) == wanted


def test_folders_are_called_as_classes_in_the_order_of_the_labels():
    assert class_folders(["cat", "dog"], [1, 0, 1]) == {0: "cat", 1: "dog"}
    assert class_folders(["dog", "cat"], [0]) == {0: "0-dog", 1: "1-cat"}
    assert class_folders([], [2, 10, None]) == {2: "02", 10: "10", None: "unlabelled"}
    # What is one to a disk, and a label beyond the names.
    assert class_folders(["A", "a"], [2]) == {0: "0-A", 1: "1-a", 2: "2"}
    assert class_folders(["a", "a?", "a*"], [None]) == {
        0: "a", 1: "a_", 2: "a_-1", None: "unlabelled"
    }  # fmt: skip
    assert class_folders(["ant", "zebra"], [None])[None] == "unlabelled"
