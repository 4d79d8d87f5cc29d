"""YAML of others is plain data or one error, whatever it holds."""

import pytest

from curate.runtime.yaml_text import read_yaml


def test_plain_data_is_read():
    assert read_yaml("a: [1, 2.5, x, null, true]\nb: {c: d}") == {
        "a": [1, 2.5, "x", None, True],
        "b": {"c": "d"},
    }


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]"


@pytest.mark.parametrize("text", [BOMB, "a: &a [*a]", "x: &x 1\ny: *x"])
def test_aliases_are_refused(text):
    with pytest.raises(ValueError, match=r"aliases \(\*name\) are not read"):
        read_yaml(text)


@pytest.mark.parametrize(
    "text",
    ["[" * 5000, "{", "a: b: c", "\t- x", "\x00", "!!python/object/apply:os.getcwd []", "9" * 5000,
     "!!int x", "? {}\n: 1", "\ud83d"],
)  # fmt: skip
def test_what_is_no_yaml_is_one_error(text):
    with pytest.raises(ValueError, match=r"\S"):
        read_yaml(text)
