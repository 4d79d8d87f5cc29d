"""Select: a manifest of a run's scores, with what it was made from."""

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import curate
from curate.errors import DataError, UnreliableError, UsageError
from curate.runs.run import Run
from curate.runtime.files import file_sha256, sealed, write_json
from curate.scores.top_probability import p_top
from curate.selection.manifest import Manifest
from curate.selection.strategies import STRATEGIES
from tests.command import TINY
from tests.command import curate as typed


@pytest.fixture
def run(tiny_runs):
    return Run.open(tiny_runs / "tiny")


def test_a_manifest_says_which_run_scores_and_seeds_it_was_made_from(run):
    curate.select(run, strategy="drop-top", count=30, name="mine")
    made = Manifest.read(run.path / "manifests" / "mine.parquet")
    made.check_dataset(run.facts()["dataset_fingerprint"])
    ranks = {row["rank"]: row["decision"] for row in made.table.to_pylist()}
    assert ranks == {rank: "drop" if rank <= 30 else "keep" for rank in range(1, 81)}
    assert made.facts["recipe"] == "tiny"
    assert made.facts["scores_sha256"] == file_sha256(run.path / "scores.parquet")
    assert set(made.facts["seeds"]) == {"plan", "train", "score"}


def test_a_choice_that_cannot_be_made_leaves_no_manifest(run):
    before = sorted((run.path / "manifests").iterdir())
    with pytest.raises(UsageError):
        curate.select(run, strategy="top", count=81, name="mine")
    with pytest.raises(UsageError):
        curate.select(run, strategy="top", count=3, fraction=0.5, name="mine")
    (run.path / "scores.parquet").unlink()
    with pytest.raises(DataError, match=r"scores\.parquet is missing"):
        curate.select(run, strategy="top", count=3, name="mine")
    assert sorted((run.path / "manifests").iterdir()) == before


@pytest.fixture
def repeated(tmp_path):
    """A run whose repeats show how little it ranks."""
    recipe = curate.load_recipe(str(TINY), {"plan.repeats": 3, "train.epochs": 1, "compare": {}})
    run = curate.open_run(recipe, runs=tmp_path)
    curate.score(run, device="cpu")
    return run


def test_a_ranking_that_is_less_reliable_than_required_is_not_selected_by(repeated):
    with pytest.raises(UnreliableError, match="is required, and nothing was selected"):
        curate.select(repeated, strategy="top", count=20, require="reliability=0.9")
    with pytest.raises(UsageError, match="expected reliability=X"):
        curate.select(repeated, strategy="top", count=20, require="overlap=0.9")
    assert not (repeated.path / "manifests").exists()
    command = ["select", repeated.name, "--runs", repeated.path.parent, "--top", "20"]
    refused = typed(*command, "--require", "reliability=0.9")
    assert refused.code == 8 and "reliability=0.9'" in refused.err
    from_table = ["--scores", repeated.path / "scores.parquet", "--require", "reliability=0.9"]
    assert typed("select", *from_table, "--top", "20").code == 2


def test_how_many_places_are_luck_is_said_where_there_is_no_ranking(repeated):
    selected = curate.select(repeated, strategy="top", count=20)
    assert selected.verdict.grade in ("nothing", "group")
    assert selected.places == 20
    facts = Manifest.read(selected.path).facts
    assert selected.luck == facts["p_top"]["luck"]
    assert facts["verdict"] == selected.verdict.to_json()
    command = ["select", repeated.name, "--runs", repeated.path.parent]
    said = typed(*command, "--top", "20").err
    assert f"; {selected.luck:,.0f} of the 20 places are luck." in said
    assert selected.verdict.text in said
    random = typed(*command, "--strategy", "random", "--count", "20")
    assert random.code == 0 and "places are luck" not in random.err
    assert "next: curate export" in random.err
    exported = typed(
        "export", selected.path, "--to", "csv", "--out", repeated.path.parent / "a.csv"
    )
    assert f"warning: {selected.verdict.text}." in exported.err


