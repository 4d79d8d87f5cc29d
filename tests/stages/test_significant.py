"""Samples are significant where a plan shows how much encoders err, and not else."""

import pytest

import curate
from curate.errors import DataError
from tests.command import curate as typed


def test_a_plan_with_one_encoder_a_side_cannot_say(tiny_runs):
    run = curate.open_run("tiny", runs=tiny_runs, create=False)
    with pytest.raises(DataError, match="one encoder on each side"):
        curate.significant(run)
    found = typed("score", "tiny", "--runs", tiny_runs, "--fdr", "0.05")
    assert found.code == 3 and "plan.repeats=3" in found.err
