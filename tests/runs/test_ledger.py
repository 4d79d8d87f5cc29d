"""The ledger adds up, and says when a selection has paid for its scores."""

import json
import math

import pytest

import curate
from curate.errors import DataError
from tests.command import curate as typed

pytestmark = pytest.mark.numeric


def test_the_ledger_of_a_run(tiny_runs):
    run = curate.open_run("tiny", runs=tiny_runs, create=False)
    ledger = curate.ledger(run)
    spent = run.facts()["seconds"]
    assert {row.stage: row.seconds for row in ledger.stages} == spent
    samples = {row.stage: row.samples for row in ledger.stages}
    # 80 images and 80 to test on; 2 encoders, 2 epochs, half of the images each; 3 views, 1 clean.
    assert samples["shard"] == samples["decode"] == 160
    assert samples["train"] == 2 * 2 * 40
    assert samples["align"] == 2 * 80 * 4
    wanted = sum(spent[s] for s in ("shard", "plan", "decode", "train", "align", "score"))
    assert ledger.scoring_seconds == pytest.approx(wanted)
    (row,) = ledger.selections
    assert (row.kept, row.dropped) == (40, 40)
    saved = 40 * 2 * ledger.training_seconds_per_sample
    assert row.saved_seconds == pytest.approx(saved)
    assert row.pays_back_after == math.ceil(wanted / saved)


def test_the_ledger_is_printed_and_given_as_json(tiny_runs):
    shown = typed("ledger", "tiny", "--runs", tiny_runs)
    assert shown.code == 0, shown.err
    assert "pays for its scores after" in shown.out
    found = typed("ledger", "tiny", "--runs", tiny_runs, "--json")
    assert json.loads(found.out)["selections"][0]["kept"] == 40


def test_nothing_trained_has_no_ledger(tmp_path):
    from tests.command import TINY

    run = curate.open_run(str(TINY), runs=tmp_path)
    with pytest.raises(DataError, match="trained nothing yet"):
        curate.ledger(run)
