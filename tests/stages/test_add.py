"""Images are added behind those of a run: no encoder and no score that is there changes."""

import json
import shutil

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import curate as library
from curate.data.decoding import encode_png
from curate.data.sources import open_source
from curate.errors import DataError, MismatchError
from curate.runs.run import Run
from curate.runs.verification import verify
from curate.runtime.files import file_sha256, read_json, sealed, write_json
from curate.stages import shard
from curate.stages.add import labels_of
from tests.command import TINY, curate

pytestmark = pytest.mark.numeric

NEW = 12


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A scored run of two repeats, and digits that it has not, as a folder of classes."""
    home = tmp_path_factory.mktemp("add")
    sets = {"plan.repeats": 2, "train.epochs": 1}
    run = library.open_run(str(TINY), runs=home / "runs", overrides=sets)
    library.score(run, device="cpu")
    have = set(pq.read_table(run.path / "shards" / "index.parquet")["path"].to_pylist())
    others = [entry for entry in open_source("digits").entries() if entry.path not in have]
    for entry in others[:NEW]:
        folder = home / "others" / str(entry.label)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / entry.path.rpartition("/")[2]).write_bytes(entry.data)
    # One that the run has, by another name.
    entry = next(entry for entry in open_source("digits").entries() if entry.path in have)
    (home / "others" / str(entry.label)).mkdir(exist_ok=True)
    (home / "others" / str(entry.label) / "copy.png").write_bytes(entry.data)
    return home


@pytest.fixture
def runs(scored, tmp_path):
    """A copy of the folder of runs, to do with as a test likes."""
    shutil.copytree(scored / "runs", tmp_path / "runs")
    return tmp_path / "runs"


def kept(run):
    """Return the digests of what adding may not change."""
    kinds = (
        "encoders/*/*",
        "alignment/00000*.parquet",
        "records/train/*.json",
        "shards/00000.tar",
    )
    files = sorted(path for kind in kinds for path in run.glob(kind))
    assert len(files) > 12
    return {str(path.relative_to(run)): file_sha256(path) for path in files}


def facts(run):
    """Return what ``run.json`` says, but for the time that was spent."""
    return {k: v for k, v in read_json(run / "run.json").items() if k != "seconds"}


def scores(run, *, added):
    table = pq.read_table(run / "scores.parquet")
    return table.filter(pc.equal(pc.equal(table["group"], "added"), added))


def test_what_is_there_stays_byte_for_byte_and_new_images_are_unseen(scored, runs):
    run = runs / "tiny"
    before, old, summary = (
        kept(run),
        pq.read_table(run / "scores.parquet"),
        (run / "scores.json").read_bytes(),
    )
    plan = pq.read_table(run / "plan.parquet")
    added = library.add(Run.open(run), str(scored / "others"), device="cpu")
    assert (added.written, added.there, added.rejected) == (NEW, 1, 0)
    assert kept(run) == before
    assert (run / "scores.json").read_bytes() == summary
    assert scores(run, added=False).equals(old)
    new = scores(run, added=True).to_pylist()
    names = {p.name for p in (scored / "others").rglob("*.png")} - {"copy.png"}
    assert {row["path"].rpartition("/")[2] for row in new} == names
    for row in new:
        assert row["align_out"] > 0 and (row["n_in"], row["n_out"]) == (0, 4)
        nothing = ("memorization", "se", "rank", "align_in", "delta", "expected", "weight")
        assert [row[name] for name in nothing] == [None] * len(nothing)
        assert row["class"] == row["path"].partition("/")[0] and row["shard"] == "00001.tar"
    # Scored anew, old ones with it, it comes out the same.
    made = file_sha256(run / "scores.parquet")
    (run / "records" / "score.json").unlink()
    library.score(Run.open(run), device="cpu")
    assert (file_sha256(run / "scores.parquet"), (run / "scores.json").read_bytes()) == (
        made,
        summary,
    )
    later = pq.read_table(run / "plan.parquet")
    assert later.filter(pc.is_in(later["uid"], plan["uid"].combine_chunks())).equals(plan)
    assert verify(run, full=True).ok
    made = read_json(run / "shards" / "dataset.json")
    assert made["splits"]["train"]["written"] == 80 + NEW
    assert made["account"]["train +1"]["left_out_for"] == {"already in the run": 1}
    (spent,) = library.ledger(Run.open(run)).added
    assert spent.samples == NEW and spent.seconds == pytest.approx(added.seconds)
    assert "anew it would be" in curate("ledger", run).out
    # The fingerprint is that of the same images written at once.
    assert made["fingerprint"] == read_json(run / "run.json")["dataset_fingerprint"]
    again = library.shard(f"wds:{run / 'shards'}", runs / "all", test="test")
    assert again.fingerprint == made["fingerprint"]


def test_more_repeats_are_trained_on_new_images_as_well(scored, runs):
    run = runs / "tiny"
    assert curate("add", run, scored / "others", "--device", "cpu").code == 0
    file = "alignment/00000.parquet"  # gets columns of the new encoders; those of the old stay
    before, measured = kept(run), pq.read_table(run / file)
    new = pc.field("uid").isin(scores(run, added=True)["uid"].combine_chunks())
    more = library.open_run(str(run), overrides={"plan.repeats": 4}, create=False)
    library.score(more, device="cpu")
    after = {name: digest for name, digest in kept(run).items() if name in before}
    assert after.pop(file) != before.pop(file) and after == before
    assert pq.read_table(run / file).select(measured.column_names).equals(measured)
    plan = pq.read_table(run / "plan.parquet").filter(new)
    for repeat in ("", "-1", "-2", "-3"):
        seen = np.stack([plan[f"fold{k}{repeat}"].to_numpy() for k in (0, 1)])
        assert (seen.sum(axis=0) == (repeat in ("-2", "-3"))).all()
    table = pq.read_table(run / "scores.parquet")
    assert table["memorization"].null_count == 0 and "added" not in table["group"].to_pylist()
    assert set(table.filter(new)["n_in"].to_pylist()) == {2}
    assert set(table.filter(new)["n_out"].to_pylist()) == {6}
    assert table.filter(new)["expected"].null_count == 0


def test_a_second_addition_and_the_commands_after_it(scored, runs, tmp_path):
    run = runs / "tiny"
    library.add(Run.open(run), str(scored / "others"), device="cpu")
    first = pq.read_table(run / "scores.parquet")
    with pytest.raises(DataError, match=f"all of its {NEW + 1} images are already in the run"):
        library.add(Run.open(run), str(scored / "others"), device="cpu")
    rows = pq.read_table(run / "shards" / "index.parquet").to_pylist()
    held_out = next(row["path"] for row in rows if row["split"] == "test")
    (entry,) = open_source("digits", split="test").entries(held_out.__eq__)
    other = tmp_path / "more"
    other.mkdir()
    (other / "one.png").write_bytes(encode_png(np.arange(64, dtype=np.uint8).reshape(8, 8) * 3))
    (other / "held out.png").write_bytes(entry.data)
    shown = curate("add", run, other, "--device", "cpu", "--json")
    assert shown.code == 0, shown.err
    assert (json.loads(shown.out)["written"], json.loads(shown.out)["there"]) == (1, 1)
    table = pq.read_table(run / "scores.parquet")
    assert table.filter(pc.is_in(table["uid"], first["uid"].combine_chunks())).equals(first)
    assert table.num_rows == 80 + NEW + 1
    library.inspect(Run.open(run), device="cpu")
    assert library.inspect(Run.open(run), sample="one.png").memorization is None
    refused = curate("select", run, "--top", "10")
    assert refused.code == 2 and "13 of 93 samples are unscored" in refused.err
    assert curate("select", run, "--top", "10", "--unscored", "keep").code == 0
    assert curate("report", run).code == 0
    assert verify(run, full=True).ok


def test_near_duplicates_among_old_images_are_named(scored, runs, tmp_path):
    run = runs / "tiny"
    rows = pq.read_table(run / "shards" / "index.parquet").to_pylist()
    old = next(row for row in rows if row["split"] == "train")
    image = Run.open(run).image(old["uid"])[0]
    other = tmp_path / "more"
    other.mkdir()
    (other / "near.png").write_bytes(encode_png(np.maximum(image, 1)))
    added = library.add(Run.open(run), str(other), device="cpu")
    assert added.near_duplicates == 1
    (pair,) = added.alike
    assert (pair.path, pair.other, pair.other_path) == ("near.png", old["uid"], old["path"])
    assert pair.similarity > 0.99


def test_an_addition_that_was_cut_short_is_gone_on_with(scored, runs, monkeypatch):
    run = runs / "tiny"
    with monkeypatch.context() as patched:
        patched.setattr(shard, "go_on_adding", cut_short(run))
        with pytest.raises(KeyboardInterrupt):
            library.add(Run.open(run), str(scored / "others"), device="cpu")
    assert len(Run.open(run).added) == 1
    library.score(Run.open(run), device="cpu")
    assert scores(run, added=True).num_rows == NEW
    assert verify(run, full=True).ok
    assert not (run / shard.ADDING).exists()


def test_the_same_command_goes_on_where_measuring_was_cut_short(scored, runs, monkeypatch):
    run = runs / "tiny"
    old = pq.read_table(run / "scores.parquet")
    with monkeypatch.context() as patched:
        patched.setattr("curate.stages.align.align_images", stopped)
        with pytest.raises(KeyboardInterrupt):
            library.add(Run.open(run), str(scored / "others"), device="cpu")
    assert verify(run, full=True).ok
    added = library.add(Run.open(run), str(scored / "others"), device="cpu")
    assert (added.written, added.there) == (NEW, 1)
    assert scores(run, added=False).equals(old) and scores(run, added=True).num_rows == NEW
    assert len(Run.open(run).added) == 1 and Run.open(run).added[0]["seconds"] > 0


def stopped(*_, **__):
    raise KeyboardInterrupt


def test_other_code_is_refused_before_anything_is_written(scored, runs):
    run = runs / "tiny"
    for path in (run / "records" / "align").rglob("*.json"):
        record = read_json(path)
        write_json(path, sealed({**record, "code": {**record["code"], "curate code": "other"}}))
    before = facts(run), kept(run)
    with pytest.raises(MismatchError, match="was made by other code"):
        library.add(Run.open(run), str(scored / "others"), device="cpu")
    assert (facts(run), kept(run)) == before


def cut_short(run):
    """Return what stops when half of what is added was moved."""
    calls = []

    def stop(_):
        calls.append(1)
        if len(calls) > 1:
            beside = run / shard.ADDING
            for name in ("00001.tar", "dataset.json"):
                (beside / name).replace(run / "shards" / name)
            raise KeyboardInterrupt

    return stop


def test_what_cannot_be_added_is_refused_and_changes_nothing(scored, runs, tmp_path):
    run = runs / "tiny"
    stray = tmp_path / "stray"
    shutil.copytree(scored / "others", stray)
    next(path for path in stray.iterdir()).rename(stray / "cat")
    before = facts(run), kept(run)
    with pytest.raises(DataError, match="class 'cat' is none of the run's: '0', '1'"):
        library.add(Run.open(run), str(stray), device="cpu")
    (tmp_path / "empty").mkdir()
    assert curate("add", run, tmp_path / "empty").code == 3
    assert curate("add", run, tmp_path / "nowhere").code == 2
    assert curate("add", "nothing", stray, "--runs", runs).code == 2
    assert (facts(run), kept(run)) == before
    assert curate("add", run, stray, "--label", "none", "--device", "cpu").code == 0
    assert set(scores(run, added=True)["class"].to_pylist()) == {None}
    # A run that was added to stays with its source.
    other = library.open_run(str(run), overrides={"data.limit": 60}, retrain=True)
    with pytest.raises(MismatchError, match="images were added"):
        library.score(other, device="cpu")


def test_a_run_without_scores_is_not_added_to(scored, tmp_path):
    run = library.open_run(str(TINY), runs=tmp_path)
    with pytest.raises(DataError, match="has no scores yet; type 'curate score tiny'"):
        library.add(run, str(scored / "others"), device="cpu")


def test_labels_are_those_of_the_run_by_the_names_of_classes():
    assert labels_of(["a", "b", "c"], ["a", "c"]) == {0: 0, 1: 2}
    assert labels_of(["a"], []) is None
    with pytest.raises(DataError, match=r"class 'x' is none of the run's: 'a', .*'e', \.\.\."):
        labels_of([*"abcdef"], ["a", "x"])
    with pytest.raises(DataError, match="none that has a name"):
        labels_of([], ["x"])
