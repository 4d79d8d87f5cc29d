"""The measuring stage on a run: what it writes, what it keeps, and what it does without labels."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from curate.encoders.classifier import write_head
from curate.runs import alignments
from curate.runs.run import Run
from curate.runtime.files import file_sha256, sealed, write_json
from curate.scores.measures import MEASURES, column
from curate.scores.plan import Plan
from curate.stages import measure as measuring
from tests.command import TINY, curate
from tests.rendered import encoded, picture

pytestmark = pytest.mark.numeric


def measure(runs, *more, code=0):
    result = curate("measure", "tiny", "--runs", runs, "--device", "cpu", *more)
    assert result.code == code, result.err
    return result


def forget(runs):
    """Have all be measured again, what each encoder says included."""
    (runs / "tiny" / "records" / "measure.json").unlink()
    shutil.rmtree(runs / "tiny" / "records" / "measure")


def table(runs):
    return pq.read_table(runs / "tiny" / "measures.parquet")


def test_every_measure_of_every_sample(tiny_runs):
    facts = json.loads(measure(tiny_runs, "--json").out)
    found, scores = table(tiny_runs), pq.read_table(tiny_runs / "tiny" / "scores.parquet")
    kinds = [kind for kind in MEASURES if not MEASURES[kind].needs_heads]
    assert found.column_names == ["uid", *map(column, kinds)]
    assert found["uid"].to_pylist() == sorted(scores["uid"].to_pylist())
    assert found.num_rows == 80
    assert all(found[column(kind)].null_count == 0 for kind in kinds)
    assert list(facts["measures"]) == sorted(kinds)
    for kind, row in facts["measures"].items():
        values = found[column(kind)].to_numpy()
        assert row["n"] == 80
        assert row["mean"] == pytest.approx(values.mean())
        assert row["sd"] == pytest.approx(values.std(ddof=1))
        assert row["spearman"]["low"] < row["spearman"]["value"] < row["spearman"]["high"]
    assert facts["left_out"] == []
    assert (found["el2n"].to_numpy() <= np.sqrt(2)).all()
    assert (np.abs(found["supervised"].to_numpy()) <= 1).all()


def test_alignment_is_the_mean_over_the_encoders(tiny_runs):
    measure(tiny_runs, "--kinds", "alignment")
    run = tiny_runs / "tiny"
    encoders = Plan.read(run / "plan.parquet").encoders
    tables = alignments.read(Run.open(run), encoders, "00000")
    parts = [
        {row["uid"]: row["align"] for row in tables[e].select(["uid", "align"]).to_pylist()}
        for e in encoders
    ]
    found = table(tiny_runs)
    wanted = [np.mean([part[uid] for part in parts]) for uid in found["uid"].to_pylist()]
    assert found["alignment"].to_numpy() == pytest.approx(wanted, rel=1e-12)


def test_the_batch_size_changes_nothing(tiny_runs, monkeypatch):
    measure(tiny_runs)
    one = table(tiny_runs)
    forget(tiny_runs)
    monkeypatch.setattr(measuring, "BATCH", 7)
    measure(tiny_runs)
    for name in one.column_names[1:]:
        found, wanted = table(tiny_runs)[name].to_numpy(), one[name].to_numpy()
        # Heads converge to 1e-4. A vote of neighbours that are equally far, to the last bit, may
        # go either way, and then counts for a whole corner.
        alike = np.isclose(found, wanted, rtol=1e-4, atol=1e-4)
        assert alike.mean() > 0.95 if name == "deja_vu" else alike.all(), name


def test_measuring_twice_gives_the_same_bytes(tiny_runs):
    measure(tiny_runs)
    one = file_sha256(tiny_runs / "tiny" / "measures.parquet")
    forget(tiny_runs)
    measure(tiny_runs)
    assert file_sha256(tiny_runs / "tiny" / "measures.parquet") == one


def test_what_is_there_is_kept_and_what_is_missing_is_added(tiny_runs, monkeypatch):
    measure(tiny_runs, "--kinds", "loss")
    computed = []

    def watched(kind, measure):
        class Watched(measure):
            def __init__(self, samples):
                computed.append(kind)
                super().__init__(samples)

        return Watched

    for kind, made in list(MEASURES.items()):
        monkeypatch.setitem(MEASURES, kind, watched(kind, made))
    loss = table(tiny_runs)["loss"]
    measure(tiny_runs, "--kinds", "loss,alignment")
    measure(tiny_runs, "--kinds", "alignment")
    assert computed == ["alignment"]
    assert table(tiny_runs).column_names == ["uid", "alignment", "loss"]
    assert table(tiny_runs)["loss"] == loss
    told = json.loads((tiny_runs / "tiny" / "measures.json").read_text())
    assert list(told["measures"]) == ["alignment", "loss"]
    # Other scores, other measures.
    record = tiny_runs / "tiny" / "records" / "measure.json"
    write_json(record, sealed({**json.loads(record.read_text()), "key": "of other scores"}))
    measure(tiny_runs, "--kinds", "loss")
    assert computed == ["alignment", "loss"]
    assert table(tiny_runs).column_names == ["uid", "loss"]


def test_what_an_encoder_said_stays_when_others_come_or_it_is_cut_short(tiny_runs, monkeypatch):
    asked = []

    def watched(**arguments):
        asked.append(arguments["number"])
        look(**arguments)

    look = measuring.measure_one
    monkeypatch.setattr(measuring, "measure_one", watched)
    run = tiny_runs / "tiny"
    measure(tiny_runs)
    one = table(tiny_runs)
    # Cut short: one encoder is left, and what was put together is not there yet.
    (run / "records" / "measure.json").unlink()
    (run / "records" / "measure" / "fold1.json").unlink()
    measure(tiny_runs)
    assert asked == [0, 1, 1]
    assert table(tiny_runs).equals(one)
    # Damaged: it is looked at again.
    (run / "measures" / "fold0.parquet").write_bytes(b"damaged")
    (run / "records" / "measure.json").unlink()
    measure(tiny_runs)
    assert asked == [0, 1, 1, 0]
    assert table(tiny_runs).equals(one)
    # More repeats: the encoders that are there have said what they say.
    more = ("--runs", tiny_runs, "--device", "cpu", "--set", "plan.repeats=2")
    assert curate("score", "tiny", *more).code == 0
    measure(tiny_runs)
    assert asked == [0, 1, 1, 0, 2, 3]
    assert not table(tiny_runs)["supervised"].equals(one["supervised"])
    assert curate("verify", run, "--full").code == 0


def test_a_measure_can_be_selected_by(tiny_runs):
    measure(tiny_runs, "--kinds", "knn-outlierness")
    path = tiny_runs / "tiny" / "measures.parquet"
    result = curate(
        *("select", "--scores", path, "--by", "knn_outlierness", "--top", "10"),
        *("--out", tiny_runs / "chosen"),
    )
    assert result.code == 0, result.err
    assert "kept 10, dropped 70" in result.out


def test_unknown_measures_are_refused(tiny_runs):
    result = measure(tiny_runs, "--kinds", "el2m", code=2)
    assert "Did you mean 'el2n'" in result.err
    assert "names no measure" in measure(tiny_runs, "--kinds", ",", code=2).err
    assert not (tiny_runs / "tiny" / "measures.parquet").exists()


def test_a_damaged_table_is_made_again(tiny_runs):
    measure(tiny_runs, "--kinds", "alignment,loss")
    path = tiny_runs / "tiny" / "measures.parquet"
    one = path.read_bytes()
    for damaged in (b"0" * len(one), one[:-9]):
        path.write_bytes(damaged)
        measure(tiny_runs, "--kinds", "alignment,loss")
        assert path.read_bytes() == one


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory):
    home = tmp_path_factory.mktemp("unlabelled")
    (home / "images").mkdir()
    for i in range(20):
        data = encoded(picture(i, 8, 8), "PNG")
        (home / "images" / f"{i}.png").write_bytes(data)
    result = curate(
        *("score", TINY, "--runs", home / "runs", "--device", "cpu", "--workers", "1", "--set"),
        *(f"data.source=folder:{home / 'images'}", "--set", "data.channels=3"),
    )
    assert result.code == 0, result.err
    return home / "runs"


def test_without_labels_it_does_what_it_can_and_says_what_not(unlabelled, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(unlabelled, runs)
    result = measure(runs)
    assert (
        "left out    supervised, deja-vu, el2n, grand, loss: they need labels of two or more "
        "classes, which these samples do not have\n"
    ) in result.out
    assert table(runs).column_names == ["uid", "relative", "alignment", "knn_outlierness"]
    refused = measure(runs, "--kinds", "alignment,grand,loss", code=2)
    lines = refused.err.splitlines()
    assert lines == [
        "error: measure grand, loss needs labels of two or more classes, which this run's samples "
        "do not have; leave it out of kinds."
    ]


def test_a_head_is_asked_for_the_classes_that_there_are(tmp_path):
    head = torch.nn.Linear(5, 4)
    write_head(tmp_path, head)
    x = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    # Of the classes 1, 3 and 5 the last came after the training.
    found = measuring.own_head(tmp_path, np.array([1, 3, 5])).probabilities(x)
    wanted = head(torch.from_numpy(x)).softmax(dim=1).detach().numpy()
    assert found[:, :2] == pytest.approx(wanted[:, [1, 3]], abs=1e-6)
    assert (found[:, 2] == 0).all()
    assert found.sum(axis=1) == pytest.approx(1)


def test_a_corner_is_enlarged_to_the_whole_image():
    image = torch.arange(16.0).view(1, 1, 4, 4).repeat(2, 1, 1, 1) / 16
    for number, (top, left) in enumerate([(0, 0), (0, 2), (2, 0), (2, 2)]):
        found = measuring.enlarged(image, number)
        corner = image[:, :, top : top + 2, left : left + 2]
        wanted = torch.nn.functional.interpolate(corner, (4, 4), mode="bilinear")
        assert found.shape == image.shape
        assert torch.allclose(found, wanted, atol=1e-6)
