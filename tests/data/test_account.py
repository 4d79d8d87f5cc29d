"""What became of everything in a source is counted by reason, and told in lines that fit."""

import pytest

from curate.data import account
from curate.data.account import KINDS, OTHERS, Account, kind_of


@pytest.mark.parametrize(
    ("reasons", "kind"),
    [
        (["9,459 x 9,459 pixels are more", "8 x 7 pixels are more"], "x pixels are more"),
        (["its label '--5' is no number", "its label 'x' is no number"], "its label is no number"),
        (["damaged: broken PNG file", "damaged: truncated"], "damaged"),
        (["a link that leads out (--outside)", "a link that leads out"], "a link that leads out"),
        (["hidden"], "hidden"),
        (["7"], "7"),
    ],
)
def test_reasons_that_differ_in_numbers_and_names_are_one_kind(reasons, kind):
    assert {kind_of(reason) for reason in reasons} == {kind}


def test_everything_is_counted_however_many_reasons_there_are():
    tally = Account(written=5, unlabelled=2)
    for i in range(26):
        for _ in range(i):
            tally.reject(f"reason {chr(97 + i)}")
        tally.leave("hidden", i)
    found = tally.to_json()
    assert found["rejected"] == found["left_out"] == 325 and found["in"] == 655
    assert len(found["rejected_for"]) == KINDS + 1 and found["rejected_for"][OTHERS] > 0
    assert sum(found["rejected_for"].values()) == 325


def facts(**split):
    base = Account(written=8).to_json() | {"split": "train", "chosen": {}}
    return {"account": {"train": base | split}, "classes": split.pop("classes", [])}


def test_lines_name_splits_reasons_choices_and_classes():
    left = {f"why {c}": n for n, c in enumerate("abcdef", 1)}
    said = account.lines(
        facts(left_out_for=left, unlabelled=3, chosen={"labels": "column y"})
        | {"classes": [f"c{i}" for i in range(9)]}
    )
    assert said == [
        "train       8 written, 0 rejected, 0 left out, of 8",
        "  left out  6 why f; 5 why e; 4 why d; 3 why c; 3 others",
        "  unlabelled 3",
        "  labels    column y",
        "classes     9: c0, c1, c2, c3 and 5 more",
    ]
    assert account.lines(facts(unlabelled=8))[-1] == "classes     no labels"
    assert account.lines(facts(unlabelled=0))[-1].endswith("labels are numbers without names")
    assert account.lines(facts(split="test"))[0].startswith("train (test) 8 written")
    assert account.lines({}) == []


def test_names_in_lines_break_nothing():
    told = account.lines(
        facts(rejected_for={"a\nb\x1b[31m": 1}, chosen={"labels": "x\u202ey\n"})
        | {"classes": ["evil\nname", "x" * 300]}
    )
    assert all(line.isprintable() and len(line) < 120 for line in told)
