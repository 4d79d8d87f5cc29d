"""Report: one page, or files, and rankings that are compared on the way."""

import pytest

import curate
from curate.errors import UsageError
from curate.runs.run import Run


@pytest.fixture
def run(tiny_runs):
    return Run.open(tiny_runs / "tiny")


def test_a_page_is_written_by_default_and_files_where_they_are_asked_for(run):
    (run.path / "report.html").unlink()
    assert curate.report(run) == run.path / "report.html"
    assert (run.path / "report.html").read_text(encoding="utf-8").startswith("<!")
    assert curate.report(run, formats=["csv"]) == run.path / "report"
    assert {path.suffix for path in (run.path / "report").iterdir()} == {".csv"}


def test_other_rankings_are_compared_in_the_page(run, tmp_path):
    alone = curate.report(run).read_text(encoding="utf-8")
    other = tmp_path / "other.parquet"
    other.write_bytes((run.path / "scores.parquet").read_bytes())
    page = curate.report(run, against=[other], runs=run.path.parent).read_text(encoding="utf-8")
    assert "other.parquet" in page and "other.parquet" not in alone


def test_an_unknown_format_is_refused_before_anything_is_written(run):
    before = (run.path / "report.html").read_bytes()
    with pytest.raises(UsageError, match="pgn"):
        curate.report(run, formats=["pgn"])
    assert (run.path / "report.html").read_bytes() == before
