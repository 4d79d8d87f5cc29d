"""Neighbours against a plain NumPy oracle, on real images and on the awkward cases."""

import builtins

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import LocalOutlierFactor

from curate.errors import DivergedError, ResourceError
from curate.inspection import neighbours
from curate.inspection.summary import IndexUsed

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def digits():
    points = load_digits().data[:300].astype(np.float32)
    points[250] = points[3]  # an exact duplicate
    points[251] = points[3]
    points[252] = points[40] + 0.05  # a near one
    return points


def unit(points):
    x = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def oracle(points):
    """Every distance, one pair at a time in float64; infinite to itself."""
    x = unit(points)
    return np.linalg.norm(x[:, None] - x[None], axis=2) + np.where(np.eye(len(x)), np.inf, 0)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_agrees_with_every_distance_computed(digits, k):
    found, apart = neighbours.nearest(digits, k), oracle(digits)
    np.testing.assert_allclose(found.distance, np.sort(apart, axis=1)[:, :k], atol=1e-5)
    np.testing.assert_allclose(found.outlier_score(), np.sort(apart)[:, :k].mean(1), atol=1e-5)
    named = np.take_along_axis(apart, found.near, axis=1)
    np.testing.assert_allclose(named, found.distance, atol=1e-5)
    assert found.search == IndexUsed("flat", None, 0)


def test_the_local_outlier_factor_is_scikit_learns(digits):
    points = np.unique(digits, axis=0)  # without copies, which each library takes in its own way
    ours = neighbours.nearest(points, 10).local_outlier_factor()
    theirs = LocalOutlierFactor(n_neighbors=10).fit(unit(points)).negative_outlier_factor_
    np.testing.assert_allclose(ours, -theirs, rtol=1e-4)


def test_the_local_outlier_factor_is_finite_among_copies(digits):
    many = np.concatenate([digits, np.repeat(digits[:1], 50, axis=0)])
    factor = neighbours.nearest(many, 10).local_outlier_factor()
    assert np.isfinite(factor).all()
    assert (factor > 0).all()
    assert factor[-1] == pytest.approx(1.0)
    assert (neighbours.nearest(many[-50:], 10).local_outlier_factor() == 1).all()


def test_exact_copies_are_at_distance_0_and_ties_go_by_position(digits):
    found = neighbours.nearest(digits, 3)
    assert found.distance[[3, 250, 251], 0].tolist() == [0.0] * 3
    assert found.near[[3, 250, 251], :2].tolist() == [[250, 251], [3, 251], [3, 250]]


def test_permuting_the_samples_changes_nothing(digits):
    points = np.unique(digits, axis=0)
    shuffled = np.random.default_rng(0).permutation(len(points))
    one, other = neighbours.nearest(points, 5), neighbours.nearest(points[shuffled], 5)
    assert (shuffled[other.near] == one.near[shuffled]).mean() > 0.99
    np.testing.assert_allclose(one.outlier_score()[shuffled], other.outlier_score(), atol=1e-5)


def test_more_than_fit_an_exact_index_are_searched_in_part_and_it_says_how_well(
    digits, monkeypatch
):
    exact = neighbours.nearest(digits, 5)
    monkeypatch.setattr(neighbours, "EXACT", 200)
    monkeypatch.setattr(neighbours, "PROBED", 8)
    part = neighbours.nearest(digits, 5)
    same = (exact.near[:, :, None] == part.near[:, None]).any(axis=2).mean()
    assert part.search.kind == "ivf"
    assert part.search.queries == 300
    assert 0.5 < part.search.recall < 1
    # The recall that is told counts a point itself among the k + 1.
    assert part.search.recall == pytest.approx((5 * same + 1) / 6, abs=0.02)
    monkeypatch.setattr(neighbours, "PROBED", 10_000)
    assert neighbours.nearest(digits, 5).search.recall > 0.99


@pytest.mark.parametrize("lists", [False, True])
def test_codes_find_nearly_all_that_an_exact_search_finds(lists):
    points = neighbours.unit(np.random.default_rng(2).normal(size=(2000, 48)).astype(np.float32))
    index = neighbours.Index.coded(points, lists=lists)
    similar, near = index.search(points[:100], 5, probed=1000)
    exact, true = neighbours.Index.of(points, 5).search(points[:100], 5)
    assert (near[:, 0] == np.arange(100)).all()
    assert (near[:, :, None] == true[:, None]).any(axis=2).mean() > 0.9
    # What is found has the similarity that it has, not that of its code.
    np.testing.assert_allclose(
        similar, np.einsum("qd,qkd->qk", points[:100], points[near]), atol=1e-5
    )
    assert (similar <= exact + 1e-5).all()
    told = index.quality(4)
    assert (told.kind, told.queries) == ("codes", 1000)
    assert told.recall > 0.9 if not lists else 0.3 < told.recall < 1


def test_fewer_samples_than_neighbours_asked_for():
    points = np.array([[1, 0], [0, 1], [-1, -1]], np.float32)
    found = neighbours.nearest(points, 10)
    assert found.near.shape == (3, 2)
    np.testing.assert_allclose(found.distance, np.sort(oracle(points))[:, :2], atol=1e-6)


@pytest.mark.parametrize("n", [0, 1])
def test_without_others_there_is_no_neighbour(n):
    found = neighbours.nearest(np.ones((n, 4), np.float32), 3)
    assert found.near.shape == (n, 0)
    assert np.isnan(found.outlier_score()).sum() == n
    assert np.isnan(found.local_outlier_factor()).sum() == n


@pytest.mark.parametrize("value", [0.0, 0.1, 1234.567])
def test_equal_embeddings_are_at_distance_0_not_nan(value):
    found = neighbours.nearest(np.full((7, 5), value, np.float32), 2)
    assert found.outlier_score().tolist() == [0.0] * 7
    assert found.local_outlier_factor().tolist() == [1.0] * 7


def test_a_sample_at_the_centre_is_like_no_other():
    found = neighbours.nearest(np.array([[1, 0], [-1, 0], [0, 0]], np.float32), 1)
    assert found.distance[2, 0] == pytest.approx(2**0.5)


def test_representations_that_are_not_finite_are_refused():
    with pytest.raises(DivergedError, match="not finite"):
        neighbours.nearest(np.array([[1, 0], [np.nan, 0]], np.float32), 1)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ModuleNotFoundError("No module named 'faiss'", name="faiss"), "FAISS is not installed"),
        (
            ImportError("libcudart.so.12: cannot open shared object file"),
            r"cannot be imported \(libcudart.* pip uninstall -y faiss-cpu faiss-gpu",
        ),
    ],
)
def test_without_faiss_the_extra_is_named(monkeypatch, error, text):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "faiss":
            raise error
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ResourceError, match=rf"{text}.*pip install 'curate\[cpu\]'"):
        neighbours.faiss_version()
