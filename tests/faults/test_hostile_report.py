"""Names that try to be HTML: the report shows them as text, and asks nothing of any network."""

import base64
import hashlib
import html.parser
import re

import pyarrow.parquet as pq
import pytest
import yaml

from tests.faults.line import ALONE, TINY
from tests.rendered import mixed

CLASSES = [
    "<script>alert(1)<",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7*7 }}{% raw %}",
    "&lt;b&gt;&amp;",
    "a\nb\r\tc",
    "\u202egpj.exe",
    "\u2066x\u2069",
    "javascript:alert(1)",
    "]]>--><!--",
    "http:__evil.example_x.png",
    "\x1b[31mred",
    "\ufeff\u200b",
    "é" * 100,
]
FILES = ["<script src=__evil.example>.jpg", "\"'><iframe>.jpg", "x\u202egpj.jpg", "&lt;＜b＞.jpg"]
LOADING = re.compile(r"url\(|@import|https?:|//[a-z]", re.IGNORECASE)


class Page(html.parser.HTMLParser):
    """What a browser would make of a page, as far as it matters here."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.policy = set(), [], [], None
        self.style, self.scripts = [], []
        self._inside = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._inside = tag
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        given = dict(attrs)
        if tag == "meta" and given.get("http-equiv", "").lower() == "content-security-policy":
            self.policy = given["content"]

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        inside = {"style": self.style, "script": self.scripts}
        inside.get(self._inside, self.text).append(data)


@pytest.mark.parametrize("where", ["classes", "run"])
def test_hostile_names_are_only_text(where, zygotes, faults, place):
    for i, (_, data) in enumerate(mixed(45)):
        folder = place / "images" / CLASSES[i % len(CLASSES)]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}-{FILES[i % len(FILES)]}").write_bytes(data)
    recipe = yaml.safe_load(TINY.read_text())
    recipe["data"] = {"source": "folder:images", "size": 8, "channels": 1}
    recipe["compare"] = {"remove": [5], "seeds": 1}
    if where == "run":
        recipe["description"] = " ".join(CLASSES)
    (place / "r.yaml").write_text(yaml.safe_dump(recipe))
    ended = zygotes.type(place, "run", "./r.yaml", *ALONE)
    try:
        assert ended.code == 0, ended
        judge((place / "runs/tiny/report.html").read_text(encoding="utf-8"))
        assert "\x1b" not in ended.out + ended.err and "\u202e" not in ended.out + ended.err
        index = pq.read_table(place / "runs/tiny/shards/index.parquet")
        found = sorted(index["path"].to_pylist())
        there = (p for p in (place / "images").rglob("*") if p.is_file())
        assert found == sorted(p.relative_to(place / "images").as_posix() for p in there)
    except AssertionError as error:
        faults.undetected("report", f"{where}: {error}")
    else:
        faults.detected("report", len(CLASSES) + len(FILES))


def judge(text):
    """Assert that a page is text and pictures, and nothing else."""
    page = Page(text)
    directives = dict(part.split(maxsplit=1) for part in page.policy.split("; "))
    assert directives["default-src"] == "'none'" and directives["img-src"] == "data:"
    assert directives["base-uri"] == directives["form-action"] == "'none'"
    script = "".join(page.scripts)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert directives["script-src"] == f"'sha256-{digest}'" and "unsafe" not in page.policy
    assert not page.tags & {"iframe", "object", "embed", "link", "base", "form"}
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href", "action", "data", "srcset", "poster", "xlink:href"):
            assert value.startswith(("data:image/", "#")), (tag, name, value[:80])
        if name == "style":
            assert not LOADING.search(value), value
    assert not LOADING.search("".join(page.style))
    shown = " ".join("".join(page.text).split())
    assert "<script>alert(1)<" in shown and "{{ 7*7 }}" in shown
    # What would turn the text around it is spelled out or kept within.
    assert "\u202e" not in shown or "<bdi>" in text
