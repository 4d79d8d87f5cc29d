"""Words: how a report names things and writes numbers."""

from __future__ import annotations

from curate.evaluation.measures import measure_of
from curate.runtime.text import visible
from curate.scores.separation import SIGNIFICANCE

NBSP = "\u00a0"
INTERVAL = f"95{NBSP}%"
"""The level of every interval of a report."""

GROUPS = {
    "S": "S: shared, both encoders saw it",
    "C": "C: candidates, only f saw it",
    "I": "I: independent, only g saw it",
    "E": "E: extra, neither saw it",
}
TESTS = {
    "C>S": "Candidates (only f saw them) score higher than shared samples (both saw them).",
    "C>E": "Candidates score higher than extra samples (neither saw them).",
    "S>I": "Shared samples score higher than independent ones (only g saw them).",
    "E>I": "Extra samples score higher than independent ones.",
    "C>0": "The candidates’ mean is above 0.",
    "I<0": "The independent samples’ mean is below 0.",
    "E>0": "The extra samples’ mean is above 0.",
    "S=0": "The shared samples’ mean is 0.",
    "m>0": "Mean memorization is above 0: encoders align a sample worse if they never saw it.",
}
UNITS = {
    "l2": "l2 distance between unit vectors, 0 to 2",
    "cosine": "cosine distance, 0 to 2",
    "angular": "angle in radians, 0 to 3.14",
}
SHORT_UNITS = {"l2": "l2 distance", "cosine": "cosine distance", "angular": "radians"}


def shown(text: object, *, limit: int = 200) -> str:
    """Return outside text as one visible line of limited length; escaping is the template's."""
    clean = visible(str(text))
    if len(clean) <= limit:
        return clean
    half = limit // 2 - 1
    return f"{clean[:half]}…{clean[-half:]}"


class Number(str):
    """A number as it is shown, which knows its value: tables sort and are written by that.

    Attributes:
        value: The number in the unit that is shown; None where it is unknown.
        unit: What ends every cell of its kind, such as ``%``; empty where the column's head says.
    """

    value: float | None
    unit: str

    def __new__(cls, text: str, value: float | None, unit: str = "") -> Number:
        """Return ``text`` that stands for ``value``."""
        phrase = super().__new__(cls, text)
        phrase.value = None if value is None or value != value else float(value)
        phrase.unit = unit
        return phrase


def count(n: int, text: str | None = None) -> Number:
    """Return a count, or a text that begins with one."""
    return Number(f"{n:,}" if text is None else text, n)


def number(value: float | None, digits: int = 3) -> Number:
    """Return a number with ``digits`` significant digits and a real minus sign; a dash for None."""
    if value is None or value != value:
        return Number("–", None)
    text = f"{value:.{digits}g}" if 1e-4 <= abs(value) < 1e5 or value == 0 else f"{value:.1e}"
    if "e" in text:
        mantissa, _, power = text.partition("e")
        raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        text = f"{mantissa}·10{raised}"
    return Number(text.replace("-", "−"), value)


def fixed(value: float | None, decimals: int) -> Number:
    """Return a number with a fixed count of decimals and a real minus sign; a dash for None."""
    if value is None or value != value:
        return Number("–", None)
    text = f"{value:,.{decimals}f}"
    # A zero has no sign, whatever was rounded away.
    zero = not float(text.replace(",", ""))
    return Number(text.lstrip("-") if zero else text.replace("-", "−"), value)


def signed(value: float) -> str:
    """Return a number with its sign and two decimals."""
    return f"{value:+.2f}".replace("-", "−")


def points(value: float) -> Number:
    """Return a difference of percentages with its sign and unit."""
    return Number(f"{signed(value)}{NBSP}points", value, "percentage points")


def percent(share: float, decimals: int = 0) -> Number:
    """Return a share in [0, 1] as a percentage that never breaks before its sign."""
    return Number(f"{fixed(100 * share, decimals)}{NBSP}%", 100 * share, "%")


def p_value(p: float | None) -> Number:
    """Return a p-value; those too small to tell from 0 say so."""
    return number(p, 2) if p is None or p >= 1e-300 else Number("< 10⁻³⁰⁰", p)


def p_equals(p: float | None) -> str:
    """Return a p-value as part of a sentence."""
    text = p_value(p)
    return f"p{NBSP}{text}" if text.startswith("<") else f"p{NBSP}={NBSP}{text}"


def seconds(value: float) -> Number:
    """Return a duration with its unit."""
    minutes, rest = divmod(round(value), 60)
    if value < 59.95:
        text = f"{value:.1f}{NBSP}s"
    elif minutes < 60:
        text = f"{minutes}{NBSP}min {rest}{NBSP}s"
    else:
        text = f"{minutes // 60}{NBSP}h {minutes % 60}{NBSP}min"
    return Number(text, value, "s")


def size(count: int, noun: str) -> str:
    """Return a count with its noun in singular or plural."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def place(source: object) -> str:
    """Return where a probe was tested, in words."""
    return "the run’s own labels" if source == "self" else shown(source, limit=60)


def probe(kind: object) -> str:
    """Return a probe's kind in words."""
    return {"linear": "linear probe", "knn": "k-NN probe"}.get(str(kind), shown(kind, limit=40))


def measured(value: float, kind: str) -> Number:
    """Return what a kind of probe measured, with its unit; ``value`` as files have it."""
    measure = measure_of(kind)
    text = fixed(measure.scale * value, measure.digits)
    unit = measure.unit.strip()
    return Number(f"{text}{NBSP}{unit}" if unit else text, measure.scale * value, unit)


def apart(value: float, kind: str, *, sign: bool = True) -> Number:
    """Return a difference of what a kind of probe measures, which is scaled as it is shown."""
    measure = measure_of(kind)
    text = f"{value:{'+' if sign else ''}.{measure.digits}f}".replace("-", "−")
    unit = measure.apart.strip()
    named = "percentage points" if unit == "points" else unit
    return Number(f"{text}{NBSP}{unit}" if unit else text, value, named)


def held(name: str, p: float | None) -> str:
    """Return what a test says, in words."""
    level = f"{NBSP}{SIGNIFICANCE})"
    if p is None:
        return "not testable"
    if name == "S=0":
        return (
            f"not rejected (p{NBSP}≥{level}" if p >= SIGNIFICANCE else f"rejected (p{NBSP}<{level}"
        )
    return f"holds (p{NBSP}<{level}" if p < SIGNIFICANCE else f"not shown (p{NBSP}≥{level}"