def test_a_selection_by_what_is_expected_takes_its_order_and_its_chances(tmp_path):
    overrides = {"plan": {"kind": "parts", "parts": 2, "repeats": 3}, "train.epochs": 1}
    run = curate.open_run(str(TINY), runs=tmp_path, overrides=overrides)
    curate.score(run, device="cpu", workers=1)
    made = Manifest.read(curate.select(run, by="expected", count=20).path)
    scores = run.scores(["expected", "expected_se"])
    expected, error = (scores[name].to_numpy() for name in ("expected", "expected_se"))
    assert made.table["uid"].equals(scores["uid"])
    assert made.table["memorization"].to_numpy().tolist() == expected.tolist()
    kept = np.flatnonzero(np.array(made.table["decision"].to_pylist()) == "keep")
    assert set(kept) == set(np.argsort(-expected)[:20])
    np.testing.assert_array_equal(made.table["p_top"].to_numpy(), p_top(expected, error, 20))
    assert made.facts["parameters"]["by"] == "expected"
    # What the covariates alone foretell is another order.
    alone = Manifest.read(curate.select(run, by="prior", count=20).path)
    order = alone.table["memorization"].to_numpy()
    assert np.isfinite(order).all() and np.abs(order - expected).max() > 1e-6
    # The same from the table alone.
    path = run.path / "scores.parquet"
    alone = Manifest.read(curate.select_table(path, by="expected", count=20, out=tmp_path).path)
    assert alone.table.equals(made.table)


def test_who_cannot_be_expected_anything_of_is_told_what_to_type(run, tiny_runs):
    with pytest.raises(DataError, match=r"plan\.repeats.: 3"):
        curate.select(run, by="expected", count=3)
    found = typed("select", "tiny", "--by", "expectd", "--top", 3, "--runs", tiny_runs)
    assert found.code == 2 and "'expected'" in found.err


def test_a_run_that_was_scored_before_there_was_an_expectation_says_what_to_type(tiny_runs):
    run = Run.open(tiny_runs / "tiny")
    record = json.loads(run.record_path("score").read_text())
    before = run.record_path("score").read_text()
    del record["parts"]["covariates"]
    write_json(run.record_path("score"), sealed(record))
    with pytest.raises(DataError, match="type 'curate score tiny'"):
        curate.select(run, by="expected", count=3)
    run.record_path("score").write_text(before)


def rows_of(path):
    return Manifest.read(path).table.to_pylist()


def kept(path):
    return {row["uid"] for row in rows_of(path) if row["decision"] == "keep"}


def test_every_strategy_keeps_as_many_as_asked_and_says_why(run):
    curate.select(run, strategy="top", count=25, name="reference")
    for name, told in STRATEGIES.items():
        selected = curate.select(
            run, strategy=name, count=25, match="reference", name=f"by-{name}", device="cpu"
        )
        rows = rows_of(selected.path)
        assert len(kept(selected.path)) == (55 if name == "drop-top" else 25)
        reasons = {row["reason"] for row in rows}
        assert len(reasons) == 2
        assert name in ("drop-top", "bottom") or all(told.chosen in r for r in reasons)
        again = selected.path.read_bytes()
        curate.select(
            run, strategy=name, count=25, match="reference", name=f"by-{name}", device="cpu"
        )
        assert selected.path.read_bytes() == again


def test_a_column_of_a_measure_of_the_inspection_or_of_a_file_is_selected_by(run, tmp_path):
    for by, file in (("el2n", "measures"), ("outlier_score", "inspect")):
        selected = curate.select(run, by=by, count=20, device="cpu")
        assert selected.path.stem == f"top-20-by-{by}"
        assert selected.description == f"the 20 highest by {by} of 80 scored"
        table = pq.read_table(run.path / f"{file}.parquet").sort_by([(by, "descending")])
        assert kept(selected.path) == set(table["uid"].to_pylist()[:20])
    index = pq.read_table(run.path / "shards" / "index.parquet", columns=["uid", "path"])
    given = tmp_path / "mine.csv"
    lines = [f"{row['path']},{k}" for k, row in enumerate(index.to_pylist())]
    given.write_text("\n".join(["path,n", *lines]) + "\n")
    selected = curate.select(run, by=f"{given}:n", strategy="bottom", count=5)
    assert kept(selected.path) == set(index["uid"].to_pylist()[:5])


def test_modifiers_of_a_run_compose(run, tmp_path):
    order = run.scores(("uid", "rank")).sort_by("rank")["uid"].to_pylist()
    (tmp_path / "always").write_text("\n".join(order[-2:]))
    (tmp_path / "never").write_text(order[0])
    inspected = pq.read_table(run.path / "inspect.parquet").to_pylist()
    tail = {row["uid"] for row in inspected if row["triage"] == "tail"}
    command = ["select", "tiny", "--runs", run.path.parent, "--top", "20", "--drop", "tail,broken"]
    command += ["--always", tmp_path / "always", "--never", tmp_path / "never", "--name", "mine"]
    assert typed(*command).code == 0
    rows = {row["uid"]: row for row in rows_of(run.path / "manifests" / "mine.parquet")}
    broken = {row["uid"] for row in inspected if row["triage"] == "broken"}
    assert tail | broken
    left = [u for u in order[1:-2] if u not in tail | broken]
    assert {u for u, row in rows.items() if row["decision"] == "keep"} == {*order[-2:], *left[:18]}
    assert rows[order[-1]]["reason"] == "always kept, as asked"
    assert rows[left[0]]["reason"] == "among the 18 most memorized"
    refused = typed(*command, "--drop", "brokn")
    assert refused.code == 2 and "broken" in refused.err


