"""Text from outside is shown as one line and gives no orders."""

import pytest

from curate.runtime.text import visible, visible_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode 图 🙂", "plain, ünïcode 图 🙂"),
        ("a\nb\tc\0", r"a\u000ab\u0009c\u0000"),
        ("\x1b[31mred", r"\u001b[31mred"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
    ],
)
def test_what_acts_instead_of_being_seen_is_spelled_out(text, shown):
    assert visible(text) == shown
    assert len(visible(text).splitlines()) == 1


def test_lines_stay_lines_and_each_is_visible():
    assert visible_lines("one\ntwo\r\n\x07") == "one\ntwo\\u000d\n\\u0007"
