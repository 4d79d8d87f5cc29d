"""The report and the view in a real browser: what a person does there, and what they see."""

import itertools
import json
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import reports
from curate.reports.viewer.server import View
from curate.runs import units
from curate.runs.recipe import build
from curate.runs.run import Run
from curate.runtime.files import read_json, write_json, write_table
from curate.selection.manifest import Manifest
from curate.stages.inspect import NEIGHBOUR_SCHEMA
from tests.chromium import BINARY, Browser
from tests.reports.made_run import add_comparison, add_selection, make_run

pytestmark = pytest.mark.skipif(BINARY is None, reason="no Chromium on this machine")

HOSTILE = (
    "<script>window.hit = 1</script>",
    "\"'><img src=x onerror='window.hit = 1'>",
    "a\nb",
    "\u202egnp.evil",
    "javascript:window.hit=1",
    *"56789",
)
SHOWN = ("a\\u000ab", "\\u202egnp.evil", HOSTILE[0], HOSTILE[1], HOSTILE[4])
"""What is to be read of some of them."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    made = Browser(tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture
def page(browser):
    """The browser, whose page must neither complain nor run what a name says."""
    browser.errors.clear()
    browser.requests.clear()
    yield browser
    errors, hit = list(browser.errors), browser.js("window.hit")
    # What this page still asks for is nothing to the next test.
    browser.open("about:blank")
    assert (errors, hit) == ([], None)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run of hostile labels and paths, with a selection and a comparison; not to be changed."""
    path = make_run(
        tmp_path_factory.mktemp("hostile") / "<b onclick=alert(1)>run",
        classes=HOSTILE,
        hostile="<script>window.hit = 1</script>'\"\n\u202e&",
        n=180,
        planned=1.0,
    )
    add_selection(path, "top-100", "top", keep=100)
    add_comparison(path, seeds=3)
    reports.build(path)
    uids = pq.read_table(path / "inspect.parquet")["uid"]
    rows = np.arange(len(uids), dtype=np.int32)
    near = np.stack([np.roll(rows, 1), np.roll(rows, 2)], axis=1).tolist()
    table = pa.table([uids, near, [[0.25, 0.5]] * len(uids)], schema=NEIGHBOUR_SCHEMA)
    write_table(path / "inspect_neighbours.parquet", table)
    facts = read_json(path / "run.json")
    recipe = build(facts["recipe"], {}, where="the run").resolved()
    write_json(path / "run.json", {**facts, "recipe": recipe})
    run = Run.open(path)
    units.score(run).complete([path / "scores.parquet", path / "scores.json"])
    units.inspect(run, None).complete([path / "inspect.parquet"])
    return path


