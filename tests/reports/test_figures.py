import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from curate.reports import figures

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
    }


@pytest.fixture(scope="module")
def drawn():
    return every_figure()


def texts(svg):
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter(f"{{{figures.SVG}}}text")]


@pytest.mark.parametrize("name", ["distribution", "means", "alignments", "ranks", "differences"])
def test_a_figure_needs_no_style_no_script_and_no_file(drawn, name):
    svg = drawn[name]
    root = ET.fromstring(svg)
    tags = {node.tag.rpartition("}")[2] for node in root.iter()}
    assert not tags & {"style", "script", "metadata", "foreignObject", "a"}
    assert not any("style" in node.attrib for node in root.iter())
    links = [v for n in root.iter() for k, v in n.attrib.items() if k.rpartition("}")[2] == "href"]
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert figures.INK not in svg and "currentColor" in svg


@pytest.mark.parametrize("name", ["distribution", "means", "alignments", "ranks", "differences"])
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


def test_names_from_outside_stay_text(drawn):
    assert {"drop <b>50</b> · linear", "$\\frac{1}{2}$"} <= {*texts(drawn["differences"])}
    assert "<b>" not in drawn["differences"]


def test_the_same_numbers_are_the_same_bytes(drawn):
    assert every_figure() == drawn


def test_figures_do_not_grow_with_the_dataset():
    many = rng.normal(0.5, 0.1, 250_000)
    m = rng.normal(0, 0.01, len(many))
    svgs = [
        figures.distribution("a", {"all": m}, unit="u"),
        figures.alignments("b", many, many + m, m, labels=("x", "y"), unit="u"),
        figures.scores_with_errors("c", np.sort(m)[::-1], np.abs(m), unit="u"),
    ]
    assert all(len(svg) < 300_000 for svg in svgs)


@pytest.mark.parametrize(
    "values", [np.zeros(5), np.array([0.5]), np.array([1e-12, -1e-12]), np.array([0, 0, 1e3])]
)
def test_degenerate_scores_are_drawn_without_a_warning(values, recwarn):
    nothing = np.full(len(values), np.nan)
    made = [
        figures.distribution("a", {"all": values}, unit="u"),
        figures.alignments("b", values, values, values, labels=("x", "y"), unit="u"),
        figures.scores_with_errors("c", values, nothing, unit="u"),
    ]
    assert all(svg.startswith("<svg") for svg in made)
    assert [str(w.message) for w in recwarn] == []
    assert "NaN" not in "".join(made) and "nan" not in "".join(texts(made[0]))


def test_a_far_outlier_does_not_flatten_the_histogram():
    values = np.r_[rng.normal(0, 1, 5000), 1e6]
    edges = figures._edges(values, 30)
    assert edges[0] <= values.min() and edges[-1] == 1e6
    assert np.histogram(values, edges)[0][:-1].max() < 1000
