"""Verdicts: the questions about a run, each answered no further than its numbers go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.evaluation.measures import measure_of
from curate.reports import words
from curate.reports.words import INTERVAL, NBSP, number
from curate.scores.verdict import GROUP, NOTHING, RANKING

LEVEL = 0.05
"""Chance of calling any difference real where there is none."""


@dataclass(frozen=True)
class Verdict:
    """An answer to one question about a run.

    Attributes:
        question: What is asked.
        state: ``good``, ``bad`` or ``open``.
        answer: In a few words.
        because: In one to three sentences, with the numbers.
    """

    question: str
    state: str
    answer: str
    because: str


ANSWERS = {
    NOTHING: ("bad", "Nothing"),
    GROUP: ("open", "The group, not the ranking"),
    RANKING: ("good", "The ranking"),
}
"""State and answer of each grade."""


def scores(summary: Mapping[str, Any]) -> Verdict:
    """Return what the scores of a run show, and by which tests.

    Args:
        summary: What ``scores.json`` says.
    """
    tests = [t for t in summary["tests"] if t["name"] in ("C>S", "C>E")]
    tests = tests or [t for t in summary["tests"] if t["name"] in ("m>0", "C>0")]
    computed = [t for t in tests if t["p"] is not None]
    results = "; ".join(
        f"{t['name']}: t{NBSP}={NBSP}{number(t['statistic'])}, {words.p_equals(t['p'])}, "
        f"Cohen’s d{NBSP}={NBSP}{number(t['cohens_d'], 2)}"
        for t in computed
    )
    if not computed:
        results = "no test could be made: too few images are scored, or all have the same score"
    state, answer = ANSWERS[summary["verdict"]["grade"]]
    text = words.shown(summary["verdict"]["text"], limit=600)
    because = f"{text[:1].upper()}{text[1:]}. Of the mean: {results}."
    return Verdict("What do the scores show?", state, answer, because + _views(summary))


def _views(summary: Mapping[str, Any]) -> str:
    """Return what newly drawn views alone would change, where that is known."""
    views = summary["reliability"].get("views")
    if views is None:
        return ""
    return (
        f" Counting views alone, reliability is {words.fixed(views, 2)}: an upper limit, since "
        "training noise is usually the larger part."
    )


def learned(probes: Mapping[str, Any]) -> Verdict:
    """Return whether the encoders know more of the classes than random weights do.

    Args:
        probes: What ``learned.json`` says.
    """
    question = "Did the encoders learn anything?"
    a, b = words.percent(probes["trained"]), words.percent(probes["random"])
    text = (
        f"A k-NN probe on their features names the class of {a} of "
        f"{words.size(probes['n_test'], 'test image')}, one on random weights {b} "
        f"(difference of shares {number(probes['low'], 2)} to {number(probes['high'], 2)}, "
        f"95{NBSP}% interval, mean of {words.size(probes['encoders'], 'network')} each)."
    )
    if probes["verdict"] == "better":
        return Verdict(question, "good", "Yes: they beat random weights", text)
    if probes["verdict"] == "worse":
        more = " Random weights are better: do not use these scores; train longer or otherwise."
        return Verdict(question, "bad", "No: random weights are better", text + more)
    more = " That does not show that training helped: train longer, or on more images."
    return Verdict(question, "open", "Not shown", text + more)


def benefit(differences: Sequence[Mapping[str, Any]]) -> Verdict:
    """Return what retraining on selections showed, if it was done.

    An effect counts as shown if its p-value stands after a Bonferroni correction for the number of
    differences looked at; of many intervals some exclude 0 by chance.

    Args:
        differences: ``label``, ``mean``, ``low``, ``high`` in percentage points, ``p``; those of
            another measure than accuracy have its kind of probe as ``of``.
    """
    question = "Does selecting by memorization matter downstream?"
    if not differences:
        text = "No retraining on selections was compared in this run yet."
        return Verdict(question, "open", "Not measured", text)
    known = [d for d in differences if d["low"] is not None]
    if not known:
        text = "The comparison has one seed, so that it cannot tell an effect from chance."
        return Verdict(question, "open", "Unknown: one seed", text)
    apart = [d for d in known if d["low"] > 0 or d["high"] < 0]
    if not apart:
        text = (
            f"Of {words.size(len(known), 'difference')} from random selection, none has a "
            f"{INTERVAL} interval that excludes 0. "
            "An effect, if there is one, is smaller than this run can see."
        )
        return Verdict(question, "open", "Not shown", text)
    clearest = min(apart, key=lambda d: (_p(d), -abs(d["mean"])))
    kind = clearest.get("of", "linear")
    text = (
        f"{len(apart)} of {words.size(len(known), 'difference')} from random selection "
        f"{'has' if len(apart) == 1 else 'have'} a {INTERVAL} interval that excludes 0 (about "
        f"{LEVEL * len(known):.1f} would by chance). The clearest: {clearest['label']}, "
        f"{words.apart(clearest['mean'], kind)} of {measure_of(kind).name} "
        f"({_bare(clearest['low'], kind)} to {_bare(clearest['high'], kind)})."
    )
    if _p(clearest) * len(known) >= LEVEL:
        return Verdict(
            question,
            "open",
            "Perhaps: more seeds are needed",
            f"{text} Allowing for {words.size(len(known), 'look')}, that may be chance.",
        )
    return Verdict(question, "good", "Yes, it makes a difference", text)


def _bare(value: float, kind: str) -> str:
    return words.apart(value, kind).partition(NBSP)[0]


def _p(difference: Mapping[str, Any]) -> float:
    """Return a difference's p-value; 1 where its pairs are all equal, which tests nothing."""
    return 1.0 if difference["p"] is None else float(difference["p"])
