"""Linear heads on frozen representations: one trained to convergence, and one stopped early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from curate.encoders.representation import standardiser
from curate.runtime import randomness

PENALTY = 1e-3
"""Weight of half the squared norm of the weights beside the mean cross-entropy."""
EPOCHS = 5
"""After how many epochs an early head is stopped."""
DRAWS = 3
"""Early heads of an encoder, each from other weights and in another order."""
RATE = 0.1
BATCH = 32
ROWS = 4096
"""Samples whose probabilities of all classes are held at a time."""


@dataclass(frozen=True)
class Head:
    """A softmax classifier on standardised features.

    Attributes:
        weights: (D, C) float64.
        bias: (C,) float64.
        standardise: Takes features (n, D) to mean 0 and deviation 1 over what it was fitted to.
    """

    weights: np.ndarray
    bias: np.ndarray
    standardise: Callable[[np.ndarray], np.ndarray]

    def inputs(self, features: np.ndarray) -> np.ndarray:
        """Return standardised features, (n, D) float64."""
        return self.standardise(features).astype(np.float64)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return the probability of every class, (n, C) float64."""
        return np.asarray(special.softmax(self.inputs(features) @ self.weights + self.bias, axis=1))


def converged(x: np.ndarray, y: np.ndarray, classes: int) -> Head:
    """Return a multinomial logistic regression run to convergence.

    Args:
        x: (n, D) features.
        y: (n,) int64 in [0, C).
        classes: C; a class that ``y`` lacks comes to a small probability.
    """
    blank = _blank(x, classes)
    inputs, shape = blank.inputs(x), blank.weights.shape

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = flat[: -shape[1]].reshape(shape), flat[-shape[1] :]
        value = 0.5 * PENALTY * np.sum(weights**2)
        by_weights, by_bias = PENALTY * weights, np.zeros(shape[1])
        for part in parts(len(y)):
            log_p = special.log_softmax(inputs[part] @ weights + bias, axis=1)
            target = _one_hot(y[part], classes)
            value -= np.sum(target * log_p) / len(y)
            slope = (np.exp(log_p) - target) / len(y)
            by_weights += inputs[part].T @ slope
            by_bias += slope.sum(axis=0)
        return float(value), np.concatenate([by_weights.ravel(), by_bias])

    start = np.zeros(shape[0] * shape[1] + shape[1])
    options = {"maxiter": 1000, "gtol": 1e-6}
    fitted = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
    return Head(fitted[: -shape[1]].reshape(shape), fitted[-shape[1] :], blank.standardise)


def early(x: np.ndarray, y: np.ndarray, classes: int, *, seed: tuple[int, int]) -> Head:
    """Return a head after ``EPOCHS`` epochs of plain stochastic gradient descent.

    It starts from normal weights of variance 1 / D and no bias, and sees batches of ``BATCH`` at a
    rate of ``RATE``; it is a pure function of its arguments.

    Args:
        x: (n, D) features.
        y: (n,) int64 in [0, C).
        classes: C.
        seed: Place of the encoder in its plan, and which draw this is.
    """
    head = _blank(x, classes)
    inputs = head.inputs(x)
    d = inputs.shape[1]
    draws = np.random.default_rng(randomness.seed_for(0, "early head", *seed))
    weights, bias = draws.normal(size=head.weights.shape) / np.sqrt(d), head.bias.copy()
    for _ in range(EPOCHS):
        order = draws.permutation(len(y))
        for start in range(0, len(y), BATCH):
            batch = order[start : start + BATCH]
            p = special.softmax(inputs[batch] @ weights + bias, axis=1)
            slope = (p - _one_hot(y[batch], classes)) / len(batch)
            weights -= RATE * inputs[batch].T @ slope
            bias -= RATE * slope.sum(axis=0)
    return Head(weights, bias, head.standardise)


def errors(head: Head, features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the error and the gradient's norm of each sample, (n,) float64 each.

    The error is ``|p - onehot(y)|_2``. The cross-entropy's gradient by the head's weights is the
    outer product of the inputs h and that difference, and by its bias the difference itself, so
    that its norm is the error times ``sqrt(|h|^2 + 1)``, exactly.

    Args:
        head: C classes.
        features: (n, D).
        labels: (n,) int64; NaN results where below 0.
    """
    error, pull = np.full((2, len(labels)), np.nan)
    for part in parts(len(labels)):
        known = labels[part] >= 0
        p = head.probabilities(features[part])
        apart = p - _one_hot(np.where(known, labels[part], 0), p.shape[1])
        error[part] = np.where(known, np.linalg.norm(apart, axis=1), np.nan)
        pull[part] = np.sqrt(np.sum(head.inputs(features[part]) ** 2, axis=1) + 1)
    return error, error * pull


def of_label(head: Head, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the probability a head gives each sample's label, (n,) in [0, 1]; NaN without one.

    Args:
        head: C classes.
        features: (n, D).
        labels: (n,) int64; NaN results where below 0.
    """
    return answers(head, features, labels)[1]


def answers(head: Head, features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return whether a head finds each sample's label likeliest, and how likely, (n,) float64 each.

    Args:
        head: C classes or more.
        features: (n, D).
        labels: (n,) int64; NaN results where below 0.
    """
    right, mine = np.full((2, len(labels)), np.nan)
    for part in parts(len(labels)):
        p, y = head.probabilities(features[part]), labels[part]
        known = y >= 0
        right[part] = np.where(known, p.argmax(axis=1) == y, np.nan)
        mine[part] = np.where(known, p[np.arange(len(p)), np.where(known, y, 0)], np.nan)
    return right, mine


def parts(n: int) -> list[slice]:
    """Return slices of at most ``ROWS`` that cover n rows."""
    return [slice(start, start + ROWS) for start in range(0, n, ROWS)]


def _blank(x: np.ndarray, classes: int) -> Head:
    """Return a head of zeros that standardises by ``x`` (n, D)."""
    return Head(np.zeros((x.shape[1], classes)), np.zeros(classes), standardiser(x))


def _one_hot(y: np.ndarray, classes: int) -> np.ndarray:
    one_hot: np.ndarray = np.eye(classes)[y]
    return one_hot
