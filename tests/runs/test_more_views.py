"""Samples in doubt get more views, and only they."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

import curate
from curate.data.shards import writer
from curate.runs import more_views
from curate.scores import top_probability
from curate.scores.plan import Plan
from curate.scores.summary import MoreViews
from curate.scores.top_probability import p_selected
from curate.stages import refine
from tests.command import TINY
from tests.command import curate as typed

pytestmark = pytest.mark.numeric

MORE = {"plan.repeats": 2}
# Alignments are distances of unit vectors in float32, whose last bit is 1e-7. What is made of them
# may be near 0, and is off by as much: tolerances go with the alignments, not with that.
OFF = 2e-6


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A scored run of two repeats in 5 shards of up to 17 samples."""
    monkeypatch.setattr(writer, "SHARD_SAMPLES", 17)
    made = curate.open_run(str(TINY), runs=tmp_path, overrides=MORE)
    curate.score(made, device="cpu", workers=1)
    return made


def by_views(tmp_path, views):
    """Return the scores of the same encoders, all of their samples measured with so many views."""
    other = curate.open_run(
        str(TINY), runs=tmp_path / f"all-{views}", overrides={**MORE, "score.views": views}
    )
    curate.score(other, device="cpu", workers=1)
    return other.scores()


def test_samples_that_got_more_views_are_as_if_all_had_them(run, tmp_path):
    before = run.scores()
    uids = before["uid"].to_pylist()
    some, most = uids[5:45:4], uids[50:53]
    more_views.give(run, pa.array(some + most), np.array([5] * len(some) + [7] * len(most)))
    with pytest.raises(curate.errors.DataError, match="older than its settings"):
        run.scores()
    found = curate.score(run, device="cpu")
    assert found.more_views == MoreViews(13, 7) and found.views == 3
    scores = run.scores()
    views = dict(zip(scores["uid"].to_pylist(), scores["n_views"].to_pylist(), strict=True))
    assert views == {u: 5 if u in some else 7 if u in most else 3 for u in uids}
    sources = {3: before, 5: by_views(tmp_path, 5), 7: by_views(tmp_path, 7)}
    for column in ("raw", "se_views", "align_in", "align_out"):
        wanted = {k: np.array(table[column]) for k, table in sources.items()}
        for row, uid in enumerate(uids):
            value = scores[column][row].as_py()
            assert value == pytest.approx(wanted[views[uid]][row], rel=0, abs=OFF), (column, uid)
    assert curate.score(run).already
    checked = curate.verify(run.path, full=True)
    assert checked.ok, checked


def test_what_is_given_adds_up(run):
    uids = run.scores()["uid"].to_pylist()
    more_views.give(run, pa.array(uids[:3]), np.array([6, 6, 6]))
    curate.score(run, device="cpu")
    files = sorted(run.path.glob("alignment/*.more.parquet"))
    more_views.give(run, pa.array(uids[2:4]), np.array([5, 9]))
    curate.score(run, device="cpu")
    assert run.scores()["n_views"].to_pylist()[:5] == [6, 6, 6, 9, 3]
    assert set(files) <= set(run.path.glob("alignment/*.more.parquet"))
    # All samples get more: those in doubt no longer have more than they.
    longer = run.extended(views=4)
    assert curate.score(longer, device="cpu").more_views is None
    assert set(longer.scores()["n_views"].to_pylist()) == {4}


def test_an_encoder_that_is_trained_again_is_measured_again_with_all_views(run):
    uids = run.scores()["uid"].to_pylist()
    more_views.give(run, pa.array(uids[:3]), np.array([6, 6, 6]))
    curate.score(run, device="cpu")
    before = (run.path / "scores.parquet").read_bytes()
    again = Plan.read(run.path / "plan.parquet").encoders[-1]
    (run.path / f"records/train/{again}.json").unlink()
    curate.score(run, device="cpu")
    assert (run.path / "scores.parquet").read_bytes() == before
    records = list(run.path.glob("records/align/*.more.json"))
    done = [run.done(f"align/{record.stem}") for record in records]
    assert done and all(again in record["parts"]["columns"] for record in done)


def test_new_encoders_see_the_views_of_the_samples_in_doubt(run):
    uids = run.scores()["uid"].to_pylist()
    more_views.give(run, pa.array(uids[:3]), np.array([6, 6, 6]))
    longer = run.extended(repeats=3)
    found = curate.score(longer, device="cpu")
    assert len(found.encoders) == 6 and found.more_views == MoreViews(3, 6)
    assert longer.scores()["n_views"].to_pylist()[:4] == [6, 6, 6, 3]


def test_doubt_is_where_the_selection_could_be_another():
    random = np.random.default_rng(0)
    m = random.normal(size=1000)
    scores = pa.table(
        {
            "uid": [f"{i:04d}" for i in range(1000)],
            "memorization": m,
            "se": np.full(1000, 0.2),
            "se_views": np.full(1000, 0.15),
            "n_views": np.full(1000, 10, dtype=np.int32),
        }
    )
    found = top_probability.doubtful(scores, 300, reliability=0.96)
    p = p_selected(m, np.full(1000, 0.2), 300, 0.96)
    rows = [int(uid) for uid in found.uids.to_pylist()]
    assert rows == np.flatnonzero((p > 0.05) & (p < 0.95)).tolist()
    assert 100 < len(rows) < 350
    assert found.by_views == pytest.approx(0.5625)
    sure = scores.set_column(2, "se", pa.array(np.full(1000, 1e-9)))
    assert len(top_probability.doubtful(sure, 300, 1.0).uids) == 0


def test_where_views_err_most_only_samples_in_doubt_get_more(run, monkeypatch):
    monkeypatch.setattr(refine, "MOST_REPEATS", 2)
    monkeypatch.setattr(refine, "MOST_VIEWS", 12)
    monkeypatch.setattr(refine, "LARGER", 0.01)  # so few encoders, so little trained, err more
    facts = refine.refine(run, "overlap=0.999", device="cpu")
    assert facts.why == "as many repeats as are ever made"
    rounds, most = facts.rounds, []
    assert {(r.repeats, r.views) for r in rounds} == {(2, 3)}
    assert rounds[0].more_views is None and rounds[0].views_per_sample == 3
    for before, after in itertools.pairwise(rounds):
        assert after.views_per_sample > before.views_per_sample
        most.append(after.more_views.most)
    assert most and most == [6, 12, 12, 12][: len(most)]
    views = run.scores()["n_views"].to_numpy()
    assert rounds[-1].views_per_sample == pytest.approx(views.mean())
    assert set(views.tolist()) <= {3, 6, 12}


def test_scoring_says_how_many_samples_got_more_views(run, tmp_path):
    uids = run.scores()["uid"].to_pylist()
    more_views.give(run, pa.array(uids[:3]), np.array([6, 6, 6]))
    found = typed(
        "score", TINY, "--runs", tmp_path, "--device", "cpu", "--until", "overlap=0.01",
        "--set", "plan.repeats=2",
    )  # fmt: skip
    assert found.code == 0, found.err
    assert "3 views and up to 6 for 3 samples in doubt (3 a sample)" in found.out
