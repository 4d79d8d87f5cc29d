"""Which samples are memorized beyond chance, allowing for how many are looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from scipy import stats

from curate.errors import DataError, UsageError
from curate.rundir import Run
from curate.runtime.files import read_json


def significant(run: Run, fdr: float) -> dict[str, Any]:
    """Return the samples significantly memorized; see ``curate.significant``."""
    check(fdr)
    table = run.scores().select(["uid", "memorization", "se"])
    table = table.filter(table["memorization"].is_valid())
    summary = read_json(run.path / "scores.json")
    if summary["reliability"]["encoders"] is None:
        raise DataError(
            f"run {run.path} has one encoder on each side, whose errors cannot be told from "
            "memorization; give the plan repeats (--set plan.repeats=3)."
        )
    p, q = tests(
        table["memorization"].to_numpy(),
        table["se"].to_numpy(),
        freedom=summary["interval"]["freedom"],
    )
    found = np.flatnonzero(q <= fdr)
    found = found[np.lexsort((found, p[found]))]
    rows = table.take(pa.array(found))
    rows = rows.append_column("p", pa.array(p[found])).append_column("q", pa.array(q[found]))
    return {"fdr": fdr, "n_tested": len(p), "n": len(found), "samples": rows}


def check(fdr: float) -> None:
    """Check that a false discovery rate is one.

    Raises:
        UsageError: If it is not between 0 and 1.
    """
    if not 0 < fdr < 1:
        raise UsageError(f"--fdr {fdr:g}: expected a share between 0 and 1, such as 0.05.")


def tests(m: np.ndarray, se: np.ndarray, *, freedom: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Return p of ``m > 0`` for each sample, one-sided, and q, (N,) float64 in [0, 1].

    Args:
        m: (N,) memorization.
        se: (N,) standard errors; a score without error is judged by its sign.
        freedom: Degrees of freedom of ``se``; None for normal errors.

    Returns:
        p from Student's t, and the smallest false discovery rate at which each is found (Benjamini
        & Hochberg 1995), valid for samples whose errors are independent or positively dependent.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(se > 0, m / se, np.where(m > 0, np.inf, -np.inf))
    p = stats.norm.sf(t) if freedom is None else stats.t.sf(t, freedom)
    return p, stats.false_discovery_control(p) if len(p) else p
