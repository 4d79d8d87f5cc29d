"""Names of arms, and what is said of them."""

import pytest

from curate.errors import UsageError
from curate.evaluation.arms import Wanted, wanted


@pytest.mark.parametrize(
    ("name", "arm"),
    [
        ("all", Wanted("all", None)),
        ("k-center", Wanted("k-center", "k-center")),
        ("el2n", Wanted("el2n", "top", "el2n")),
        ("deja-vu", Wanted("deja-vu", "top", "deja_vu")),
        ("bottom:el2n", Wanted("bottom:el2n", "bottom", "el2n")),
        ("ccs:loss", Wanted("ccs:loss", "ccs", "loss")),
        ("a/b.csv:n", Wanted("a/b.csv:n", "top", "a/b.csv:n")),
        ("random-matched", Wanted("random-matched", "random-matched", like="top")),
        ("random-matched:el2n", Wanted("random-matched:el2n", "random-matched", like="el2n")),
        ("runs/x/manifests/top-3.parquet", Wanted("runs/x/manifests/top-3.parquet", None)),
    ],
)
def test_names_are_arms(name, arm):
    assert wanted(name) == arm
    assert arm.is_manifest == name.endswith(".parquet")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tpo", "unknown strategy 'tpo'"),
        ("k-centre", "Did you mean 'k-center'"),
        ("el3n", "Did you mean 'el2n'"),
        ("bottom:el3n", "Did you mean 'el2n'"),
        ("k-center:el2n", "goes by no number"),
        ("random-matched:random", "name a strategy"),
        ("random-matched:all", "name a strategy"),
    ],
)
def test_names_that_are_none_are_refused(name, says):
    with pytest.raises(UsageError, match=says):
        wanted(name)


def test_arms_are_named_by_what_they_keep():
    labels = {
        "all": "all 9",
        "top": "keep the 9 most memorized",
        "el2n": "keep the 9 highest by el2n",
        "drop-top:loss": "drop the 1 highest by loss",
        "d2:el2n": "9 by d2 of el2n",
        "random-matched:el2n": "9 by random-matched to el2n",
        "x/top-9.parquet": "manifest top-9, 9",
    }
    assert {name: wanted(name).label(9, 10) for name in labels} == labels
