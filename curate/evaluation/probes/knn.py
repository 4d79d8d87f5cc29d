"""knn: a vote of the nearest training samples, weighted by similarity (Wu et al. 2018)."""

from __future__ import annotations

import numpy as np

from curate.encoders.representation import standardiser
from curate.evaluation.probes.base import Fitted, validation_split

GRID = (1, 5, 10, 20)
"""Numbers of neighbours, of which the validation split chooses."""
DEFAULT_K = 5
"""Taken where there is no validation split."""
TEMPERATURE = 0.07
BLOCK = 1024


def fit(train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray, seed: int) -> Fitted:
    """Choose k on the validation split, then let all training samples vote on the test samples."""
    held = validation_split(train_y, seed)
    k, accuracy = DEFAULT_K, None
    if held.any():
        scaled = standardiser(train_x[~held])
        votes = _votes(scaled(train_x[~held]), train_y[~held], scaled(train_x[held]), GRID)
        right = [float((v == train_y[held]).mean()) for v in votes]
        k, accuracy = GRID[int(np.argmax(right))], max(right)
    scaled = standardiser(train_x)
    predicted = _votes(scaled(train_x), train_y, scaled(test_x), (k,))[0]
    return Fitted(predicted, accuracy, {"k": k, "temperature": TEMPERATURE})


def _votes(
    x: np.ndarray, y: np.ndarray, query: np.ndarray, ks: tuple[int, ...]
) -> list[np.ndarray]:
    """Return the predicted classes (m,) for every k; a k above n is n, equal votes go to the first.

    Similarity is the cosine; a neighbour's vote weighs ``exp(cosine / temperature)``.
    """
    x, query = _unit(x), _unit(query)
    most, classes = min(max(ks), len(x)), int(y.max()) + 1
    out = [np.empty(len(query), dtype=np.int64) for _ in ks]
    for start in range(0, len(query), BLOCK):
        part = slice(start, start + BLOCK)
        similar = query[part] @ x.T
        near = np.argpartition(-similar, most - 1, axis=1)[:, :most]
        value = np.take_along_axis(similar, near, axis=1)
        order = np.argsort(-value, axis=1, kind="stable")
        near = np.take_along_axis(near, order, axis=1)
        weight = np.exp(np.take_along_axis(value, order, axis=1) / TEMPERATURE)
        for result, k in zip(out, ks, strict=True):
            tally = np.zeros((len(near), classes))
            rows = np.arange(len(near))[:, None]
            np.add.at(tally, (rows, y[near[:, :k]]), weight[:, :k])
            result[part] = tally.argmax(axis=1)
    return out


def _unit(x: np.ndarray) -> np.ndarray:
    """Return rows scaled to length 1; a row of zeros stays."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(length > 0, length, 1.0))
