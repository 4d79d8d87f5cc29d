import base64
import hashlib
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from curate import reports
from curate.errors import DataError
from curate.reports.material import gather
from curate.reports.page import render
from tests.reports.made_run import make_run

VOID = {"meta", "img", "br", "hr", "link", "input"}
SCRIPT = "<script>alert(1)</script>"
HOSTILE = (
    SCRIPT,
    "\"'><img src=x onerror=alert(1)>",
    "a\nb",
    "\u202egnp.evil",
    "x" * 300,
    "{{7*7}}{% raw %}",
    "$\\frac{1}{2}$",
    "&lt;b&gt;",
    "]]></style>",
    "javascript:alert(1)",
)


class Page(HTMLParser):
    """What a browser would see: elements, their attributes, and the text by section."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.html, self.elements, self.stack, self.texts = html, [], [], {}
        self.section = ""
        self.feed(html)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "section":
            self.section = dict(attrs)["id"]
        # Cells stand apart on the page, too.
        self.handle_data(" " if tag in ("td", "th", "dt", "dd") else "")
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.texts[self.section] = self.texts.get(self.section, "") + data

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, section):
        return " ".join(self.texts.get(section, "").replace("\u00a0", " ").split())


def page_of(path):
    return Page(render(gather(path)))


def assert_contained(page):
    """Assert that a page runs its own script alone, loads nothing, and forbids all else."""
    tags = {tag for tag, _ in page.elements}
    assert not tags & {
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "foreignobject",
    }
    assert len(page.of("style")) == 1 and page.of("script") == [{}]
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert name != "style" and not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "action", "srcset", "data"):
                allowed = ("data:image/png;base64,", "data:image/jpeg;base64,", "#")
                assert value.startswith(allowed), (tag, value[:80])
    assert "@import" not in page.html and "url(http" not in page.html
    (policy,) = (m["content"] for m in page.of("meta") if "http-equiv" in m)
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest(page, 'style')}'; "
        f"script-src 'sha256-{digest(page, 'script')}'; base-uri 'none'; form-action 'none'"
    )


def digest(page, tag):
    (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page.html, re.DOTALL)
    return base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()


@pytest.mark.parametrize("kind", ["pair", "halves", "folds", "subsets"])
def test_every_plan_has_its_page(runs, kind):
    page = page_of(runs[kind])
    assert_contained(page)
    links = [a["href"][1:] for a in page.of("a")]
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids)) and set(links) <= set(ids)
    said = "The ranking" if kind == "folds" else "The group, not the ranking"
    assert said in page.text("verdict")
    assert "No selection has been made from this run yet." in page.text("selections")
    assert "Nothing was retrained yet" in page.text("comparison")
    # Two galleries of 25, 14 outliers, 3 + 2 near-duplicates; an image, 8 views and a neighbour.
    images = page.of("img")
    assert len(images) == 79 and all(image["alt"] for image in images)
    assert len(page.of("figure")) == 5
    assert not any(re.search(r"\b(None|nan)\b", page.text(section)) for section in ids)


def test_one_file_is_written_and_says_where(run):
    before = {p for p in run.rglob("*") if p.is_file()}
    out = reports.build(run)
    assert out == run / "report.html"
    assert {p for p in run.rglob("*") if p.is_file()} - before == {out}
    assert out.read_text(encoding="utf-8") == render(gather(run))


def test_that_scores_show_nothing_is_said_before_anything_else(tmp_path):
    page = page_of(make_run(tmp_path / "run", kind="pair", effect=0.0))
    assert page.text("verdict").startswith(
        "Verdict What do the scores show? ▲ Nothing Nothing: the scores do not tell"
    )
    assert "Do not select by these scores." in page.text("next")


def test_most_and_least_memorized_stand_with_scores_and_errors(full_run):
    page = page_of(full_run)
    for section, first in (("most", "rank 1 class"), ("least", "rank 270 class")):
        text = page.text(section)
        assert len(re.findall(r"score −?0\.\d{3} ± 0\.\d{3} rank", text)) == 25
        assert first in text and text.count("uid ") == 25


def test_selections_comparison_and_probe_are_shown_with_their_numbers(full_run):
    page = page_of(full_run)
    assert_contained(page)
    assert len(page.of("figure")) == 6
    assert "Yes, it makes a difference" in page.text("verdict")
    assert "all but the 50 most memorized of 270 scored 220 (81.5 %) 50" in page.text("selections")
    text = page.text("comparison")
    assert re.search(r"−2\.20 points −\d+\.\d\d of 1,000 −\d\.\d\d to −\d\.\d\d points 3", text)
    assert "For this selection: 1 of 2 intervals exclude 0; about 0.1 would by chance." in text
    assert "encoders/fold0 the run’s own labels linear probe 91.25 % 80" in text


def test_a_run_without_inspection_has_no_such_section_and_says_how_to_get_it(tmp_path):
    path = make_run(tmp_path / "run", n=80, inspect=False)
    page = page_of(path)
    assert not {"#outliers", "#duplicates"} & {a["href"] for a in page.of("a")}
    assert "outliers" not in page.texts and f"curate inspect {path}" in page.text("next")


def test_hostile_names_are_text_and_nothing_else(tmp_path):
    name = "<img src=x onerror=alert(1)>"
    path = make_run(tmp_path / name, classes=HOSTILE, hostile=f"{SCRIPT}'\"\n\u202e&", n=200)
    page = page_of(path)
    assert_contained(page)
    assert SCRIPT not in page.html
    assert name not in page.html and page.text("").count(name) == 2  # title and heading
    shown = page.text("most") + page.text("least")
    for label in (SCRIPT, HOSTILE[1], "a\\u000ab", "\\u202egnp.evil", "{{7*7}}{% raw %}",
                  "$\\frac{1}{2}$", "&lt;b&gt;", "javascript:alert(1)"):  # fmt: skip
        assert f"class {label} uid" in shown, label
    assert "x" * 61 not in shown
    assert not {"\u202e", "\x00"} & {*page.html}
    assert "\\u202e&.png" in shown


def test_colour_and_unlabelled_images_of_a_larger_size_are_shown(tmp_path):
    page = page_of(make_run(tmp_path / "run", n=80, classes=(), colour=True, scale=12))
    kinds = {i["alt"].partition(" ")[0]: i["src"].partition(";")[0] for i in page.of("img")}
    # A view has the side of the canvas.
    assert kinds == {"image": "data:image/jpeg", "view": "data:image/png"}
    assert "class none" in page.text("most")
    assert "3 channels" in page.text("run")


def test_a_page_stays_small(full_run):
    assert len(render(gather(full_run)).encode()) < 400_000


def test_the_same_run_is_the_same_page_in_any_process(full_run):
    code = (
        "import hashlib, pathlib, sys; from curate.reports.material import gather; "
        "from curate.reports.page import render; "
        "page = render(gather(pathlib.Path(sys.argv[1]))); "
        "print(hashlib.sha256(page.encode()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    there = subprocess.run(
        [sys.executable, "-c", code, full_run],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    here = hashlib.sha256(render(gather(full_run)).encode()).hexdigest()
    assert there.stdout.strip() == here


def test_a_run_without_scores_leaves_no_page(run):
    (run / "scores.json").unlink()
    with pytest.raises(DataError, match="no scores yet"):
        reports.build(run)
    assert not (run / "report.html").exists()
