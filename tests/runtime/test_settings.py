"""Settings are strict and frozen, and an error names the value that does not fit."""

from typing import Literal

import pytest
from pydantic import ValidationError

from curate.errors import UsageError
from curate.runtime.settings import Count, Fraction, Positive, Section, checked


class Inner(Section):
    share: Fraction = 0.5


class Outer(Section):
    n: Positive = 1
    zero: Count = 0
    kind: Literal["top", "bottom"] = "top"
    inner: Inner = Inner()


def test_a_section_is_strict_and_frozen():
    made = checked(Outer, {"n": 2, "inner": {"share": 1}})
    assert made == Outer(n=2, inner=Inner(share=1.0))
    with pytest.raises(ValidationError, match="frozen"):
        made.n = 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "n: should be greater than or equal to 1, not 0."),
        ({"zero": -1}, "zero: should be greater than or equal to 0, not -1."),
        ({"inner": {"share": 0}}, "inner.share: should be greater than 0, not 0."),
        ({"inner": {"share": 1.5}}, "inner.share: should be less than or equal to 1, not 1.5."),
        ({"kind": "tpo"}, "unknown kind 'tpo'. Did you mean 'top'? Known: bottom, top."),
        ({"m": 1}, "m: Extra inputs are not permitted, not 1."),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_place(settings, message):
    with pytest.raises(UsageError) as caught:
        checked(Outer, settings)
    assert str(caught.value) == message
