import dataclasses

import numpy as np
import pytest

from curate.evaluation.agreement import Ranking, agree
from curate.reports.findings import agreement_figure, findings, intervals_lie
from curate.reports.material import gather
from curate.runtime.files import write_json
from tests.reports.made_run import make_run


def said(material):
    return [(finding, note) for _, finding, note in findings(material)]


def share(values):
    return f"{100 * np.mean(values):.0f}\u00a0%"


@pytest.mark.parametrize("kind", ["pair", "halves", "folds", "subsets"])
def test_findings_are_the_numbers_of_the_run(runs, kind):
    found = gather(runs[kind])
    (spread, _), (means, _), (align, _), (shares, _), (rank, _) = said(found)
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
    score = found.score[shown] if kind == "pair" else m[scored]
    cut = np.quantile(score, 0.9)
    below = f"{100 * np.mean(score < -cut):.1f}\u00a0%"
    assert shares.startswith(f"A tenth of the {'candidates' if kind == 'pair' else 'images'} score")
    assert f"; {below} score below −" in shares
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
    assert intervals_lie(rows) == want


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


def along(run, *means):
    """Give a run what snapshots of its training would have left."""
    groups = [{"all": {"n": 100, "mean": mean, "sd": 0.01}} for mean in means]
    rows = [
        {"epoch": 5 * (k + 1), "loss": 4.0 - k, "groups": group} for k, group in enumerate(groups)
    ]
    write_json(run / "snapshots.json", {"epochs": rows})
    return said(gather(run))[-1]


def test_what_memorization_does_along_the_training_is_said(run):
    finding, note = along(run, 0.001, 0.005, 0.02)
    assert finding == (
        "Mean score (all scored images) rises from 0.0010 after epoch 5 to 0.0200 l2 distance "
        "after epoch 15, the loss from 4 to 2."
    )
    assert "95\u00a0% intervals" in note
    assert " falls from " in along(run, 0.02, 0.001)[0]
    assert " goes from " in along(run, 0.0015, 0.001)[0]


def test_agreement_is_shown_where_another_run_is_given(run, tmp_path):
    assert agreement_figure(gather(run)) is None
    rankings = [Ranking(name, gather(run).scores) for name in ("a", "b", "c")]
    _, finding, _ = agreement_figure(gather(run, agreement=agree(rankings)))
    assert finding == (
        "Kendall’s tau-b between the rankings is 1.00; 3 of 3 intervals lie above 0, which "
        "unrelated rankings would give."
    )
