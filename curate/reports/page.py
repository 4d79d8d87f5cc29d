"""The page: findings, figures, tables and galleries of a run, rendered to one HTML file."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from curate.atomic import write_text
from curate.reports import comparisons, findings, galleries, tables, verdicts, words
from curate.reports.material import Material, gather
from curate.reports.steps import steps

SECTIONS = (
    ("verdict", "Verdict"),
    ("signal", "Seen against unseen"),
    ("most", "Most memorized"),
    ("least", "Least memorized"),
    ("outliers", "Outliers"),
    ("duplicates", "Near-duplicates"),
    ("selections", "Selections"),
    ("comparison", "Comparison"),
    ("next", "What to do next"),
    ("run", "What was run"),
)
MARKS = {"good": "●", "bad": "▲", "open": "○"}


def build(run_path: Path) -> Path:
    """Write ``report.html`` of a run: self-contained, without scripts or network access.

    Args:
        run_path: A run directory with scores; whatever else it holds is shown too.

    Returns:
        The path of the file.

    Raises:
        DataError: If the run has no scores, or a file of it is broken.
    """
    material = gather(run_path)
    out = run_path / "report.html"
    write_text(out, render(material))
    return out


def render(material: Material) -> str:
    """Return the page of a run as HTML."""
    folder = importlib.resources.files(__package__)
    css = folder.joinpath("report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode("ascii")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(folder.joinpath("report.html").read_text(encoding="utf-8"))
    return template.render(
        css=Markup(css),  # noqa: S704  (a file of this package)
        policy=(
            "default-src 'none'; img-src data:; "
            f"style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        ),
        marks=MARKS,
        **_content(material),
    )


def _content(material: Material) -> dict[str, Any]:
    """Return what the template shows, in the order of the page."""
    summary, inspected = material.summary, material.inspected is not None
    differences = [d for _, facts in material.comparisons for d in comparisons.differences(facts)]
    has = {"outliers": inspected, "duplicates": inspected}
    return {
        "name": words.shown(material.run["name"]),
        "lede": _lede(material),
        "sections": [(a, t) for a, t in SECTIONS if has.get(a, True)],
        "verdicts": [
            verdicts.signal(summary),
            verdicts.ranking(summary),
            verdicts.benefit(differences),
        ],
        "meaning": _meaning(material),
        "figures": findings.findings(material),
        "tests": tables.tests(material),
        "groups": tables.groups(material),
        **galleries.galleries(material),
        "selections": tables.selections(material),
        "selections_note": _selections_note(material),
        "comparisons": [comparisons.shown(n, facts) for n, facts in material.comparisons],
        "probes": tables.probes(material),
        "steps": steps(material),
        "description": words.shown(material.recipe.get("description") or "", limit=1000),
        "data": tables.data(material),
        "times": tables.times(material),
        "encoders": tables.encoders(material),
        "versions": tables.versions(material),
        "recipe": yaml.safe_dump(material.recipe, sort_keys=False, allow_unicode=False, width=90),
        "footer": (
            f"Recipe fingerprint {words.shown(material.run.get('recipe_fingerprint', 'unknown'))}. "
            f"Made by curate {words.shown(material.run.get('versions', {}).get('curate', ''))}; "
            "this file loads nothing from anywhere."
        ),
    }


def _lede(material: Material) -> str:
    """Return in one sentence what was scored by what."""
    encoder, summary = material.recipe["encoder"], material.summary
    made = words.shown(f"{encoder['method']} on {encoder['backbone']}")
    return (
        f"{words.size(summary['n_scored'], 'image')} of "
        f"{words.shown(material.recipe['data']['source'])} scored by "
        f"{words.size(len(summary['encoders']), 'encoder')} ({made}, plan: {material.plan})."
    )


def _meaning(material: Material) -> str:
    """Return what the numbers of a run are."""
    summary = material.summary
    offsets = "with each encoder’s own offset removed" if summary.get("calibrated") else "raw"
    pairs = (
        "an image and its random views"
        if summary.get("pairing", "anchored") == "anchored"
        else "random views of an image"
    )
    of = "the candidates’ scores" if material.plan == "pair" else "scores"
    return (
        f"Alignment is the mean distance ({material.long_unit}) between the "
        f"representations of {pairs} ({words.size(summary.get('views', 0), 'view')} each). "
        "Memorization is alignment on encoders that never saw the image minus alignment on those "
        f"that were trained on it, {offsets}; higher = more memorized, 0 = no difference. "
        f"The paper’s headline, the mean of {of} over their range, is "
        f"{words.number(summary.get('normalised_mean'))} here (between −1 and 1; it depends on "
        "which images are present)."
    ) + (
        " The score that groups are compared by is alignment on g minus alignment on f, which is "
        "defined for every group and negative for what only g saw."
        if material.plan == "pair"
        else ""
    )


def _selections_note(material: Material) -> str:
    """Return how to read the table of selections."""
    text = (
        "“Expected to stay” is the share of what a selection picks by score that would be picked "
        "again if scores were drawn anew around these, with their standard errors. It takes these "
        "scores for the true ones, which makes it optimistic."
    )
    if material.summary["reliability"].get("encoders") is None:
        text += " The errors count views only here, which makes it more so."
    return text
