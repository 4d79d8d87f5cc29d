"""The inspect stage on a run: what it writes, when it writes it anew, and what it says of one."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import curate as library
from curate.cli.results.inspection import sample_lines
from curate.errors import UsageError
from curate.runs.run import Run
from curate.runtime.files import file_sha256
from curate.stages import inspect as inspection
from tests.command import TINY, curate

pytestmark = pytest.mark.numeric


def inspect(runs, *more):
    result = curate("inspect", "tiny", "--runs", runs, "--device", "cpu", *more)
    assert result.code == 0, result.err
    return result


def digests(run):
    return [file_sha256(run / name) for name in inspection.FILES]


@pytest.fixture
def table(tiny_runs):
    return pq.read_table(tiny_runs / "tiny" / "inspect.parquet")


def test_the_table_has_every_column_and_the_summary_counts_it(tiny_runs, table):
    facts = json.loads(inspect(tiny_runs, "--json").out)
    assert facts["path"] == str(tiny_runs / "tiny" / "inspect.parquet")
    assert table.schema.remove_metadata() == inspection.INSPECT_SCHEMA
    assert table["uid"].to_pylist() == sorted(table["uid"].to_pylist())
    for name in ("outlier_score", "local_outlier_factor", "label_vote", "triage", "smoothness"):
        assert table[name].null_count == 0
    counted = {c["values"]: c["counts"] for c in pc.value_counts(table["triage"]).to_pylist()}
    assert {k: n for k, n in facts["triage"]["counts"].items() if n} == counted
    assert facts["samples"] == table.num_rows == sum(counted.values())
    assert facts["triage"]["scored"] is True
    assert facts["triage"]["separation"] == "none"
    assert facts["duplicates"]["samples"] == table.num_rows - table["duplicate_group"].null_count
    assert facts["leaks"]["splits"] == ["test"]
    assert {"outlier_score", "sharpness", "label_agreement"} <= set(facts["relations"])
    # Every digit is 8 x 8: size and aspect are constant.
    assert not {"size", "aspect"} & set(facts["relations"])
    assert sum(label["n"] for label in facts["labels"].values()) == table.num_rows


def test_neighbours_are_rows_of_the_table(tiny_runs, table):
    near = pq.read_table(tiny_runs / "tiny" / "inspect_neighbours.parquet")
    assert near["uid"] == table["uid"]
    assert near.schema.remove_metadata() == inspection.NEIGHBOUR_SCHEMA
    places = np.array(near["neighbours"].to_pylist())
    apart = np.array(near["distances"].to_pylist())
    assert places.shape == (table.num_rows, 3)
    assert table["uid"].take(places[:, 0]).to_pylist() == table["neighbour_uid"].to_pylist()
    np.testing.assert_allclose(apart.mean(axis=1), table["outlier_score"], rtol=1e-5)


def test_the_same_run_twice_gives_the_same_bytes(tiny_runs):
    before = digests(tiny_runs / "tiny")
    (tiny_runs / "tiny" / "records" / "inspect.json").unlink()
    inspect(tiny_runs)
    assert digests(tiny_runs / "tiny") == before


def test_scores_that_come_later_are_taken_up(tiny_runs):
    run = Run.open(tiny_runs / "tiny")
    before = digests(run.path)
    record = run.record_path("score")
    record.unlink()
    facts = json.loads(inspect(tiny_runs, "--json").out)
    assert facts["triage"]["scored"] is False
    assert facts["triage"]["separation"] is None
    assert facts["relations"] == facts["labels"] == {}
    assert set(pq.read_table(run.path / "inspect.parquet")["triage"].to_pylist()) <= {
        "redundant",
        "typical",
    }
    assert "without scores" in inspect(tiny_runs).out
    library.score(run, device="cpu")
    inspect(tiny_runs)
    assert digests(run.path) == before


def test_what_is_done_is_left_alone(tiny_runs):
    path = tiny_runs / "tiny" / "inspect.parquet"
    before = path.stat().st_mtime_ns
    shutil.rmtree(tiny_runs / "tiny" / "cache")
    inspect(tiny_runs)
    assert path.stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A run on digits enlarged, with a leak, a copy, a blank and a mirror image planted."""
    home = tmp_path_factory.mktemp("planted")
    images = load_digits().images[:90] * 255 / 16
    random = np.random.default_rng(0)
    pictures = [
        Image.fromarray(np.clip(i + random.normal(0, 20, i.shape), 0, 255).astype(np.uint8))
        for i in images
    ]
    for i, image in enumerate(pictures):
        split = "test" if i >= 60 else "train"
        place = home / "images" / split / str(load_digits().target[i])
        place.mkdir(parents=True, exist_ok=True)
        image.resize((24, 24), Image.Resampling.BICUBIC).save(place / f"{i:03d}.png")
    train, test = home / "images" / "train", home / "images" / "test"
    first, second, third = sorted(train.rglob("*.png"))[:3]
    shutil.copy(first, test / "0" / "copy.png")
    Image.open(second).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(test / "0" / "mirror.png")
    big = Image.open(third).resize((48, 36))
    big.save(third.with_name("larger.png"))
    Image.new("L", (24, 24), 40).save(train / "0" / "blank.png")
    recipe = library.load_recipe(
        str(TINY),
        {
            "name": "planted",
            "data.source": f"folder:{home / 'images'}",
            "data.test": "test",
            "data.size": 24,
            "data.fit": "stretch",
            "data.limit": None,
            "encoder.patch": None,
            "encoder.backbone": "convnet",
            "compare.remove": [],
        },
    )
    run = library.open_run(recipe, runs=home / "runs")
    library.score(run, device="cpu")
    facts = library.inspect(run, device="cpu")
    index = pq.read_table(run.path / "shards" / "index.parquet")
    names = {
        path.rpartition("/")[2]: uid
        for uid, path in zip(index["uid"].to_pylist(), index["path"].to_pylist(), strict=True)
    }
    return run, facts, names, (first.name, second.name, third.name)


