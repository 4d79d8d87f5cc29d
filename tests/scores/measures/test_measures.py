"""Each measure on a case that is worked by hand, and the heads against other people's code."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from curate.encoders.representation import standardiser
from curate.errors import UsageError
from curate.scores import measures
from curate.scores.measures import MEASURES, Look, Samples, deja_vu, heads

pytestmark = pytest.mark.numeric


def samples(n=2, *, labels=None, align=None, public=()):
    return Samples(
        keys=np.arange(n, dtype=np.uint64),
        labels=np.zeros(n, dtype=np.int64) if labels is None else np.array(labels),
        classes=2,
        align=np.zeros(n) if align is None else np.array(align),
        public_words=np.arange(100, 100 + len(public), dtype=np.uint64),
        public_labels=np.array(public, dtype=np.int64),
    )


def said(kind, inside, **what):
    """Return a measure of three encoders that say ``what`` of two samples each."""
    measure = MEASURES[kind](samples())
    for e, members in enumerate(inside):
        told = {name: values[e] for name, values in what.items()}
        measure.add(SimpleNamespace(inside=np.array(members), **told))
    return measure.values()


INSIDE = [[True, False], [True, False], [False, False]]


def test_supervised_is_inside_minus_outside():
    p = np.array([[0.9, 0.3], [0.7, 0.2], [0.5, 0.4]])
    # (0.9 + 0.7) / 2 - 0.5; the second sample is in no encoder.
    assert said("supervised", INSIDE, probability=p) == pytest.approx([0.3, np.nan], nan_ok=True)


def test_loss_is_that_of_encoders_without_the_sample():
    p = np.array([[0.9, 0.5], [0.7, 0.25], [0.5, 0.125]])
    assert said("loss", INSIDE, probability=p) == pytest.approx([math.log(2), 2 * math.log(2)])


@pytest.mark.parametrize(("kind", "which"), [("el2n", 0), ("grand", 1)])
def test_early_scores_are_those_of_encoders_with_the_sample(kind, which):
    early = []
    for a in (0.2, 0.6, 5.0):
        both = [np.full(2, np.nan), np.full(2, np.nan)]
        both[which] = np.array([a, 1.0])
        early.append(tuple(both))
    assert said(kind, INSIDE, early=early) == pytest.approx([0.4, np.nan], nan_ok=True)


def test_a_sample_without_label_has_no_measure_of_labels():
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    some = samples(6, labels=[0, 1, 0, 1, 0, -1])
    for inside in ([1, 1, 1, 1, 0, 1], [0, 0, 1, 1, 1, 0]):
        look = Look(some, 0, 0, np.array(inside, dtype=bool), x, x[:0], lambda corner: x)
        for kind in ("supervised", "deja-vu", "el2n", "grand", "loss"):
            measure = MEASURES[kind](some)
            measure.add(look)
            assert np.isnan(measure.values()[5]), kind
    assert np.isfinite(MEASURES["el2n"](some).values()).sum() == 0


def test_an_encoder_without_labelled_samples_says_nothing_of_labels():
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    some = samples(4, labels=[0, 1, -1, -1])
    look = Look(some, 0, 0, np.array([0, 0, 1, 1], dtype=bool), x, x[:0], lambda corner: x)
    for kind in ("supervised", "el2n", "grand", "loss"):
        measure = MEASURES[kind](some)
        measure.add(look)
        assert np.isnan(measure.values()).all(), kind


def test_alignment_is_what_it_is_given_and_asks_no_encoder():
    measure = MEASURES["alignment"](samples(align=[0.5, 0.25]))
    assert not measure.wants(0)
    assert measure.values().tolist() == [0.5, 0.25]


def test_outlierness_is_the_mean_distance_without_the_sample():
    # Four points on a circle: two at sqrt 2, one at 2 from each; then all on one line: 0 or 2.
    cross = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], dtype=np.float32)
    line = np.array([[1, 0], [-1, 0], [1, 0], [-1, 0]], dtype=np.float32)
    a, b = (2 * math.sqrt(2) + 2) / 3, (0 + 2 + 2) / 3
    measure = MEASURES["knn-outlierness"](samples(4))
    assert measure.wants(0)
    assert not measure.wants(1)
    measure.add(SimpleNamespace(features=cross, inside=np.array([1, 0, 0, 1], dtype=bool)))
    measure.add(SimpleNamespace(features=line, inside=np.array([0, 1, 0, 1], dtype=bool)))
    # The last one is in both, so that both count.
    assert measure.values() == pytest.approx([b, a, (a + b) / 2, (a + b) / 2], abs=1e-6)


def test_votes_go_to_the_nearest_and_copies_have_none(monkeypatch):
    monkeypatch.setattr(deja_vu, "K", 2)
    pool = np.array([[1, 0], [0.9, 0.1], [-1, 0], [-0.9, -0.1]], dtype=np.float32)
    labels = np.array([0, 1, 1, 1])
    words = np.array([10, 11, 12, 13], dtype=np.uint64)
    query = np.array([[2, 0], [2, 0], [-5, 0]], dtype=np.float32)
    asked = np.array([1, 10, 2], dtype=np.uint64)
    # Next to the first lie one 0 and one 1, the 0 nearer; the second is the copy of that 0.
    found = deja_vu.votes(query, asked, pool, words, labels, 2)
    assert found.tolist() == [0, 1, 1]
    monkeypatch.setattr(deja_vu, "HELD_BYTES", 1)
    assert deja_vu.votes(query, asked, pool, words, labels, 2).tolist() == [0, 1, 1]
    # Where all there is to vote is a copy, nobody does.
    alone = deja_vu.votes(query[1:2], asked[1:2], pool[:1], words[:1], labels[:1], 2)
    assert alone.tolist() == [-1]


def test_deja_vu_is_right_corners_inside_minus_outside(monkeypatch):
    monkeypatch.setattr(deja_vu, "K", 1)
    some = samples(2, labels=[0, 1], public=[0, 1])
    public = np.array([[1, 0], [-1, 0]], dtype=np.float32)
    near_0, near_1 = [2.0, 0.0], [-2.0, 0.0]

    def look(inside, corners):
        shown = np.array(corners, dtype=np.float32)
        return Look(some, 0, 0, np.array(inside), public, public, lambda c: shown[c])

    measure = MEASURES["deja-vu"](some)
    # Trained on the first: all four of its corners are right, and two of the second's.
    measure.add(look([True, False], [[near_0, near_1]] * 2 + [[near_0, near_0]] * 2))
    # Trained on the second: one corner of the first is right, and all of the second's.
    measure.add(look([False, True], [[near_0, near_1]] + [[near_1, near_1]] * 3))
    assert measure.values() == pytest.approx([1 - 0.25, 1 - 0.5])


def test_without_public_samples_those_outside_vote(monkeypatch):
    monkeypatch.setattr(deja_vu, "K", 1)
    x = np.array([[1, 0], [1, 0.1], [-1, 0], [-1, 0.1]], dtype=np.float32)
    some = samples(4, labels=[0, 0, 1, 1])
    measure = MEASURES["deja-vu"](some)
    inside = np.array([True, False, True, False])
    measure.add(Look(some, 0, 0, inside, x, x[:0], lambda corner: x))
    measure.add(Look(some, 1, 0, ~inside, x, x[:0], lambda corner: x))
    # Samples 1 and 3 vote, and not on themselves: then the other class is all there is.
    assert measure.values() == pytest.approx([1.0, 1.0, 1.0, 1.0])


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


def test_heads_work_in_parts(digits, monkeypatch):
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


def test_errors_by_hand():
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


def test_choosing():
    everything, none = measures.choose(None, labelled=True)
    assert (everything, none) == (list(MEASURES), [])
    assert measures.choose(None, labelled=False) == (
        ["alignment", "knn-outlierness"],
        ["supervised", "deja-vu", "el2n", "grand", "loss"],
    )
    assert measures.choose(["loss", "alignment"], labelled=True)[0] == ["alignment", "loss"]
    with pytest.raises(UsageError, match="measure supervised, el2n needs labels") as error:
        measures.choose(["el2n", "supervised", "alignment"], labelled=False)
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="Did you mean 'deja-vu'"):
        measures.choose(["dejavu"], labelled=True)
    with pytest.raises(UsageError, match="kinds names no measure; choose from: supervised"):
        measures.choose([], labelled=True)


@pytest.mark.parametrize("kind", MEASURES)
def test_every_measure_says_what_it_is(kind):
    assert MEASURES[kind].text
    doc = MEASURES[kind].__doc__
    assert "Unit:" in doc
    assert "Range:" in doc
    assert "higher = " in doc
    assert measures.column(kind).isidentifier()
