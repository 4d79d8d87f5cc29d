"""linear: multinomial logistic regression, run to convergence."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from curate.encoders.representation import standardiser
from curate.evaluation.probes.base import Fitted, validation_split

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse strengths C of the L2 penalty, of which the validation split chooses."""
DEFAULT_C = 0.01
"""Taken where there is no validation split."""
MAX_ITERATIONS = 5000


def fit(train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray, seed: int) -> Fitted:
    """Choose C on the validation split, fit on all training samples, predict the test samples."""
    held = validation_split(train_y, seed)
    c, accuracy = DEFAULT_C, None
    if held.any():
        scaled = standardiser(train_x[~held])
        fit_x, val_x = scaled(train_x[~held]), scaled(train_x[held])
        model = _model()
        accuracy = -1.0
        for candidate in GRID:
            # Each fit starts from the last one: the path is cheaper than its points.
            _converge(model.set_params(C=candidate), fit_x, train_y[~held])
            right = float((model.predict(val_x) == train_y[held]).mean())
            if right > accuracy:
                c, accuracy = candidate, right
    scaled = standardiser(train_x)
    model = _model().set_params(C=c)
    converged = _converge(model, scaled(train_x), train_y)
    chosen = {"C": c, "converged": converged, "iterations": int(np.max(model.n_iter_))}
    return Fitted(model.predict(scaled(test_x)), accuracy, chosen)


def _model() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(solver="lbfgs", max_iter=MAX_ITERATIONS, tol=1e-4, warm_start=True)


def _converge(model: Any, x: np.ndarray, y: np.ndarray) -> bool:
    """Fit, and return whether the optimiser met its tolerance."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(x, y)
    return not any(issubclass(w.category, ConvergenceWarning) for w in caught)
