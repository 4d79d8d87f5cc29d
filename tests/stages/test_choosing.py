"""What samples of a run can be chosen by: each thing in the order of the samples."""

import numpy as np
import pyarrow as pa
import pytest

import curate
from curate.data.shards import Reader
from curate.errors import DataError, UsageError
from curate.runs.dataset import own_uids
from curate.runs.run import Run
from curate.runtime.progress import silent
from curate.selection.config import SelectConfig
from curate.stages.choosing import Chooser
from curate.stages.context import Context

pytestmark = pytest.mark.numeric


@pytest.fixture
def chooser(tiny_runs):
    run = Run.open(tiny_runs / "tiny")
    uids = own_uids(run).sort().slice(10, 30)
    return Chooser(run, Context.of(run, None, "cpu", 1, silent), uids)


def test_embeddings_of_a_file_are_those_of_the_samples(chooser, tmp_path):
    index = Reader(chooser.run.path / "shards").index(["uid"])["uid"]
    values = np.arange(2 * len(index), dtype=np.float32).reshape(-1, 2)
    np.save(tmp_path / "e.npy", values)
    found = chooser.space(str(tmp_path / "e.npy"))
    rows = [index.to_pylist().index(uid) for uid in chooser.uids.to_pylist()]
    np.testing.assert_array_equal(found, values[rows])
    assert chooser.space(str(tmp_path / "e.npy")) is found


def test_a_network_of_timm_and_an_encoder_of_the_plan_are_spaces(chooser):
    own, other = chooser.space(None), chooser.space("fold1")
    assert len(own) == len(other) == 30 and own.shape == other.shape
    assert (own != other).any()
    assert np.isfinite(chooser.space("timm-random:resnet18")).all()


def test_a_manifest_is_found_by_name_and_by_path(chooser):
    path = curate.select(chooser.run, count=40, name="mine").path
    kept = chooser.kept(chooser.manifest("mine"))
    assert (kept == chooser.kept(chooser.manifest(str(path)))).all()
    ranks = chooser.run.scores(("uid", "rank"))
    high = {r["uid"] for r in ranks.to_pylist() if r["rank"] <= 40}
    assert kept.tolist() == [uid in high for uid in chooser.uids.to_pylist()]
    with pytest.raises(UsageError, match="there is no manifest other"):
        chooser.manifest("other")


def test_what_no_sample_has_is_told(chooser):
    with pytest.raises(DataError, match=r"has no expected of any sample: .*plan\.repeats.: 3"):
        chooser.numbers("expected")


def test_nothing_is_read_that_a_selection_does_not_need(chooser):
    given = chooser.given(SelectConfig(count=3, space="nowhere"))
    assert given.embeddings is None and given.like is None and given.drop == {}
    assert pa.types.is_string(chooser.uids.type)
