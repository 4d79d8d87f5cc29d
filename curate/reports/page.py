"""The page: findings, figures, tables and galleries of a run, rendered to one HTML file."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from curate.errors import unknown
from curate.evaluation.agreement import Agreement
from curate.reports import comparisons, files, findings, galleries, tables, verdicts, words
from curate.reports.material import Material, gather
from curate.reports.steps import steps
from curate.runs.late import is_adopted
from curate.runtime.files import write_text

SECTIONS = (
    ("verdict", "Verdict"),
    ("signal", "Seen against unseen"),
    ("most", "Most memorized"),
    ("chosen", "One image closely"),
    ("least", "Least memorized"),
    ("tail", "The useful tail"),
    ("junk", "Memorized and broken"),
    ("outliers", "Outliers"),
    ("duplicates", "Near-duplicates"),
    ("samples", "Samples and labels"),
    ("agreement", "Agreement with other runs"),
    ("selections", "Selections"),
    ("comparison", "Comparison"),
    ("next", "What to do next"),
    ("run", "What was run"),
)
MARKS = {"good": "●", "bad": "▲", "open": "○"}
FORMATS = ("html", "png", "svg", "csv")
"""What a report can be written as."""


def build(
    run_path: Path,
    *,
    formats: Sequence[str] = ("html",),
    agreement: Agreement | None = None,
) -> Path:
    """Write the report of a run: a self-contained page, and its figures and tables as files.

    Args:
        run_path: A run directory with scores; whatever else it holds is shown too.
        formats: ``html`` is ``report.html``, which loads nothing from anywhere; ``png`` and ``svg``
            are every figure, ``csv`` every table, in ``report/`` beside it.
        agreement: What ``agreement.agree`` gave of this run and others, to be shown with it.

    Returns:
        The page, or the folder of the files where no page was asked for.

    Raises:
        UsageError: For an unknown format.
        DataError: If the run has no scores, or a file of it is broken.
    """
    for name in formats:
        if name not in FORMATS:
            raise unknown("format of a report", name, FORMATS)
    content = _content(gather(run_path, agreement=agreement))
    page, folder = run_path / "report.html", run_path / "report"
    files.write(folder, content, formats)
    if "html" not in formats:
        return folder
    write_text(page, _page(content))
    return page


def render(material: Material) -> str:
    """Return the page of a run as HTML."""
    return _page(_content(material))


def _page(content: Mapping[str, Any]) -> str:
    folder = importlib.resources.files(__package__)
    css, script = (
        folder.joinpath(name).read_text(encoding="utf-8") for name in ("report.css", "report.js")
    )
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(folder.joinpath("report.html").read_text(encoding="utf-8"))
    return template.render(
        css=Markup(css),  # noqa: S704  (a file of this package)
        script=Markup(script),  # noqa: S704  (a file of this package)
        policy=(
            f"default-src 'none'; img-src data:; style-src 'sha256-{_digest(css)}'; "
            f"script-src 'sha256-{_digest(script)}'; base-uri 'none'; form-action 'none'"
        ),
        marks=MARKS,
        **content,
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _content(material: Material) -> dict[str, Any]:
    """Return what the template shows, in the order of the page."""
    summary = material.summary
    differences = [
        d for _, comparison in material.comparisons for d in comparisons.differences(comparison)
    ]
    shown = galleries.galleries(material)
    has = {name: part is not None for name, part in shown.items()}
    has["agreement"] = material.agreement is not None
    return {
        "name": words.shown(material.path.absolute().name),
        "lede": _lede(material),
        "sections": [(a, t) for a, t in SECTIONS if has.get(a, True)],
        "verdicts": [
            verdicts.scores(summary),
            *([verdicts.learned(material.learned)] if material.learned else []),
            verdicts.benefit(differences),
        ],
        "meaning": _meaning(material),
        "figures": findings.findings(material),
        "tests": tables.tests(material),
        "groups": tables.groups(material),
        **shown,
        "triage": tables.triage(material),
        "relations": tables.relations(material),
        "labels": tables.labels(material),
        "samples": tables.samples(material),
        "agreement": findings.agreement_figure(material),
        "agreements": tables.agreement(material.agreement) if material.agreement else None,
        "selections": tables.selections(material),
        "selections_note": _selections_note(material),
        "comparisons": [comparisons.shown(n, comparison) for n, comparison in material.comparisons],
        "probes": tables.probes(material),
        "steps": steps(material),
        "description": words.shown(material.recipe.get("description") or "", limit=1000),
        "data": tables.data(material),
        "times": tables.times(material),
        "savings": tables.savings(material),
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
    named = words.shown(f"{encoder['method']} on {encoder['backbone']}")
    if is_adopted(material.recipe):
        backbones = {one["backbone"] for one in material.recipe["plan"]["encoders"]}
        named = words.shown(f"trained elsewhere, {', '.join(sorted(backbones))}")
    return (
        f"{words.size(summary['n_scored'], 'image')} of "
        f"{words.shown(material.recipe['data']['source'])} scored by "
        f"{words.size(len(summary['encoders']), 'encoder')} ({named}, plan: {material.plan})."
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
    averaged = "the candidates’ scores" if material.plan == "pair" else "scores"
    return (
        f"Alignment is the mean distance ({material.long_unit}) between the "
        f"representations of {pairs} ({words.size(summary.get('views', 0), 'view')} each). "
        "Memorization is alignment on encoders that never saw the image minus alignment on those "
        f"that were trained on it, {offsets}; higher = more memorized, 0 = no difference. "
        f"The paper’s headline, the mean of {averaged} over their range, is "
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
