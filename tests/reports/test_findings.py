import dataclasses

import numpy as np
import pytest
from made_run import make_run

from curate.reports.findings import _lying, findings
from curate.reports.material import gather


def said(material):
    return [(finding, note) for _, finding, note in findings(material)]


def share(values):
    return f"{100 * np.mean(values):.0f}\u00a0%"


@pytest.mark.parametrize("kind", ["pair", "halves", "folds", "subsets"])
def test_findings_are_the_numbers_of_the_run(runs, kind):
    found = gather(runs[kind])
    (spread, _), (means, _), (align, _), (rank, _) = said(found)
    m = found.numbers["memorization"]
    scored = ~np.isnan(m)
    shown = scored & (found.group == "C") if kind == "pair" else scored
    who = "candidates" if kind == "pair" else "scored images"
    assert spread == f"{share(m[shown] > 0)} of the {who} score above 0."
    assert means.startswith("Mean above 0: C; below 0: I;" if kind == "pair" else ("Of", "Mean"))
    worse = (found.numbers["align_out"] > found.numbers["align_in"])[scored]
    assert align == (
        f"{share(worse)} of the images align worse on encoders that never saw them; "
        f"{share(m[scored] > 0)} once each encoder’s offset is removed."
    )
    assert rank.startswith("A score’s typical standard error is 0.0")


def test_the_band_of_views_alone_is_called_too_narrow(runs):
    assert "too narrow" in said(gather(runs["pair"]))[-1][1]
    assert "too narrow" not in said(gather(runs["folds"]))[-1][1]


def test_raw_scores_have_no_offset_to_remove(runs):
    found = gather(runs["halves"])
    found.summary["calibrated"] = False
    finding, note = said(found)[2]
    assert "offset" not in finding + note


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        ([("C: x", 2.0, 1.0), ("I: y", -2.0, 1.0)], "Mean above 0: C; below 0: I."),
        ([("S: x", 0.5, 1.0), ("E: y", -0.5, 1.0)], "Mean not told from 0: S, E."),
        (5 * [("fold", 2.0, 1.0)] + [("fold", 0.0, 1.0)],
         "Of 6 means, 5 above 0, 1 not told from 0."),
    ],
)  # fmt: skip
def test_a_mean_is_told_from_zero_only_by_its_interval(rows, want):
    assert _lying(rows) == want


def test_what_has_no_data_is_left_out(tmp_path):
    found = gather(make_run(tmp_path / "run", n=60))
    nothing = {name: np.full_like(values, np.nan) for name, values in found.numbers.items()}
    found = dataclasses.replace(found, numbers=nothing)
    found.summary["groups"] = {}
    assert findings(found) == []


def test_scores_without_errors_make_no_claim_about_them(runs):
    found = gather(runs["folds"])
    found.numbers["se"] = np.full_like(found.numbers["se"], np.nan)
    finding, note = said(found)[-1]
    assert finding.startswith("The spread of scores (standard deviation) is 0.0")
    assert note == "No standard error is known for this run."
