"""Significant: the samples of a scored run whose memorization is above 0 beyond chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.errors import DataError
from curate.runs.run import Run
from curate.runtime.options import option
from curate.runtime.results import Result
from curate.scores.significance import check, tests
from curate.scores.summary import ScoreSummary


@dataclass(frozen=True)
class Significant(Result):
    """The samples whose memorization is above 0 beyond chance.

    Attributes:
        fdr: Expected share of false ones among them.
        n_tested: Samples that have a score.
        n: How many are significant.
        samples: Their uid, memorization, se, p and q, the surest first.
    """

    fdr: float
    n_tested: int
    n: int
    samples: pa.Table


def significant(run: Run, fdr: float = 0.05) -> Significant:
    """Return the samples of a scored run whose memorization is above 0 beyond chance.

    Args:
        run: A scored run whose plan shows how much encoders err.
        fdr: Expected share of false ones among those returned (Benjamini & Hochberg 1995).

    Raises:
        UsageError: If ``fdr`` is not between 0 and 1.
        DataError: If the run is not scored, or its plan has one encoder a side.
    """
    check(fdr)
    table = run.scores(("memorization", "se"))
    table = table.filter(table["memorization"].is_valid())
    summary = ScoreSummary.read(run.path)
    if summary.reliability.encoders is None:
        raise DataError(
            f"run {run.path} has one encoder on each side, whose errors cannot be told from "
            f"memorization; give the plan repeats ({option(overrides={'plan.repeats': 3})})."
        )
    p, q = tests(
        table["memorization"].to_numpy(),
        table["se"].to_numpy(),
        freedom=summary.interval.freedom,
    )
    places = np.flatnonzero(q <= fdr)
    places = places[np.lexsort((places, p[places]))]
    rows = table.take(pa.array(places))
    rows = rows.append_column("p", pa.array(p[places])).append_column("q", pa.array(q[places]))
    return Significant(fdr, len(p), len(places), rows)
