"""What a value of another's table means as a label, and which column holds them."""

import numpy as np
import pytest

from curate.data import labels
from curate.errors import DataError, UsageError


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (3, 3), (3.0, 3), (True, "true"), (False, "false"), ("cat", "cat"), (b"cat", "cat"),
        (["cat"], "cat"), ([3.0], 3), ([[7]], 7), ((), None), ([], None), (None, None), ("", None),
        (-1, None), (-2.0, None), (float("nan"), None), (2**63 - 1, 2**63 - 1),
        ("\ud83d", "\\ud83d"), ("007", "007"), ("\u65e5", "\u65e5"),
    ],
)  # fmt: skip
def test_values_that_are_labels(value, label):
    found = labels.label_of(value)
    assert found == label and type(found) is type(label)


@pytest.mark.parametrize(
    "value",
    [1.5, float("inf"), 2**63, [10**5000], [1, 2], ["a", "b"], {"a": 1}, b"\xff", object(), 1j],
)
def test_values_that_are_none_say_what_they_are(value):
    with pytest.raises(ValueError, match=r"is no|too large|infinity") as caught:
        labels.label_of(value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("texts", "column"),
    [
        (["1", "2", None], [1, 2, None]),
        (["01", "2"], ["01", "2"]),
        (["1.0", "2", " "], [1.0, 2.0, None]),
        (["1", "cat"], ["1", "cat"]),
        (["9" * 30], ["9" * 30]),
        (["1e3"], [1000.0]),
        ([" cat "], ["cat"]),
        (["--5", "5"], ["--5", "5"]),
    ],
)
def test_a_column_of_a_csv_is_numbers_where_all_of_it_are(texts, column):
    assert labels.of_texts(texts) == column


def test_names_and_numbers_do_not_mix():
    assert labels.classes_of(["b", None, "a", "b"], "here") == ("a", "b")
    assert labels.classes_of([3, None, 1], "here") == ()
    with pytest.raises(DataError, match=r"here mixes labels .* column: label\."):
        labels.classes_of(["a", 1], "here")


@pytest.mark.parametrize(
    ("have", "column"),
    [
        (["a", "label", "y", "class"], "label"),
        (["Label", "class"], "Label"),
        (["LABEL", "label"], "label"),
        (["species", "height"], "species"),
        (["Category"], "Category"),
        (["category", "y:no"], "category"),
        (["y:no"], None),
        (["caption"], None),
        ([], None),
    ],
)
def test_a_column_is_taken_for_labels_where_no_other_can_be(have, column):
    names = [name.partition(":")[0] for name in have]
    good = {name for name in have if ":" not in name}
    assert labels.chosen_column(None, names, "t", good.__contains__) == column


def test_which_column_is_meant_must_be_said_where_two_can_be():
    have = ["class", "species", "x"]
    with pytest.raises(
        UsageError, match=r"class, species; say which: label='class' .*label='none'"
    ):
        labels.chosen_column(None, have, "t", lambda name: True)
    assert labels.chosen_column("x", have, "t", lambda name: False) == "x"
    assert labels.chosen_column("None", have, "t", lambda name: True) is None
    with pytest.raises(UsageError, match=r"unknown column of t 'spcies'\. Did you mean 'species'"):
        labels.chosen_column("spcies", have, "t", lambda name: True)


def test_half_a_character_is_spelled_out():
    texts = [chr(c) for c in (*range(0x20, 0x300, 7), 0xD800, 0xDFFF, 0x1F600)]
    for text in texts:
        stored = labels.storable_text(text)
        assert stored.encode() and (stored == text) != (0xD800 <= ord(text) <= 0xDFFF)


@pytest.mark.parametrize("text", ["--5", "", "1.", "+", "0x1", "1_000", "\u0665", "9" * 21, "1\n"])
def test_what_is_no_whole_number(text):
    assert labels.whole_number(text) is None


def test_whole_numbers_are_those_of_python():
    for value in np.random.default_rng(0).integers(-(2**62), 2**62, 50).tolist():
        assert labels.whole_number(str(value)) == value
