"""Train: encoders that are there are left alone, and those that are missing come back the same."""

import curate
from curate.runs.run import Run
from curate.runtime.files import file_sha256
from curate.scores.plan import Plan


def test_what_is_missing_of_a_plan_is_trained_again_to_the_same_bytes(tiny_runs):
    run = Run.open(tiny_runs / "tiny")
    plan = Plan.read(run.path / "plan.parquet")
    kept, lost = (run.path / "encoders" / e / "weights.safetensors" for e in plan.encoders)
    stamp, digest = kept.stat().st_mtime_ns, file_sha256(lost)
    lost.unlink()
    curate.train(run, device="cpu")
    assert kept.stat().st_mtime_ns == stamp
    assert file_sha256(lost) == digest
