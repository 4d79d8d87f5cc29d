"""What ``scores.json`` holds is read back as it was written, also of a run that was made before."""

import json

from curate.runs.run import Run
from curate.scores.summary import ScoreSummary


def test_scores_json_is_read_and_written_alike(tiny_runs):
    run = Run.open(tiny_runs / "tiny")
    content = json.loads((run.path / "scores.json").read_text())
    assert ScoreSummary.read(run.path).to_json() == content


def test_what_earlier_versions_did_not_say_has_its_meaning_then(tiny_runs):
    path = tiny_runs / "tiny" / "scores.json"
    content = json.loads(path.read_text())
    for name in ("pairing", "distance", "more_views", "calibrated", "offsets"):
        del content[name]
    path.write_text(json.dumps(content))
    summary = ScoreSummary.read(path.parent)
    assert (summary.pairing, summary.distance, summary.offsets) == ("anchored", "l2", {})
