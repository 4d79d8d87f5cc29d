"""Manifests: every sample, why, and equal files for equal selections."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pytest

from curate.data.sample import content_uid
from curate.errors import DataError, MismatchError
from curate.scores.top_probability import p_selected
from curate.selection import strategies
from curate.selection.manifest import MANIFEST_SCHEMA, Manifest

pytestmark = pytest.mark.numeric

PROVENANCE = {
    "dataset_fingerprint": "d" * 64,
    "recipe": "digits",
    "recipe_fingerprint": "r" * 16,
    "separation": "clear",
    "seeds": {"plan": 0},
    "versions": {"curate": "0.1.0"},
}
N = 60


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    m = np.round(rng.normal(size=N), 1)
    uids = [content_uid(bytes([i])) for i in range(N)]
    return pa.table(
        {
            "uid": uids,
            "key": [f"{i:08d}" for i in range(N)],
            "shard": ["00000.tar"] * N,
            "label": pa.array([i % 10 for i in range(N)], pa.int64()),
            "group": ["C"] * N,
            "memorization": pa.array([None if i in (5, 9) else x for i, x in enumerate(m)]),
            "se": pa.array([None if i in (5, 9) else 0.2 for i in range(N)], pa.float64()),
            "rank": pa.array([0] * N),  # stale on purpose: ranks are of this table's own number
        }
    )


def choose(table, strategy, n, *, unscored=False, **parameters):
    m = np.array(table["memorization"].to_numpy(), dtype=np.float64)
    keep = np.full(len(m), unscored)
    there = ~np.isnan(m)
    uids = np.array(table["uid"].to_pylist(), dtype=object)
    keep[there] = strategies.choose(strategy, m[there], uids[there], n, 0)
    return Manifest.build(
        table,
        keep,
        strategy=strategy,
        parameters={"count": n, **parameters},
        provenance=PROVENANCE,
    )


def test_every_sample_has_a_row_with_its_rank_and_reason(scores):
    manifest = choose(scores, "top", 20)
    table = manifest.table
    assert table.schema.equals(MANIFEST_SCHEMA)
    assert table["uid"].to_pylist() == sorted(scores["uid"].to_pylist())
    rows = table.to_pylist()
    scored = [row for row in rows if row["memorization"] is not None]
    by_rank = sorted(scored, key=lambda row: (-row["memorization"], row["uid"]))
    assert [row["rank"] for row in by_rank] == list(range(1, 59))
    assert {row["reason"] for row in by_rank[:20]} == {"among the 20 most memorized"}
    assert {row["reason"] for row in by_rank[20:]} == {"not among the 20 most memorized"}
    assert {row["decision"] for row in by_rank[:20]} == {"keep"}
    assert {row["decision"] for row in by_rank[20:]} == {"drop"}
    for row in rows:
        if row["memorization"] is None:
            assert (row["rank"], row["p_top"], row["decision"]) == (None, None, "drop")
            assert row["reason"] == "not scored; dropped as asked"
    assert manifest.kept().tolist() == sorted(row["uid"] for row in by_rank[:20])


def test_p_top_is_of_the_cut_that_the_strategy_makes(scores):
    for strategy, cut in (("top", 20), ("random", 20), ("bottom", 38), ("drop-top", 38)):
        manifest = choose(scores, strategy, 20)
        there = manifest.table.filter(manifest.table["memorization"].is_valid())
        wanted = p_selected(there["memorization"].to_numpy(), there["se"].to_numpy(), cut)
        np.testing.assert_array_equal(there["p_top"].to_numpy(), wanted)
        assert manifest.facts["p_top"]["n"] == cut
        assert manifest.facts["p_top"]["luck"] == pytest.approx((wanted * (1 - wanted)).sum())


def test_reasons_say_what_was_done(scores):
    def reasons(strategy):
        manifest = choose(scores, strategy, 20, unscored=True)
        pairs = zip(manifest.table["decision"], manifest.table["reason"], strict=True)
        return {(d.as_py(), r.as_py()) for d, r in pairs}

    left = ("keep", "not scored; kept as asked")
    assert reasons("drop-top") == {
        left,
        ("keep", "not among the 38 most memorized"),
        ("drop", "among the 38 most memorized"),
    }
    assert reasons("bottom") == {
        left,
        ("keep", "among the 20 least memorized"),
        ("drop", "not among the 20 least memorized"),
    }
    assert reasons("random") == {
        left,
        ("keep", "among the 20 drawn at random"),
        ("drop", "not among the 20 drawn at random"),
    }


def test_the_json_says_what_it_was_made_from(scores, tmp_path):
    choose(scores, "top", 20, unscored=True).write(tmp_path / "top-20.parquet")
    facts = json.loads((tmp_path / "top-20.json").read_text())
    digest = hashlib.sha256((tmp_path / "top-20.parquet").read_bytes()).hexdigest()
    assert facts["sha256"] == digest
    assert facts["counts"] == {
        "total": 60,
        "scored": 58,
        "unscored": 2,
        "kept": 22,
        "dropped": 38,
        "kept_scored": 20,
        "dropped_scored": 38,
    }
    assert {k: facts[k] for k in PROVENANCE} == PROVENANCE
    assert facts["strategy"] == "top"
    assert facts["parameters"] == {"count": 20}
    assert facts["schema_version"] == 2
    assert facts["score_direction"] == "higher = more memorized"


def test_equal_selections_are_equal_files(scores, tmp_path):
    choose(scores, "top", 20).write(tmp_path / "a.parquet")
    order = np.random.default_rng(1).permutation(N)
    choose(scores.take(order), "top", 20).write(tmp_path / "b")
    for ending in (".parquet", ".json"):
        one, other = ((tmp_path / f"{name}{ending}").read_bytes() for name in "ab")
        assert one == other


def test_a_name_with_dots_keeps_them(scores, tmp_path):
    choose(scores, "top", 45).write(tmp_path / "top-0.75.parquet")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["top-0.75.json", "top-0.75.parquet"]
    assert len(Manifest.read(tmp_path / "top-0.75.parquet").kept()) == 45


def test_reading_gives_back_what_was_written(scores, tmp_path):
    manifest = choose(scores, "drop-top", 20)
    manifest.write(tmp_path / "m")
    found = Manifest.read(tmp_path / "m.parquet")
    assert found.table.equals(manifest.table)
    assert found.facts == manifest.facts


def test_a_bare_table_of_scores_is_enough(tmp_path):
    table = pa.table({"uid": ["b", "a", "c"], "memorization": [1, 3, 2], "label": ["x", "y", "z"]})
    manifest = Manifest.build(
        table, np.array([False, True, True]), strategy="top", parameters={"count": 2, "by": "el2n"}
    )
    assert manifest.table.to_pylist() == [
        row("a", 3.0, 1, 1.0, "keep", "among the 2 highest by el2n"),
        row("b", 1.0, 3, 0.0, "drop", "not among the 2 highest by el2n"),
        row("c", 2.0, 2, 1.0, "keep", "among the 2 highest by el2n"),
    ]
    assert manifest.facts["score_direction"] == "rank 1 is the highest el2n"
    assert manifest.facts["separation"] == "untested"
    manifest.write(tmp_path / "m")
    assert Manifest.read(tmp_path / "m").facts["dataset_fingerprint"] is None


def row(uid, memorization, rank, p, decision, reason):
    nothing = dict.fromkeys(("key", "shard", "label", "class", "path", "se"))
    found = {"uid": uid, **nothing, "memorization": memorization, "rank": rank, "p_top": p}
    return {**found, "decision": decision, "reason": reason}


@pytest.mark.parametrize("uids", [["a", "a"], ["a", None]])
def test_uids_must_tell_samples_apart(uids):
    table = pa.table({"uid": uids, "memorization": [1.0, 2.0]})
    with pytest.raises(DataError, match="uid"):
        Manifest.build(table, np.array([True, False]), strategy="top", parameters={})


def test_any_change_to_a_file_is_noticed(scores, tmp_path):
    path = tmp_path / "m.parquet"
    choose(scores, "top", 20).write(path)
    whole = path.read_bytes()
    for position in (0, len(whole) // 2, len(whole) - 1):
        broken = bytearray(whole)
        broken[position] ^= 1
        path.write_bytes(broken)
        with pytest.raises(DataError, match="sha256"):
            Manifest.read(path)
    path.write_bytes(whole)
    (tmp_path / "m.json").unlink()
    with pytest.raises(DataError, match=r"m\.json"):
        Manifest.read(path)
    with pytest.raises(DataError, match="no manifest"):
        Manifest.read(tmp_path / "other")


def test_a_json_of_another_kind_is_refused(scores, tmp_path):
    choose(scores, "top", 20).write(tmp_path / "m")
    (tmp_path / "m.json").write_text('{"schema_version": 99}')
    with pytest.raises(DataError, match="version 2"):
        Manifest.read(tmp_path / "m")


def test_a_manifest_of_another_dataset_is_refused(scores):
    manifest = choose(scores, "top", 20)
    uids = np.array(scores["uid"].to_pylist(), dtype=object)
    manifest.check_dataset("d" * 64)
    manifest.check_dataset("d" * 64, uids)
    with pytest.raises(MismatchError, match="another dataset"):
        manifest.check_dataset("e" * 64)
    with pytest.raises(MismatchError, match="1 of them not among the 59"):
        manifest.check_dataset("d" * 64, uids[1:])
    with pytest.raises(MismatchError, match="61 of this dataset"):
        manifest.check_dataset("d" * 64, np.append(uids, "new"))


def test_a_bare_manifest_is_recognised_by_its_uids():
    table = pa.table({"uid": ["a", "b"], "memorization": [1.0, 2.0]})
    manifest = Manifest.build(table, np.array([True, False]), strategy="top", parameters={})
    manifest.check_dataset("d" * 64, np.array(["b", "a"]))
    with pytest.raises(MismatchError, match="names no dataset"):
        manifest.check_dataset("d" * 64)
    with pytest.raises(MismatchError, match="1 of them not among"):
        manifest.check_dataset("d" * 64, np.array(["a", "c"]))
