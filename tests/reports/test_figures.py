import io
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from curate.reports import drawing, figures

rng = np.random.default_rng(0)
SCORES = np.sort(rng.normal(0.02, 0.02, 400))[::-1]
ROWS = [
    {"label": "drop <b>50</b> · linear", "seeds": [-1.0, -2.0], "mean": -1.5, "low": -7.9,
     "high": 4.9},
    {"label": "$\\frac{1}{2}$", "seeds": [1.0], "mean": 1.0, "low": None, "high": None},
]  # fmt: skip


def every_figure():
    return {
        "distribution": figures.distribution(
            "a", {"C: candidates": SCORES, "S: shared": SCORES - 0.02}, unit="l2 distance"
        ),
        "means": figures.means("b", [("fold 0", 0.02, 0.01), ("all", 0.0, 0.0)], unit="radians"),
        "alignments": figures.alignments(
            "c", SCORES, SCORES + 0.01, SCORES - 0.02, labels=("on f", "on g"), unit="l2 distance"
        ),
        "ranks": figures.scores_with_errors("d", SCORES, np.abs(SCORES), unit="l2 distance"),
        "differences": figures.differences("e", ROWS),
        "shares": figures.shares_above("f", {"all scored images": SCORES}, unit="radians"),
        "shares by group": figures.shares_above(
            "g", {"C: candidates": SCORES, "S: shared": SCORES - 0.02}, unit="radians"
        ),
        "training": figures.training(
            "h", [5, 10], {"all": [(0.01, 0.002), (0.02, 0.001)]}, [3.5, None], unit="radians"
        ),
        "agreement": figures.agreement(
            "i", ["a<b>", "$b$"], np.array([[1, -0.25], [-0.25, 1]]), measure="Kendall’s tau-b"
        ),
        "curves": figures.curves(
            "j", {"top": [(50, 90.0, 1.5), (100, 85.0, None)], "random": [(50, 91.0, 1.0)]}
        ),
    }


NAMES = sorted(every_figure())


@pytest.fixture(scope="module")
def drawn():
    return {name: figure.svg for name, figure in every_figure().items()}


def texts(svg):
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter(f"{{{drawing.SVG}}}text")]


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_needs_no_style_no_script_and_no_file(drawn, name):
    svg = drawn[name]
    root = ET.fromstring(svg)
    tags = {node.tag.rpartition("}")[2] for node in root.iter()}
    assert not tags & {"style", "script", "metadata", "foreignObject", "a"}
    assert not any("style" in node.attrib for node in root.iter())
    links = [v for n in root.iter() for k, v in n.attrib.items() if k.rpartition("}")[2] == "href"]
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert drawing.INK not in svg and "currentColor" in svg


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_unique_and_every_link_has_its_target(drawn, name):
    svg = str(drawn[name])
    ids = re.findall(r'\bid="([^"]+)"', svg)
    wanted = re.findall(r'(?:href="#|url\(#)([^")]+)', svg)
    assert len(ids) == len(set(ids))
    assert set(wanted) <= set(ids)


def test_ids_differ_between_figures(drawn):
    found = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in drawn.values()]
    assert sum(map(len, found)) == len(set().union(*found))


def test_axes_say_what_they_show_and_in_what_unit(drawn):
    assert {"score (l2 distance)", "share of the group (%)"} <= {*texts(drawn["distribution"])}
    assert "mean score (radians)" in texts(drawn["means"])
    assert {"on f (l2 distance)", "on g (l2 distance)", "memorization (l2 distance)"} <= {
        *texts(drawn["alignments"])
    }
    assert {"rank (1 = most memorized)", "memorization (l2 distance)"} <= {*texts(drawn["ranks"])}
    assert "difference from random (percentage points of test accuracy)" in texts(
        drawn["differences"]
    )

    assert {"threshold of the score (radians)", "share (%)"} <= {*texts(drawn["shares"])}
    assert "share above it (%)" in texts(drawn["shares by group"])
    assert {"mean score", "(radians)", "training loss"} <= {*texts(drawn["training"])}
    assert {"−0.25", "1.00", "Kendall’s tau-b (−1 to 1)"} <= {*texts(drawn["agreement"])}
    assert {"removed (images)", "test accuracy (%)"} <= {*texts(drawn["curves"])}


def test_files_are_images_of_their_own():
    made = every_figure()["shares"]
    root = ET.fromstring(made.svg_file())
    assert (root.get("width"), root.get("color")) == ("338.4pt", "black")
    assert root[0].get("fill") == "white"
    png = made.png_file()
    image = Image.open(io.BytesIO(png))
    assert image.size == (1410, 930) and image.convert("L").getextrema()[1] == 255
    assert png == every_figure()["shares"].png_file()


def test_names_from_outside_stay_text(drawn):
    assert {"drop <b>50</b> · linear", "$\\frac{1}{2}$"} <= {*texts(drawn["differences"])}
    assert "<b>" not in drawn["differences"]


def test_the_same_numbers_are_the_same_bytes(drawn):
    assert {name: figure.svg for name, figure in every_figure().items()} == drawn


def test_figures_do_not_grow_with_the_dataset():
    many = rng.normal(0.5, 0.1, 250_000)
    m = rng.normal(0, 0.01, len(many))
    svgs = [
        figures.distribution("a", {"all": m}, unit="u"),
        figures.alignments("b", many, many + m, m, labels=("x", "y"), unit="u"),
        figures.scores_with_errors("c", np.sort(m)[::-1], np.abs(m), unit="u"),
        figures.shares_above("d", {"all": m}, unit="u"),
    ]
    assert all(len(drawn.svg) < 300_000 for drawn in svgs)


@pytest.mark.parametrize(
    "values", [np.zeros(5), np.array([0.5]), np.array([1e-12, -1e-12]), np.array([0, 0, 1e3])]
)
def test_degenerate_scores_are_drawn_without_a_warning(values, recwarn):
    nothing = np.full(len(values), np.nan)
    made = [
        figures.distribution("a", {"all": values}, unit="u"),
        figures.alignments("b", values, values, values, labels=("x", "y"), unit="u"),
        figures.scores_with_errors("c", values, nothing, unit="u"),
        figures.shares_above("d", {"all": values}, unit="u"),
    ]
    made = [figure.svg for figure in made]
    assert all(svg.startswith("<svg") for svg in made)
    assert [str(w.message) for w in recwarn] == []
    assert "NaN" not in "".join(made) and "nan" not in "".join(texts(made[0]))


def test_a_far_outlier_does_not_flatten_the_histogram():
    values = np.r_[rng.normal(0, 1, 5000), 1e6]
    edges = figures.bin_edges(values, 30)
    assert edges[0] <= values.min() and edges[-1] == 1e6
    assert np.histogram(values, edges)[0][:-1].max() < 1000