def test_copies_and_leaks_are_dropped_by_the_inspection_and_by_a_folder(run, tmp_path):
    order = run.scores(("uid", "rank")).sort_by("rank")["uid"].to_pylist()
    column = {"uid": order[:3], "group": [0, 0, 0], "width": [9, 8, 7]}
    column |= {"height": [9, 8, 7], "size": [5, 5, 5]}
    pq.write_table(pa.table(column), tmp_path / "groups.parquet")
    leaks = {"uid": [order[4]], "other_uid": ["0" * 32], "leak": [True]}
    pq.write_table(pa.table(leaks), tmp_path / "pairs.parquet")
    command = ["select", "tiny", "--runs", run.path.parent, "--top", "5"]
    both = [*command, "--drop", "duplicates,leaks", "--copies", tmp_path, "--name", "mine"]
    assert typed(*both).code == 0
    rows = {row["uid"]: row for row in rows_of(run.path / "manifests" / "mine.parquet")}
    keep = {u for u, row in rows.items() if row["decision"] == "keep"}
    assert keep == {order[0], order[3], *order[5:8]}
    assert rows[order[1]]["reason"] == "dropped as duplicates"
    assert rows[order[4]]["reason"] == "dropped as leaks"
    assert typed(*command, "--drop", "duplicates,leaks", "--name", "own").code == 0
    rows = {row["uid"]: row for row in rows_of(run.path / "manifests" / "own.parquet")}
    inspected = pq.read_table(run.path / "inspect.parquet").to_pylist()
    sizes = Counter(
        row["duplicate_group"] for row in inspected if row["duplicate_group"] is not None
    )
    reasons = Counter(row["reason"] for row in rows.values())
    assert reasons["dropped as duplicates"] == sum(n - 1 for n in sizes.values())
    leaked = {row["uid"] for row in inspected if row["duplicate_split"] is not None}
    assert all(rows[uid]["decision"] == "drop" for uid in leaked)
    refused = typed(*command, "--copies", tmp_path)
    assert refused.code == 2 and "copies goes with drop" in refused.err
    refused = typed(*command, "--drop", "leaks", "--copies", tmp_path / "none")
    assert refused.code == 2 and "'curate copies SOURCE --out DIR'" in refused.err


def test_what_a_strategy_lacks_is_said(run, tiny_runs):
    select = ["select", "tiny", "--runs", tiny_runs, "--count", "5", "--strategy"]
    for arguments, text in (
        (["random-matched"], "match (a manifest)"),
        (["random-matched", "--match", "nothing"], "no manifest nothing"),
        (["k-center", "--space", "fold9"], "unknown space 'fold9'"),
        (["ccs", "--by", "el3n"], "Did you mean 'el2n'"),
        (["k-centre"], "Did you mean 'k-center'"),
    ):
        found = typed(*select, *arguments)
        assert found.code == 2 and text in found.err, found.err
    table = ["--scores", run.path / "scores.parquet", "--count", "5", "--out", tiny_runs]
    assert "embeddings" in typed("select", *table, "--strategy", "k-center").err


def test_a_table_is_selected_from_in_the_space_of_its_embeddings(tmp_path):
    rng = np.random.default_rng(0)
    uids = [f"u{i}" for i in range(30)]
    table = {"uid": uids, "memorization": rng.normal(size=30)}
    pq.write_table(pa.table(table), tmp_path / "s.parquet")
    points = pa.table({"uid": uids[::-1], "e": [[float(i), 1.0, i * i] for i in range(30)]})
    pq.write_table(points, tmp_path / "e.parquet")
    given = {"count": 4, "out": tmp_path, "space": str(tmp_path / "e.parquet")}
    one = curate.select_table(tmp_path / "s.parquet", strategy="k-center", **given)
    assert len(kept(one.path)) == 4
    like = {"strategy": "random-matched", "match": one.path, **given}
    assert len(kept(curate.select_table(tmp_path / "s.parquet", **like).path)) == 4
