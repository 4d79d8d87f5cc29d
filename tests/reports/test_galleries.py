import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.inspection.neighbours import INSPECT_SCHEMA
from curate.reports.galleries import Cards, galleries
from curate.reports.material import gather
from curate.reports.thumbnails import Thumbnail
from curate.runtime.files import write_table
from tests.reports.made_run import make_run

pytestmark = pytest.mark.numeric


def facts(sample):
    return dict(sample["facts"])


def test_the_25_most_and_least_memorized_are_shown_with_score_error_and_rank(runs):
    found = gather(runs["folds"])
    table = pq.read_table(runs["folds"] / "scores.parquet").sort_by("rank").to_pylist()
    made = galleries(found)
    for which, rows in (("most", table[:25]), ("least", table[:-26:-1])):
        samples = made[which]["samples"]
        assert [s["uid"] for s in samples] == [row["uid"] for row in rows]
        assert [facts(s)["rank"] for s in samples] == [str(row["rank"]) for row in rows]
        assert [facts(s)["score"] for s in samples] == [
            f"{row['memorization']:.3f} ± {row['se']:.3f}".replace("-", "−") for row in rows
        ]
        assert [s["label"] for s in samples] == [str(row["label"]) for row in rows]
    assert made["most"]["note"].startswith("The 25 highest of 270 scored images: ")


def test_scores_below_zero_are_not_explained_by_memorization(runs):
    found = gather(runs["folds"])
    assert "mostly noise" in galleries(found)["least"]["note"]
    found.numbers["memorization"] = np.abs(found.numbers["memorization"]) + 0.01
    assert "mostly noise" not in galleries(found)["least"]["note"]


def test_where_scores_show_nothing_the_order_has_no_meaning(tmp_path):
    found = gather(make_run(tmp_path / "run", kind="halves", effect=0.0))
    assert "do not read meaning into this order" in galleries(found)["most"]["note"]


def test_without_inspection_there_is_nothing_of_neighbours(tmp_path):
    made = galleries(gather(make_run(tmp_path / "run", n=80, inspect=False)))
    assert made["outliers"] is None and made["duplicates"] is None


def test_fewer_samples_than_places_are_all_shown(tmp_path):
    made = galleries(gather(make_run(tmp_path / "run", n=20)))
    assert len(made["most"]["samples"]) == len(made["least"]["samples"]) == 18
    assert made["most"]["note"].startswith("The 18 highest of 18 scored images: ")


def test_labels_are_named_where_they_have_names(tmp_path):
    names = tuple(f"digit {k}" for k in range(10))
    samples = galleries(gather(make_run(tmp_path / "a", n=80, classes=names)))["most"]["samples"]
    assert {s["label"] for s in samples} <= {*names}
    samples = galleries(gather(make_run(tmp_path / "b", n=80, classes=())))["most"]["samples"]
    assert {s["label"] for s in samples} == {"none"}


def inspected(run, **columns):
    table = pq.read_table(run / "inspect.parquet")
    for name, values in columns.items():
        array = pa.array(values, INSPECT_SCHEMA.field(name).type)
        table = table.set_column(table.column_names.index(name), name, array)
    write_table(run / "inspect.parquet", table)
    return table["uid"].to_pylist(), galleries(gather(run))


def test_outliers_come_farthest_first_and_null_ones_not_at_all(run):
    score = np.linspace(0.1, 1.9, 108)
    uids, made = inspected(run, outlier_score=[*score[:-1], None])
    shown = made["outliers"]["samples"]
    assert [s["uid"] for s in shown] == uids[-2:-16:-1]
    assert facts(shown[0])["outlier"] == f"{score[-2]:.3f}"
    assert "in the pooled, centred space of encoder fold0" in made["outliers"]["note"]


@pytest.mark.parametrize(
    ("sign", "said"), [(1, "go strongly together"), (-1, "go strongly against each other")]
)
def test_it_is_said_how_outliers_and_memorization_go_together(run, sign, said):
    found = gather(run)
    _, made = inspected(run, outlier_score=1 + sign * found.numbers["memorization"])
    assert f"Outliers and memorization {said} (Spearman" in made["outliers"]["note"]


def test_near_duplicates_are_grouped_counted_and_cut_to_what_fits(run):
    groups = [0] * 8 + [k for k in range(1, 20) for _ in range(2)]
    groups += [None] * (108 - len(groups))
    uids, made = inspected(run, duplicate_group=groups)
    shown = made["duplicates"]["groups"]
    assert [len(group["samples"]) for group in shown] == [6] + 11 * [2]
    assert [group["more"] for group in shown] == [2] + 11 * [0]
    assert [s["uid"] for s in shown[0]["samples"]] == sorted(uids[:8])[:6]
    assert shown[0]["title"].startswith("8 images that are nearly equal")
    note = made["duplicates"]["note"]
    assert note.startswith("46 images (42.6\u00a0%) in 20 groups; ")
    assert note.endswith("Shown: the 12 largest groups.")


def test_no_duplicates_are_said_in_a_sentence(run):
    _, made = inspected(run, duplicate_group=[None] * 108)
    assert made["duplicates"]["groups"] == []
    assert made["duplicates"]["note"].startswith("No two images have a cosine similarity of 0.98")


def test_copies_of_one_file_are_called_so(tmp_path):
    found = gather(make_run(tmp_path / "run", n=60))
    uid = "ab" * 16
    images = {name: Thumbnail("data:,", "a.png", True) for name in (uid, f"{uid}-1")}
    group = Cards(found, images, {}).group([uid, f"{uid}-1"])
    assert group["title"] == "2 copies of one file"
    assert [facts(s)["score"] for s in group["samples"]] == ["not scored", "not scored"]


def triaged(run, classes, reasons):
    table = pq.read_table(run / "inspect.parquet")
    rest = [None] * (table.num_rows - len(classes))
    for name, values, kind in (
        ("triage", classes + ["typical"] * len(rest), pa.string()),
        ("triage_reason", reasons + rest, pa.string()),
        ("label_vote", [7] * len(classes) + rest, pa.int64()),
    ):
        table = table.append_column(name, pa.array(values, kind))
    write_table(run / "inspect.parquet", table)
    return table["uid"].to_pylist(), galleries(gather(run))


def test_the_tail_and_the_junk_are_shown_most_memorized_first(run):
    before = galleries(gather(run))
    assert before["tail"] is None and before["junk"] is None
    classes = ["tail"] * 20 + ["broken"] * 2
    uids, made = triaged(run, classes, [None] * 20 + ["blank", "label"])
    tail, junk = made["tail"]["samples"], made["junk"]["samples"]
    ranks = [int(facts(s)["rank"]) for s in tail]
    assert len(tail) == 14 and ranks == sorted(ranks) and {s["uid"] for s in tail} < {*uids[:20]}
    assert made["tail"]["note"].endswith("Shown: the 14 most memorized of them.")
    assert {s["uid"]: facts(s)["flaw"] for s in junk} == {uids[20]: "blank", uids[21]: "label"}
    assert {facts(s).get("neighbours say") for s in junk} == {None, "7"}
    assert made["junk"]["note"] == "2 images (1.9\u00a0%) are broken."
