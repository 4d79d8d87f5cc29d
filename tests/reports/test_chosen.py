"""One sample closely: its views, and what each side's encoder made of them."""

import base64
import io
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from curate.data.index import open_index
from curate.encoders.views.apply import augment
from curate.reports import chosen
from curate.reports.galleries import galleries
from curate.reports.material import gather
from curate.runs import alignments, recipe
from curate.runs.run import Run
from curate.runtime import randomness

pytestmark = pytest.mark.numeric


def facts(sample):
    return dict(sample["facts"])


def test_one_image_is_shown_with_its_views_and_both_alignments(runs):
    path = runs["folds"]
    made = galleries(gather(path))["chosen"]
    best = pq.read_table(path / "scores.parquet").sort_by("rank").to_pylist()[0]
    assert made["sample"]["uid"] == best["uid"]
    plan = pq.read_table(path / "plan.parquet", filters=[("uid", "=", best["uid"])]).to_pylist()[0]
    first = {plan[name]: name for name in reversed([n for n in plan if n.startswith("fold")])}
    cards = made["views"]["cards"]
    assert [card["alt"] for card in cards] == [f"view {k} of the image" for k in range(1, 9)]
    for trained, name in first.items():
        table = alignments.read(Run.open(path), [name], "00000")[name]
        (row,) = table.filter(pc.equal(table["uid"], best["uid"])).to_pylist()
        # The oracle: the distance of a view is what leaving it out changes.
        left_out = np.array(row["leave_one_out"])
        want = 10 * row["align"] - 9 * left_out[:8]
        title = f"{'trained' if trained else 'not'} ({name})"
        assert [dict(card["facts"])[title] for card in cards] == [f"{w:.3f}" for w in want]
        assert f"{row['align']:.3f}" in made["views"]["note"]
    assert len(made["neighbours"]) == 1


def test_views_are_those_that_scores_were_measured_on(runs):
    found = gather(runs["folds"])
    uid = found.uids(found.ranked()[:1])[0]
    (view, *_) = chosen.views(found, uid, 1)
    index = open_index(found.path / "shards").table(["uid"])["uid"].to_pylist()
    pixels = np.load(found.path / "cache" / "canvas.npy")[index.index(uid)][None]
    made = recipe.parse(found.run["recipe"], where="test")
    ids = torch.from_numpy(randomness.uid_keys([uid]).astype(np.int64))
    key = randomness.stream(made.score.seed, "measure")
    want = augment(torch.from_numpy(pixels), made.measuring_views(), key=key, keys=ids, view=1)
    image = Image.open(io.BytesIO(base64.b64decode(view.uri.partition(",")[2])))
    assert (np.asarray(image) == (255 * want[0, 0]).round().byte().numpy()).all()


def test_without_what_was_measured_there_are_no_views(run):
    (run / "cache" / "canvas.npy").unlink()
    assert galleries(gather(run))["chosen"]["views"] is None
    shutil.rmtree(run / "alignment")
    assert galleries(gather(run))["chosen"]["views"] is None


def test_pairs_of_views_give_each_view_its_mean_distance_from_the_others():
    distance = np.array([[0, 1, 2, 3], [1, 0, 4, 5], [2, 4, 0, 6], [3, 5, 6, 0]], dtype=float)
    without = [np.delete(np.delete(distance, k, 0), k, 1).sum() / 6 for k in range(4)]
    found = SimpleNamespace(summary={"pairing": "all"})
    got = chosen.by_view(found, distance.sum() / 12, np.array(without))
    assert got == pytest.approx(distance.sum(axis=1) / 3)