def rows(run):
    return {row["uid"]: row for row in pq.read_table(run.path / "inspect.parquet").to_pylist()}


def test_leaks_between_training_and_test_are_found(planted):
    run, facts, names, (first, second, _) = planted
    found = rows(run)
    assert found[names[first]]["duplicate_split"] == "test"
    assert found[names[first]]["duplicate_split_uid"][:32] == names["copy.png"][:32]
    assert found[names[second]]["duplicate_split_uid"] == names["mirror.png"]
    listed = {(pair.uid, pair.other) for pair in facts.leaks.pairs}
    assert (names[second], names["mirror.png"]) in listed
    assert facts.leaks.samples == sum(row["duplicate_split"] is not None for row in found.values())
    assert facts.leaks.samples <= 4
    # Held-out samples are no rows.
    assert names["mirror.png"] not in found


def test_the_larger_of_two_stands_for_both(planted):
    run, _, names, (*_, third) = planted
    found = rows(run)
    small, large = found[names[third]], found[names["larger.png"]]
    assert small["duplicate_group"] == large["duplicate_group"] is not None
    assert (small["triage"], large["triage"] != "redundant") == ("redundant", True)
    assert large["aspect"] == pytest.approx(48 / 36)


def test_a_blank_image_is_told(planted):
    run, facts, names, _ = planted
    assert rows(run)[names["blank.png"]]["triage_reason"] == "blank"
    assert rows(run)[names["blank.png"]]["smoothness"] is None
    assert facts.triage.flaws["blank"] == 1


# One sample


