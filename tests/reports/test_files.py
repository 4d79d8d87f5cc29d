import csv
import io
import json
import shutil
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from curate import reports
from curate.errors import UsageError
from curate.reports import files, words
from curate.reports.material import gather
from tests.command import curate

pytestmark = pytest.mark.numeric


def read(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_each_figure_and_table_is_a_file(full_run, tmp_path):
    out = reports.build(full_run, formats=("png", "svg", "csv"))
    assert out == full_run / "report" and not (full_run / "report.html").exists()
    made = {ending: {p.stem for p in out.glob(f"*.{ending}")} for ending in ("png", "svg", "csv")}
    drawn = {"distribution", "means", "align", "thresholds", "ranks"}
    (compared,) = made["png"] - drawn
    assert made["png"] == made["svg"] == drawn | {compared}
    assert {"tests", "groups", "labels", "samples", "selections", "probes"} <= made["csv"]
    assert {f"{compared}-differences", f"{compared}-arms"} <= made["csv"]
    for path in out.glob("*.png"):
        assert Image.open(path).info["dpi"] == pytest.approx((300, 300), abs=1)
    for path in out.glob("*.svg"):
        assert ET.parse(path).getroot().get("color") == "black"
    # Numbers are as they were measured, not as they are shown.
    found = gather(full_run)
    rows = read(out / "samples.csv")
    column = [float(row["score (l2 distance)"]) for row in rows]
    assert column == found.numbers["memorization"][found.ranked()].tolist()
    (drop, top) = read(out / "selections.csv")
    assert (drop["kept (images)"], top["kept (images)"]) == ("220", "100")
    (linear, _) = read(out / f"{compared}-differences.csv")
    assert float(linear["mean difference (percentage points)"]) == pytest.approx(-2.2)


def test_a_table_is_plain_text_in_a_csv():
    rows = [
        ["=1+1", words.percent(0.12345), "−1"],
        ["-x", words.Number("–", None), "–"],
    ]
    text = files.table_text(("caption", ["name", "share", "text"], rows, {1}))
    assert text == "name,share (%),text\n'=1+1,12.345,-1\n'-x,,\n"


def test_an_unknown_format_is_named(full_run):
    with pytest.raises(UsageError, match=r"unknown format of a report 'pdf'.*csv, html, png, svg"):
        reports.build(full_run, formats=("html", "pdf"))


def test_counts_are_whole_numbers():
    text = files.table_text(("c", ["n", "x"], [[words.count(1234), words.number(np.pi)]], {0, 1}))
    assert text == f"n,x\n1234,{np.pi!r}\n"


def test_the_command_writes_what_it_is_asked_for_and_compares_rankings(tiny_runs):
    shutil.copytree(tiny_runs / "tiny", tiny_runs / "other")
    page, folder = tiny_runs / "tiny" / "report.html", tiny_runs / "tiny" / "report"
    page.unlink()
    place = ("--runs", tiny_runs, "--json")
    made = curate("report", "tiny", "--format", "csv,svg", "--against", "other", *place)
    assert made.code == 0 and json.loads(made.out) == {"report": str(folder)}
    assert not page.exists() and not list(folder.glob("*.png"))
    (pair,) = read(folder / "agreements.csv")
    assert (
        pair["runs"] == "tiny and other" and float(pair["Kendall’s tau-b (95 % interval)"]) > 0.99
    )
    assert (folder / "agreement.svg").is_file()
    made = curate("report", "tiny", "--format", "html, png", *place)
    assert json.loads(made.out) == {"report": str(page), "files": str(folder)}
    assert "Agreement with other runs" not in page.read_text(encoding="utf-8")
    assert curate("report", "tiny", "--format", "pdf", *place).code == 2
    assert curate("report", "tiny", "--against", "nothing", *place).code == 2
