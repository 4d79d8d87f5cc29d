import re

import pytest

from curate.reports import tables
from curate.reports.material import gather
from curate.runtime.files import write_json
from tests.reports.made_run import add_selection, make_run

pytestmark = pytest.mark.numeric


def rows(table):
    return {row[0]: row[1:] for row in table[2]}


@pytest.mark.parametrize("kind", ["pair", "halves", "folds", "subsets"])
def test_every_table_is_rectangular_and_its_numbers_have_units(runs, kind):
    found = gather(runs[kind])
    for make in (tables.tests, tables.groups, tables.data, tables.times, tables.encoders,
                 tables.versions, tables.samples, tables.labels):  # fmt: skip
        caption, head, body, numeric = make(found)
        assert caption and body
        assert {len(row) for row in body} == {len(head)}
        assert numeric <= set(range(len(head)))
        assert all(isinstance(cell, str) for row in body for cell in row)


def test_group_tests_are_counted_as_memorization_predicts(runs):
    caption, _, body, _ = tables.tests(gather(runs["pair"]))
    assert [row[0] for row in body] == ["C>S", "C>E", "S>I", "E>I", "C>0", "I<0", "E>0", "S=0"]
    # The extra samples' mean is no prediction of memorization.
    held = [row[2].startswith(("holds", "not rejected")) for row in body if row[0] != "E>0"]
    assert caption == f"Group tests: {sum(held)} of 7 come out as memorization predicts"
    assert sum(held) >= 6


def test_selections_say_what_they_keep_and_how_sure_that_is(full_run):
    found = rows(tables.selections(gather(full_run)))
    assert found["drop-50"][:3] == [
        "all but the 50 most memorized of 270 scored", "220 (81.5\u00a0%)", "50"
    ]  # fmt: skip
    assert found["top-100"][:3] == [
        "the 100 most memorized of 270 scored", "100 (37.0\u00a0%)", "170"
    ]  # fmt: skip
    # Drawn by lot, 50 of 270 and 100 of 270 would be the share of those picked twice.
    for name, luck in (("drop-50", 19), ("top-100", 37)):
        share = re.fullmatch(rf"(\d+)\u00a0% \(luck: {luck}\u00a0%\)", found[name][3])
        assert luck < int(share.group(1)) < 100 and found[name][4] == "ranking"


def test_kept_samples_that_have_no_score_are_not_called_memorized(tmp_path):
    path = make_run(tmp_path / "pair", kind="pair")
    add_selection(path, "a", "top", keep=100)
    add_selection(path, "b", "top", keep=100, unscored=False)
    found = rows(tables.selections(gather(path)))
    assert found["a"][0] == "the 100 most memorized of 108 scored, and 189 not scored"
    assert found["b"][0] == "the 100 most memorized of 108 scored"


def test_a_run_without_selections_or_probes_has_no_such_table(runs):
    found = gather(runs["folds"])
    assert tables.selections(found) is None and tables.probes(found) is None


def test_probes_have_percentages_and_counts(full_run):
    assert tables.probes(gather(full_run))[2] == [
        ["encoders/fold0", "the run’s own labels", "linear probe", "91.25\u00a0%", "80"]
    ]


def test_what_was_run_is_told(runs):
    found = rows(tables.data(gather(runs["folds"])))
    assert found["source"] == ["digits, split train"]
    assert found["images, train"] == ["300 used, 0 rejected"]
    assert found["canvas"] == ["8 × 8 pixels, 1 channel"]
    assert found["scored / not scored"] == ["270 / 0 images"]
    assert found["device"] == ["cpu, 2 CPU cores"]
    assert found["command"] == ["curate run digits"]
    assert list(rows(tables.times(gather(runs["folds"])))) == ["train", "align", "shard", "score"]
    assert rows(tables.times(gather(runs["folds"])))["train"] == [
        "2\u00a0min 4\u00a0s",
        "92\u00a0%",
        # Twelve encoders, each on three quarters of 270 images, 50 times.
        f"{12 * 50 * 270 * 3 // 4:,}",
    ]


def test_selections_say_what_they_save_and_when_that_pays(full_run, runs):
    caption, head, body, _ = tables.savings(gather(full_run))
    # 12 encoders of 15.5 s each for 121,500 images; 135 s for shards, trainings and scores.
    assert caption.startswith("Time: the scores took 2\u00a0min 15\u00a0s; ")
    assert head[1] == "saved by a training of 50 epochs"
    assert [(row[0], row[1].value, row[2].value) for row in body] == [
        ("drop-50", pytest.approx(50 * 50 * 8 * 15.5 / 81_000), 36),
        ("top-100", pytest.approx(170 * 50 * 8 * 15.5 / 81_000), 11),
    ]
    assert tables.savings(gather(runs["folds"])) is None


def test_encoders_show_members_loss_and_time(runs):
    found = rows(tables.encoders(gather(runs["halves"])))
    assert {name: cells[:3] for name, cells in found.items()} == {
        "f": ["135", "1.25", "15.5\u00a0s"], "g": ["135", "1.25", "15.5\u00a0s"]
    }  # fmt: skip


def test_a_number_of_a_cell_is_the_number_it_shows(runs):
    found = gather(runs["folds"])
    _, head, body, _ = tables.samples(found)
    order = found.ranked()
    assert head[-3:] == ["class", "file", "uid"]
    assert [row[-2:] for row in body] == [
        [found.scores[name][row].as_py() for name in ("path", "uid")] for row in order.tolist()
    ]
    assert [row[0].value for row in body] == list(range(1, 271))
    assert [row[1].value for row in body] == found.numbers["memorization"][order].tolist()
    _, _, body, _ = tables.labels(found)
    label = found.scores["label"].to_numpy()
    means = {k: found.numbers["memorization"][label == k].mean() for k in range(10)}
    assert {int(row[0]): row[2].value for row in body} == pytest.approx(means)
    found = [row[2].value for row in body]
    assert found == sorted(found, reverse=True)


def test_many_samples_are_shown_by_both_ends_and_some_between(runs, monkeypatch):
    monkeypatch.setattr(tables, "SAMPLES", 30)
    caption, _, body, _ = tables.samples(gather(runs["folds"]))
    ranks = [int(row[0].value) for row in body]
    assert ranks[:10] == list(range(1, 11)) and ranks[-10:] == list(range(261, 271))
    assert ranks == sorted(set(ranks)) and len(ranks) == 30
    assert caption.startswith("30 of 270 scored images: the 10 most and the 10 least memorized")


def test_triage_and_what_goes_with_memorization_come_from_the_inspection(run):
    assert tables.triage(gather(run)) is None and tables.relations(gather(run)) is None
    relation = {"low": -0.1, "high": 0.2, "n": 108}
    facts = {
        "triage": {"counts": {"tail": 27, "typical": 81}, "rules": {"tail": "isolated"}},
        "relations": {"a": relation | {"spearman": 0.05}, "b": relation | {"spearman": -0.5}},
    }
    write_json(run / "inspect.json", facts)
    found = gather(run)
    assert rows(tables.triage(found)) == {
        "tail": ["27", "25.0\u00a0%", "isolated"], "typical": ["81", "75.0\u00a0%", ""]
    }  # fmt: skip
    assert tables.relations(found)[2] == [
        ["b", "−0.50", "−0.10 to 0.20", "108"], ["a", "0.05", "−0.10 to 0.20", "108"]
    ]  # fmt: skip