def test_a_sample_is_shown_with_its_place_its_neighbours_and_its_file(tiny_runs, table):
    index = pq.read_table(tiny_runs / "tiny" / "shards" / "index.parquet")
    scores = pq.read_table(tiny_runs / "tiny" / "scores.parquet").sort_by("rank").to_pylist()
    first = scores[0]
    facts = json.loads(inspect(tiny_runs, "--json", "--sample", first["uid"][:12]).out)
    where = index.filter(pc.equal(index["uid"], first["uid"])).to_pylist()[0]
    row = table.filter(pc.equal(table["uid"], first["uid"])).to_pylist()[0]
    assert facts["uid"] == first["uid"]
    assert (facts["rank"], facts["n_scored"]) == (1, 80)
    assert facts["memorization"] == first["memorization"]
    for name in ("shard", "offset", "size", "path", "label", "key"):
        assert facts[name] == where[name]
    assert facts["class"] == str(where["label"])
    assert {name: facts[name] for name in row} == row
    assert facts["neighbours"][0]["uid"] == row["neighbour_uid"]
    assert len(facts["neighbours"]) == 3
    ranks = {score["uid"]: (score["rank"], score["label"]) for score in scores}
    assert [(n["rank"], n["label"]) for n in facts["neighbours"]] == [
        ranks[n["uid"]] for n in facts["neighbours"]
    ]
    shown = inspect(tiny_runs, "--sample", first["uid"]).out
    for text in ("1 of 80", where["shard"], f"{where['offset']:,}", where["path"], row["triage"]):
        assert text in shown
    assert shown.count("neighbour  ") == 3


def test_a_sample_is_named_by_its_path_or_its_key_as_well(tiny_runs, planted):
    run = Run.open(tiny_runs / "tiny")
    row = pq.read_table(run.path / "shards" / "index.parquet").to_pylist()[7]
    end = row["path"].rpartition("/")[2]
    for name in (
        row["uid"],
        row["key"],
        row["path"],
        end,
        f"./{row['path']}",
        f"/a/b/{row['path']}",
    ):
        assert library.inspect(run, sample=name).uid == row["uid"], name
    # A part of a name is none, and what lies in two places is refused.
    for name in (end[1:], f"x{row['path']}", f"{row['path']}/x", row["key"][:-1]):
        with pytest.raises(UsageError, match="has no sample"):
            library.inspect(run, sample=name)
    other, _, names, _ = planted
    assert library.inspect(other, sample="larger.png").uid == names["larger.png"]


def test_near_duplicates_of_a_sample_and_its_leak_are_named(planted):
    run, _, names, (first, _, third) = planted
    assert library.inspect(run, sample=names[third]).duplicates == (names["larger.png"],)
    lines = sample_lines(library.inspect(run, sample=names[first]))
    assert any(line.startswith("leak  ") and "test" in line for line in lines)


def test_a_name_that_means_none_or_several_is_refused(planted, tiny_runs):
    run, _, names, _ = planted
    with pytest.raises(UsageError, match="has no sample 'nothing'"):
        library.inspect(run, sample="nothing")
    with pytest.raises(UsageError, match="has no sample ''"):
        library.inspect(run, sample="")
    counts = {}
    for uid in names.values():
        counts[uid[0]] = counts.get(uid[0], 0) + 1
    several = next(c for c, n in counts.items() if n > 4)
    said = rf"{counts[several]} samples can be meant by '{several}': .* more; give more"
    with pytest.raises(UsageError, match=said):
        library.inspect(run, sample=several)
    with pytest.raises(UsageError, match=r"is held out \(test\)"):
        library.inspect(run, sample=names["mirror.png"])
    result = curate("inspect", "tiny", "--runs", tiny_runs, "--sample", "zz")
    assert (result.code, result.out) == (2, "")


def test_hostile_paths_are_shown_as_text(tiny_runs):
    uid = pq.read_table(tiny_runs / "tiny" / "inspect.parquet")["uid"][0].as_py()
    card = library.inspect(Run.open(tiny_runs / "tiny"), sample=uid)
    hostile = replace(card, path="a\x1b[2J\nb‮c", class_="\x1b]0;x\x07")
    shown = "".join(sample_lines(hostile))
    assert shown.isprintable()
    assert "a\\x1b[2J\\nb\\u202ec" in shown
