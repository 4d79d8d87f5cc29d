"""Measures that others propose, beside memorization and for the same run. One a file."""

from __future__ import annotations

from collections.abc import Sequence

from curate.errors import UsageError, unknown
from curate.scores.measures.alignment import MeanAlignment
from curate.scores.measures.base import Look, Measure, Samples
from curate.scores.measures.deja_vu import DejaVu
from curate.scores.measures.el2n import El2n
from curate.scores.measures.feldman import Feldman
from curate.scores.measures.feldman_softmax import FeldmanSoftmax
from curate.scores.measures.grand import Grand
from curate.scores.measures.knn_outlierness import KnnOutlierness
from curate.scores.measures.loss import Loss
from curate.scores.measures.relative import Relative
from curate.scores.measures.supervised import Supervised

MEASURES: dict[str, type[Measure]] = {
    "supervised": Supervised,
    "deja-vu": DejaVu,
    "relative": Relative,
    "alignment": MeanAlignment,
    "el2n": El2n,
    "grand": Grand,
    "loss": Loss,
    "knn-outlierness": KnnOutlierness,
    "feldman": Feldman,
    "feldman-softmax": FeldmanSoftmax,
}
"""Measures by name; the columns of ``measures.parquet`` have ``_`` for ``-``."""


def choose(
    kinds: Sequence[str] | None, labelled: bool, classifiers: bool
) -> tuple[list[str], list[str]]:
    """Return the names of the measures to compute, and of those left out, in the shelf's order.

    Those of classifiers are not left out where there are no classifiers: nobody misses them.

    Args:
        kinds: Names; None takes all that can be computed.
        labelled: Whether the samples have labels of two or more classes.
        classifiers: Whether the encoders were trained with heads, which are kept.

    Raises:
        UsageError: For no name, an unknown one, or one that needs labels or heads where there are
            none.
    """
    if kinds is not None and not kinds:
        raise UsageError(f"kinds names no measure; choose from: {', '.join(MEASURES)}.")
    for kind in kinds or ():
        if kind not in MEASURES:
            raise unknown("measure", kind, MEASURES)
    apply = [kind for kind in MEASURES if classifiers or not MEASURES[kind].needs_heads]
    chosen = [kind for kind in MEASURES if kind in (apply if kinds is None else kinds)]
    headless = [kind for kind in chosen if kind not in apply]
    if headless:
        raise UsageError(
            f"measure {', '.join(headless)} needs classifiers: a run whose encoder.method is "
            "supervised (recipe digits-feldman), trained since heads are kept; leave it out of "
            "kinds."
        )
    lacking = [kind for kind in chosen if MEASURES[kind].needs_labels and not labelled]
    if lacking and kinds is not None:
        raise UsageError(
            f"measure {', '.join(lacking)} needs labels of two or more classes, which this run's "
            "samples do not have; leave it out of kinds."
        )
    return [kind for kind in chosen if kind not in lacking], lacking


def column(kind: str) -> str:
    """Return the name of a measure's column."""
    return kind.replace("-", "_")


def columns(kind: str) -> tuple[str, str]:
    """Return the names of a measure's columns: the numbers, and their errors, which few have."""
    name = column(kind)
    return name, f"{name}_se"


__all__ = ["MEASURES", "Look", "Measure", "Samples", "choose", "column", "columns"]
