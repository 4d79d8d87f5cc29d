"""Covariates against plain definitions, on small clouds of points and images."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from curate.inspection.triage import quality
from curate.runtime.threads import torch_threads
from curate.scores import covariates
from curate.scores.covariates import Cloud

pytestmark = pytest.mark.numeric


@pytest.fixture
def digits():
    return np.round(load_digits().images[:200, None] * 255 / 16).astype(np.uint8)


def test_outlierness_is_the_mean_distance_to_the_nearest_others():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 5)).astype(np.float32)
    unit = points - points.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    apart = np.linalg.norm(unit[:, None] - unit, axis=2)
    np.fill_diagonal(apart, np.inf)
    wanted = np.sort(apart, axis=1)[:, : covariates.NEAREST].mean(axis=1)
    found = Cloud(points, 2).outlierness(points, np.arange(60))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    # Who is no reference may be as near to one as to itself.
    stranger = Cloud(points, 2).outlierness(points[:1], np.array([-1]))
    assert stranger[0] < wanted[0]


def test_components_are_the_principal_ones():
    rng = np.random.default_rng(1)
    points = (rng.normal(size=(80, 6)) * [5, 3, 1, 1, 1, 1]).astype(np.float32)
    found = Cloud(points, 2).components(points)
    u, s, _ = np.linalg.svd(points.astype(np.float64) - points.mean(axis=0), full_matrices=False)
    wanted = u[:, :2] * s[:2]
    np.testing.assert_allclose(np.abs(found), np.abs(wanted), atol=1e-4)


def test_who_is_drawn_does_not_depend_on_the_order():
    keys = np.random.default_rng(2).integers(0, 2**63, 500, dtype=np.uint64)
    drawn = set(keys[covariates.drawn(keys, 50)].tolist())
    assert len(drawn) == 50
    assert set(keys[::-1][covariates.drawn(keys[::-1], 50)].tolist()) == drawn
    assert covariates.drawn(keys, 600).tolist() == list(range(500))


def test_images_are_seen_as_inspection_sees_them(digits):
    small, brightness, contrast = covariates.thumbnails(digits)
    np.testing.assert_allclose(small, digits.reshape(200, -1) / 255, atol=1e-6)
    measured = quality(digits)
    np.testing.assert_allclose(brightness, measured["brightness"], atol=1e-6)
    np.testing.assert_allclose(contrast, measured["contrast"], atol=1e-6)
    large = np.random.default_rng(3).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    pixels = covariates.thumbnails(large)[0].reshape(4, 3, 8, 8)
    np.testing.assert_allclose(pixels[0, 0, 0, 0], large[0, 0, :4, :4].mean() / 255, atol=1e-6)


def test_near_duplicates_are_in_one_cell(digits):
    rng = np.random.default_rng(4)
    noisy = np.clip(0.9 * digits + rng.normal(0, 4, digits.shape), 0, 255).astype(np.uint8)
    own, copies = (covariates.thumbnails(images)[0] for images in (digits, noisy))
    own, copies = covariates.likeness(own), covariates.likeness(copies)
    cells = Cloud(own[: covariates.CELLS], 0)
    assert (cells.nearest(own) == cells.nearest(copies)).mean() > 0.93


def test_several_encoders_count_alike_whatever_their_scale():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(10, 3)), rng.normal(size=(10, 4))
    means = [a.mean(axis=0), b.mean(axis=0)]
    points = covariates.centred_units([a, b], means)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-6)
    scaled = covariates.centred_units([a, 100 * b], [means[0], 100 * means[1]])
    np.testing.assert_allclose(scaled, points, atol=1e-6)


def test_as_many_encoders_as_fit_are_used_and_one_in_any_case():
    assert covariates.fitting([64] * 16) == 16
    assert covariates.fitting([768] * 4) == 2
    assert covariates.fitting([4096, 64]) == 1


def test_labels_become_columns():
    labels = np.array([3, -1, 7, 3])
    names = covariates.frequent(labels)
    assert names.tolist() == [3, 7]
    assert covariates.one_hot(labels, names).tolist() == [[1, 0], [0, 0], [0, 1], [1, 0]]


def test_what_a_cloud_computes_does_not_depend_on_the_number_of_cores():
    points = np.random.default_rng(0).normal(size=(900, 192)).astype(np.float32)

    def computed(number):
        with torch_threads(number, "cpu"):
            cloud = Cloud(points, 24)
            return cloud.components(points).tobytes(), cloud.distances(points).numpy().tobytes()

    assert computed(1) == computed(2)