@pytest.fixture
def served(hostile):
    """The address of a view of it, without marks."""
    (hostile / "marks.jsonl").unlink(missing_ok=True)
    server = View(Run.open(hostile), 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    # Before ``page`` in every test, so that it goes after it: a browser complains of a server lost.
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def column(page, table, number):
    """Return the texts of a column of the rows that are shown."""
    return page.js(
        f"Array.from(document.querySelectorAll('{table} tbody tr')).filter(r => !r.hidden)"
        f".map(r => r.cells[{number}].textContent)"
    )


# The report


def test_a_report_asks_for_nothing_and_shows_names_as_text(page, hostile):
    page.open((hostile / "report.html").as_uri())
    assert [url for url in page.requests if not url.startswith("data:")] == [
        (hostile / "report.html").as_uri()
    ]
    text = page.js("document.body.textContent")
    assert all(name in text for name in SHOWN)
    assert page.js("document.querySelectorAll('script').length") == 1
    assert page.js("document.querySelectorAll('b, iframe, form').length") == 0
    assert page.js("Array.from(document.images).every(i => i.naturalWidth > 0 && i.alt)")
    levels = page.js("Array.from(document.querySelectorAll('h1,h2,h3'), h => Number(h.tagName[1]))")
    assert levels[0] == 1 and all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_a_table_sorts_by_number_and_by_text_and_filters(page, hostile):
    page.open((hostile / "report.html").as_uri())
    page.js("document.querySelectorAll('#samples .tall table')[1].id = 'mine'")
    heads = page.js("Array.from(document.querySelectorAll('#mine thead th'), h => h.textContent)")
    score = heads.index("score (l2 distance)") + 1
    before = column(page, "#mine", score - 1)

    def as_number(text):
        return float(text.replace("−", "-"))

    page.click(f"#mine thead th:nth-child({score}) button")
    assert page.js(f"document.querySelector('#mine th:nth-child({score})').ariaSort") == "ascending"
    got = [as_number(text) for text in column(page, "#mine", score - 1)]
    assert got == sorted(got) and sorted(before) == sorted(column(page, "#mine", score - 1))
    # From the keyboard, the other way round.
    page.js(f"document.querySelector('#mine th:nth-child({score}) button').focus()")
    page.key("Enter")
    assert (
        page.js(f"document.querySelector('#mine th:nth-child({score})').ariaSort") == "descending"
    )
    assert [as_number(text) for text in column(page, "#mine", score - 1)] == got[::-1]
    label = heads.index("class") + 1
    page.click(f"#mine thead th:nth-child({label}) button")
    assert page.js("document.querySelectorAll('#mine th[aria-sort]').length") == 1
    labels = column(page, "#mine", label - 1)
    assert labels == sorted(labels, key=labels.index) and len(set(labels)) == 10
    page.js("document.querySelector('#mine').closest('.table').querySelector('input').id = 'f'")
    page.type("#f", "WINDOW.hit javascript")
    shown = column(page, "#mine", label - 1)
    assert shown and set(shown) == {HOSTILE[4]} and len(shown) == labels.count(HOSTILE[4])
    assert page.js("document.querySelector('#f').labels[0].textContent").startswith("Filter rows")
    said = page.js(
        "document.querySelector('#f').labels[0].querySelector('[role=status]').innerText"
    )
    assert said == f"{len(shown)} of 180 rows"


def test_without_script_a_report_is_whole(page, hostile):
    page.send("Emulation.setScriptExecutionDisabled", value=True)
    page.open((hostile / "report.html").as_uri())
    page.send("Emulation.setScriptExecutionDisabled", value=False)
    assert page.js("document.querySelectorAll('thead button, input').length") == 0
    assert page.js("document.querySelectorAll('#samples .tall tbody')[1].rows.length") == 180


CONTRAST = """(() => {
  const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map(v => {
      v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const behind = (e) => { for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$/.test(c)) return c; } return 'rgb(255, 255, 255)'; };
  let worst = [21, ''];
  for (const e of document.querySelectorAll('body *')) {
    if (!e.childNodes.length || e.closest('svg, script, [hidden], dialog')) continue;
    if (!Array.from(e.childNodes).some(n => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < worst[0]) worst = [ratio, e.outerHTML.slice(0, 80)];
  }
  return worst; })()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("what", ["report", "view"])
def test_text_is_legible_and_the_page_fits_a_phone_and_a_wall(hostile, served, page, what, scheme):
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.send("Emulation.setEmulatedMedia", features=[feature])
    page.open((hostile / "report.html").as_uri() if what == "report" else served.url)
    if what == "view":
        page.wait("document.querySelectorAll('#samples li').length === 60")
    ratio, where = page.js(CONTRAST)
    assert ratio >= 4.5, where
    for width in (400, 1200, 2000):
        page.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1,
            mobile=False,
        )  # fmt: skip
        assert page.js("document.documentElement.scrollWidth") <= width
    page.send("Emulation.clearDeviceMetricsOverride")
    page.send("Emulation.setEmulatedMedia", features=[])


# The view


def ready(page, count):
    page.wait(f"document.querySelector('#count').textContent === '{count} samples'")


def uids(page):
    return page.js("Array.from(document.querySelectorAll('#samples li'), c => c.dataset.uid)")


def test_open_filter_mark_save_reload(served, page):
    rows = pq.read_table(served.run.path / "scores.parquet").sort_by("rank").to_pylist()
    ranked = [row["uid"] for row in rows]
    page.open(served.url)
    ready(page, 180)
    assert uids(page) == ranked[:60]
    # Filter.
    page.type("[name=last]", "20")
    ready(page, 20)
    assert uids(page) == ranked[:20]
    # Mark one with the mouse and the next ones from the keyboard.
    page.click("#samples li:nth-child(1) button.drop")
    page.wait("document.querySelector('#marks').textContent === "
              "'Marked: 0 keep, 1 drop, 0 unsure'")  # fmt: skip
    page.js("document.querySelector('#samples li:nth-child(1)').focus()")
    for key in ("ArrowRight", "u", "ArrowRight", "k"):
        page.key(key)
    page.wait("document.querySelector('#marks').textContent === "
              "'Marked: 1 keep, 1 drop, 1 unsure'")  # fmt: skip
    want = dict(zip(ranked[:3], ("drop", "unsure", "keep"), strict=True))
    assert served.marks.read() == want
    # Reload: filter and marks are there again.
    page.reload()
    ready(page, 20)
    shown = page.js("Array.from(document.querySelectorAll('#samples li')).slice(0, 4)"
                    ".map(c => c.className)")  # fmt: skip
    assert shown == ["drop", "unsure", "keep", ""]
    pressed = page.js("Array.from(document.querySelectorAll('button[aria-pressed=true]'),"
                      " b => b.textContent)")  # fmt: skip
    assert pressed == ["drop", "unsure", "keep"]
    page.choose("[name=mark]", "unsure")
    ready(page, 1)
    assert uids(page) == ranked[1:2]
    # Save.
    page.type("#save [name=name]", "looked")
    page.choose("[name=base]", "top-100")
    page.click("#save button")
    page.wait("document.querySelector('#said').textContent.startsWith('Saved ')")
    made = Manifest.read(served.run.path / "manifests" / "looked.parquet")
    found = {row["uid"]: row for row in made.table.to_pylist()}
    assert [found[uid]["reason"] for uid in ranked[:3]] == [
        "dropped by hand", "unsure by hand; among the 100 most memorized", "kept by hand"
    ]  # fmt: skip
    assert sum(row["decision"] == "keep" for row in found.values()) == 99
    # What was saved can be filtered by.
    page.click("#filters [type=reset]")
    ready(page, 180)
    page.choose("[name=manifest]", "looked")
    page.choose("[name=decision]", "keep")
    ready(page, 99)
    home = served.url[: served.url.index("/", 7)]
    assert all(url.startswith((f"{home}/", "data:")) for url in page.requests)


def test_hostile_names_are_text_in_the_view(served, page):
    page.open(served.url)
    ready(page, 180)
    page.wait("Array.from(document.querySelectorAll('#samples img')).slice(0, 6)"
              ".every(i => i.naturalWidth === 8)")  # fmt: skip
    assert page.js("document.querySelector('h1').textContent") == "<b onclick=alert(1)>run"
    text = page.js("document.querySelector('main').textContent")
    options = page.js("Array.from(document.querySelector('[name=label]').options, o => o.text)")
    assert all(name in options for name in SHOWN)
    assert "<script>window.hit = 1</script>'\"\\u000a\\u202e&.png" in text
    assert page.js("document.querySelectorAll('main script, main b, main iframe').length") == 0
    assert page.js("Array.from(document.querySelectorAll('dd')).every("
                   "d => d.children.length === 1 && d.firstChild.tagName === 'BDI')")  # fmt: skip


def test_an_image_is_enlarged_and_its_place_told(served, page):
    page.open(served.url)
    ready(page, 180)
    page.click("#samples li:nth-child(1) img")
    page.wait("document.querySelector('dialog').open")
    page.wait("document.querySelector('#large-image').naturalWidth === 8")
    said = page.js("document.querySelector('#large-facts').innerText")
    assert "rank 1 " in " ".join(said.split()) and "l2 distance" in said
    page.click("dialog form button")
    assert not page.js("document.querySelector('dialog').open")


def test_an_image_leads_to_its_neighbours(served, page):
    names = pq.read_table(served.run.path / "inspect.parquet")["uid"].to_pylist()
    near = pq.read_table(served.run.path / "inspect_neighbours.parquet").to_pylist()
    page.open(served.url)
    ready(page, 180)
    page.click("#samples li:nth-child(1) img")
    page.wait("document.querySelectorAll('#near li').length === 2")
    row = next(row for row in near if row["uid"] == uids(page)[0])
    second = names[row["neighbours"][1]]
    page.wait("Array.from(document.querySelectorAll('#near img')).every(i => i.naturalWidth === 8)")
    said = page.js("document.querySelector('#near').innerText")
    assert "distance 0.250" in " ".join(said.split())
    page.click("#near li:nth-child(2) button")
    page.wait(f"document.querySelector('#near').dataset.of === '{second}'")
    assert second in page.js("document.querySelector('#large-facts').innerText")
    page.wait("document.querySelectorAll('#near li').length === 2")
    page.click("dialog form button")
    assert not page.js("document.querySelector('dialog').open")


def test_the_next_page_shows_other_samples(served, page):
    page.open(served.url)
    ready(page, 180)
    first = uids(page)
    page.click("#next")
    page.wait("document.querySelector('#place').textContent === 'page 2 of 3'")
    assert not set(first) & set(uids(page)) and len(uids(page)) == 60
    page.click("#previous")
    page.wait("document.querySelector('#place').textContent === 'page 1 of 3'")
    assert uids(page) == first


def test_what_went_wrong_is_said_on_the_page(served, page):
    page.open(served.url)
    ready(page, 180)
    page.type("#save [name=name]", "top-100")
    page.click("#save button")
    page.wait("document.querySelector('#said').className === 'bad'")
    said = page.js("document.querySelector('#said').textContent")
    assert said == "there is a manifest top-100 that was not made by hand; name another."
    assert json.loads(page.errors.pop())["text"].startswith("Failed to load resource")


def test_the_button_closes_the_view(page, hostile):
    server = View(Run.open(hostile), 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    page.open(f"{server.url}?last=2")
    ready(page, 2)
    page.wait("Array.from(document.querySelectorAll('#samples img')).every(i => i.complete)")
    page.click("#close")
    thread.join(timeout=60)
    assert not thread.is_alive()
    server.server_close()
    page.wait("document.querySelector('#said').textContent.startsWith('Closed.')")
