"""Drawing: matplotlib figures as inline SVG that follows the page's colours, and as files.

A strict content security policy forbids inline styles, so that every ``style`` attribute becomes
presentation attributes; ink becomes ``currentColor`` and is legible in light and dark alike.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK = "#010101"
"""Stands for the page's text colour until the SVG is rewritten."""
SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"

STYLE: Any = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.linewidth": 0.7,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 9,
    "axes.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.labelcolor": INK,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "text.color": INK,
    # Names from outside must never be read as mathematics.
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.formatter.useoffset": False,
    "axes.unicode_minus": True,
}


@dataclass(frozen=True)
class Drawn:
    """A figure.

    Attributes:
        name: Unique on the page; prefixes every id, and names its files.
        svg: Markup for the page, in its text colour and without a background.
        figure: What it was made from.
    """

    name: str
    svg: Markup
    figure: Figure

    def svg_file(self) -> str:
        """Return a file of its own: black on white, with its size."""
        width, height = (72 * side for side in self.figure.get_size_inches())
        head = (
            f'<svg color="black" width="{width:g}pt" height="{height:g}pt" font-family="sans-serif"'
        )
        paper = '<rect width="100%" height="100%" fill="white" />'
        start, end = self.svg.index("<svg"), self.svg.index(">")
        opening, body = str(self.svg[start + 4 : end + 1]), str(self.svg[end + 1 :])
        return f'<?xml version="1.0" encoding="utf-8"?>\n{head}{opening}{paper}{body}\n'

    def png_file(self) -> bytes:
        """Return a PNG of 300 dots an inch, on white."""
        stream = io.BytesIO()
        with mpl.rc_context(STYLE):
            # Without the library's version in it, equal results are equal files.
            self.figure.savefig(
                stream, format="png", dpi=300, facecolor="white", metadata={"Software": None}
            )
        return stream.getvalue()


Captioned = tuple[Drawn, str, str]
"""A figure, the finding it shows, and how to read it."""


@contextmanager
def drawing(name: str, out: list[Drawn], *, height: float = 3.1) -> Iterator[Axes]:
    """Yield axes; append what was drawn on them to ``out`` at the end.

    Args:
        name: Unique on the page; prefixes every id.
        out: Receives the drawing.
        height: In inches, for a width of 4.7.
    """
    with panels(name, out, 1, height=height) as (axes,):
        yield axes


@contextmanager
def panels(name: str, out: list[Drawn], count: int, *, height: float) -> Iterator[list[Axes]]:
    """Yield axes one below the other that share theirs of x; else as ``drawing``."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(4.7, height), dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        yield list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    out.append(Drawn(name, inline(stream.getvalue(), name), figure))


def inline(svg: bytes, name: str) -> Markup:
    """Return matplotlib's SVG as markup that needs no style attribute, no id of its own, no file.

    Args:
        svg: What ``savefig`` wrote.
        name: Unique on the page; prefixes every id.
    """
    ET.register_namespace("", SVG)
    root = ET.fromstring(svg)  # noqa: S314  (our own output, not a file from outside)
    for parent in list(root.iter()):
        for child in list(parent):
            tag = child.tag.rpartition("}")[2]
            if tag in ("metadata", "style") or (tag == "defs" and not _kept(child)):
                parent.remove(child)
    for node in root.iter():
        _plain(node, name)
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.set("aria-hidden", "true")
    root.set("focusable", "false")
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704  (ElementTree escaped it)


def _kept(defs: ET.Element) -> bool:
    return any(child.tag.rpartition("}")[2] != "style" for child in defs)


def _plain(node: ET.Element, name: str) -> None:
    """Rewrite one element: styles to attributes, ids and links prefixed, ink to currentColor."""
    for declaration in node.attrib.pop("style", "").split(";"):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key == "font":
            # A shorthand is no presentation attribute; the page's own font follows by inheritance.
            size = re.search(r"([\d.]+)px", value)
            node.set("font-size", size.group(1) if size else "9")
        elif key == "font-size":
            node.set(key, value.removesuffix("px"))
        elif key and not key.startswith(("font-", "-", "image-rendering")):
            node.set(key, value)
    if f"{{{XLINK}}}href" in node.attrib:
        node.set("href", node.attrib.pop(f"{{{XLINK}}}href"))
    for key, value in list(node.attrib.items()):
        if key == "id":
            node.set(key, f"{name}-{value}")
        elif key == "href" and value.startswith("#"):
            node.set(key, f"#{name}-{value[1:]}")
        elif value.startswith("url(#"):
            node.set(key, f"url(#{name}-{value[5:]}")
        elif value == INK:
            node.set(key, "currentColor")
    if node.tag == f"{{{SVG}}}text" and "fill" not in node.attrib:
        node.set("fill", "currentColor")
