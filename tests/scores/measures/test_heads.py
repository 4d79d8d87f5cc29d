"""Linear heads against other people's code, and by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from curate.encoders.representation import standardiser
from curate.scores.measures import heads

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return data.data[:300].astype(np.float32), data.target[:300].astype(np.int64)


def test_a_converged_head_is_a_logistic_regression(digits):
    x, y = digits
    found = heads.converged(x, y, 10).probabilities(x)
    scale = standardiser(x)
    plain = LogisticRegression(C=1 / (len(y) * heads.PENALTY), max_iter=10_000, tol=1e-8)
    assert found == pytest.approx(plain.fit(scale(x), y).predict_proba(scale(x)), abs=2e-3)


def test_a_head_says_the_same_in_parts_as_at_once(digits, monkeypatch):
    x, y = digits
    labels = np.where(np.arange(len(y)) == 5, -1, y)
    head = heads.converged(x, y, 10)
    p = heads.of_label(head, x, labels)
    assert p[:5] == pytest.approx(head.probabilities(x)[np.arange(5), y[:5]])
    assert np.isnan(p).nonzero()[0].tolist() == [5]
    both = heads.errors(head, x, labels)
    monkeypatch.setattr(heads, "ROWS", 7)
    assert heads.of_label(head, x, labels) == pytest.approx(p, nan_ok=True)
    for part, whole in zip(heads.errors(head, x, labels), both, strict=True):
        assert part == pytest.approx(whole, nan_ok=True)
    again = heads.of_label(heads.converged(x, y, 10), x, labels)
    assert again == pytest.approx(p, abs=1e-4, nan_ok=True)


def test_a_class_that_is_not_taught_is_unlikely(digits):
    x, y = digits
    some = y < 5
    p = heads.converged(x[some], y[some], 10).probabilities(x[some])
    assert p.shape == (some.sum(), 10)
    assert p[:, 5:].max() < 0.05


def test_an_early_head_has_made_the_steps_of_torchs_descent(digits, monkeypatch):
    x, y = digits[0][:20], digits[1][:20]
    monkeypatch.setattr(heads, "EPOCHS", 0)
    before = heads.early(x, y, 10, seed=(3, 1))
    monkeypatch.setattr(heads, "EPOCHS", 2)
    after = heads.early(x, y, 10, seed=(3, 1))
    weights = torch.tensor(before.weights, requires_grad=True)
    bias = torch.tensor(before.bias, requires_grad=True)
    inputs, target = torch.tensor(before.inputs(x)), torch.tensor(y)
    descent = torch.optim.SGD([weights, bias], lr=heads.RATE)
    for _ in range(2):
        descent.zero_grad()
        torch.nn.functional.cross_entropy(inputs @ weights + bias, target).backward()
        descent.step()
    assert after.weights == pytest.approx(weights.detach().numpy(), abs=1e-12)
    assert after.bias == pytest.approx(bias.detach().numpy(), abs=1e-12)
    again, other = (heads.early(x, y, 10, seed=s).weights for s in ((3, 1), (3, 2)))
    assert (again == after.weights).all()
    assert np.abs(other - after.weights).max() > 0.1


def test_the_errors_of_a_head_are_those_worked_by_hand():
    head = heads.Head(np.zeros((2, 2)), np.array([math.log(3), 0.0]), lambda x: x)
    x = np.array([[3.0, 4.0], [0.0, 0.0], [1.0, 1.0]], dtype=np.float32)
    # p = (3/4, 1/4) for all: the label 0 is off by (-1/4, 1/4), the label 1 by (3/4, -3/4).
    el2n, grand = heads.errors(head, x, np.array([0, 1, -1]))
    wanted = [math.sqrt(2) / 4, 3 * math.sqrt(2) / 4]
    assert el2n == pytest.approx([*wanted, np.nan], nan_ok=True)
    # |h|^2 + 1 is 26 and 1.
    assert grand == pytest.approx([wanted[0] * math.sqrt(26), wanted[1], np.nan], nan_ok=True)


def test_grand_is_the_norm_of_the_gradient_that_torch_finds(digits):
    x, y = digits
    head = heads.early(x, y, 10, seed=(0, 0))
    _, grand = heads.errors(head, x[:5], y[:5])
    for i in range(5):
        weights = torch.tensor(head.weights, requires_grad=True)
        bias = torch.tensor(head.bias, requires_grad=True)
        logits = torch.tensor(head.inputs(x[i : i + 1])) @ weights + bias
        torch.nn.functional.cross_entropy(logits, torch.tensor(y[i : i + 1])).backward()
        norm = math.sqrt(float(weights.grad.square().sum() + bias.grad.square().sum()))
        assert grand[i] == pytest.approx(norm, rel=1e-9)
