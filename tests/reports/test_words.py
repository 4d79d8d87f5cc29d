import pytest

from curate.reports import words


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("plain ü", "plain ü"),
        ("a\nb\tc", "a\\u000ab\\u0009c"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("zero\u200bwidth\u2028line", "zero\\u200bwidth\\u2028line"),
        ("<b>&", "<b>&"),
    ],
)
def test_outside_text_is_one_line_without_hidden_characters(text, want):
    assert words.shown(text) == want


def test_long_text_keeps_both_ends():
    assert words.shown("a" * 50 + "b" * 50, limit=20) == "aaaaaaaaa…bbbbbbbbb"


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0"),
        (-0.01234, "−0.0123"),
        (1.3e-40, "1.3·10⁻⁴⁰"),
        (1234567.0, "1.2·10⁶"),
    ],
)
def test_numbers_have_significant_digits_and_a_real_minus(value, want):
    assert words.number(value) == want


def test_a_rounded_zero_has_no_sign():
    assert words.fixed(-0.0004, 3) == "0.000"
    assert words.fixed(-1234.5, 1) == "−1,234.5"


def test_units_do_not_part_from_their_numbers():
    texts = [words.percent(0.123, 1), words.points(-2.2), words.seconds(3.21), words.seconds(59.97)]
    assert texts == ["12.3\u00a0%", "−2.20\u00a0points", "3.2\u00a0s", "1\u00a0min 0\u00a0s"]
    assert words.seconds(7380) == "2\u00a0h 3\u00a0min"


def test_a_p_value_that_underflows_is_a_bound():
    assert words.p_value(0.0) == "< 10⁻³⁰⁰"
    assert words.p_equals(0.0) == "p\u00a0< 10⁻³⁰⁰"
    assert words.p_equals(0.25) == "p\u00a0=\u00a00.25"


def test_a_count_agrees_with_its_noun():
    assert (words.size(1, "image"), words.size(2000, "image")) == ("1 image", "2,000 images")


@pytest.mark.parametrize(
    ("name", "p", "want"),
    [
        ("C>S", 0.001, "holds (p\u00a0<\u00a00.01)"),
        ("C>S", 0.02, "not shown (p\u00a0≥\u00a00.01)"),
        ("C>S", None, "not testable"),
        ("S=0", 0.02, "not rejected (p\u00a0≥\u00a00.01)"),
        ("S=0", 0.001, "rejected (p\u00a0<\u00a00.01)"),
    ],
)
def test_a_test_is_said_in_words(name, p, want):
    assert words.held(name, p) == want
