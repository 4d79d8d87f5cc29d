"""Agree: rankings of runs and tables, compared from the command line."""

import json

import pyarrow.parquet as pq
import pytest

from tests.command import TINY, curate

pytestmark = pytest.mark.numeric


def test_runs_and_files_are_compared_from_the_command_line(tiny_runs, tmp_path):
    table = pq.read_table(tiny_runs / "tiny" / "scores.parquet")
    rows = zip(table["uid"].to_pylist(), table["memorization"].to_pylist(), strict=True)
    other = tmp_path / "other.csv"
    other.write_text("uid,loss\n" + "".join(f"{uid},{-m}\n" for uid, m in rows))
    result = curate("agree", "tiny", "tiny", other, "--by", "loss", "--top", "10,20", "--runs",
                    tiny_runs, "--json")  # fmt: skip
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    first, second, _ = facts["pairs"]
    assert first["n"] == 80 and first["kendall"]["value"] == pytest.approx(1)
    assert (first["shared_groups"], first["groups"]) == (2, 2)
    assert (second["shared_groups"], second["groups"]) == (None, None)
    assert second["spearman"]["value"] == pytest.approx(-1)
    assert [t["n"] for t in second["tops"]] == [10, 20]
    assert second["tops"][0]["overlap"] == 0 and second["disattenuated"] is None

    words = curate("agree", "tiny", "tiny", other, "--by", "loss", "--runs", tiny_runs)
    assert "Kendall tau-b +1.000" in words.out and "Kendall tau-b of every two:" in words.out
    assert "top 8: 100.0% shared" in words.out
    assert "2 of 2 sets of images that encoders were trained on are the same" in words.out


def test_plans_of_other_seeds_share_no_groups(tmp_path):
    for seed in ("0", "1"):
        more = ["--set", f"plan.seed={seed}", "--name", f"seed-{seed}", "--device", "cpu"]
        made = curate("score", TINY, "--runs", tmp_path, *more)
        assert made.code == 0, made.err
    result = curate("agree", "seed-0", "seed-1", "--runs", tmp_path, "--json")
    (pair,) = json.loads(result.out)["pairs"]
    assert (pair["shared_groups"], pair["groups"]) == (0, 2)


@pytest.mark.parametrize(("given", "code", "text"), [
    (("tiny",), 2, "at least two"),
    (("tiny", "tinny"), 2, "Did you mean 'tiny'"),
    (("tiny", "tiny", "--top", "x"), 2, "--top x"),
    (("tiny", "tiny", "--top", "81"), 2, "top 81"),
    (("tiny", "none.parquet"), 3, "none.parquet"),
])  # fmt: skip
def test_what_the_command_cannot_compare_is_told(tiny_made, given, code, text):
    result = curate("agree", *given, "--runs", tiny_made[1])
    assert result.code == code and text in result.err and result.out == ""
