"""Triage: image statistics against their definitions, and every rule at its threshold."""

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import ndimage
from sklearn.datasets import load_digits

from curate.inspection import triage

pytestmark = pytest.mark.numeric


def pictures(n=60, side=28):
    """Digits, enlarged: real images with an edge or two."""
    images = load_digits().images[:n] * 255 / 16
    return [Image.fromarray(i.astype(np.uint8)).resize((side, side)) for i in images]


def stacked(images):
    return np.stack([np.asarray(image)[None] for image in images])


CLEAN = pictures()


def test_statistics_are_what_they_are_called():
    pixels = stacked(CLEAN[:5])
    found = triage.quality(pixels)
    grey = pixels[:, 0] / 255
    edges = np.stack([ndimage.laplace(image, mode="nearest") for image in grey])
    np.testing.assert_allclose(found["brightness"], grey.mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(found["contrast"], grey.std(axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(found["sharpness"], edges.var(axis=(1, 2)), atol=1e-6)
    assert (np.array(found["smoothness"]) > 0.5).all()


def test_colour_is_measured_as_luma():
    red = np.zeros((1, 3, 8, 8), np.uint8)
    red[:, 0] = 255
    assert triage.quality(red)["brightness"][0] == pytest.approx(0.299)


def test_the_quality_of_an_image_does_not_depend_on_its_batch():
    pixels = np.concatenate([stacked(CLEAN)] * 6)
    found = triage.quality(pixels)
    for values in found.values():
        np.testing.assert_allclose(values[:60], values[-60:], atol=1e-12)


def reasons(images, labels=None, near=None):
    labels = np.full(len(images), -1) if labels is None else np.asarray(labels)
    near = np.empty((len(images), 0), int) if near is None else near
    found, thresholds = triage.flaws(
        triage.quality(stacked(images)), labels, triage.vote(labels, near)
    )
    return found.tolist(), thresholds


def test_flawed_images_are_told_by_what_is_wrong_with_them():
    random = np.random.default_rng(0)
    noise = [Image.fromarray(random.integers(0, 256, (28, 28), np.uint8)) for _ in range(5)]
    blank = [Image.new("L", (28, 28), level) for level in (0, 100, 255)]
    grainy = Image.fromarray(random.integers(100, 103, (28, 28)).astype(np.uint8))
    blurred = [image.filter(ImageFilter.GaussianBlur(4)) for image in CLEAN[:5]]
    found, thresholds = reasons([*CLEAN, *noise, *blank, grainy, *blurred])
    assert found[:60] == [None] * 60
    assert found[60:] == ["noise"] * 5 + ["blank"] * 4 + ["blurred"] * 5
    assert thresholds["smoothness"] <= triage.UNLIKE


def test_a_label_is_wrong_where_its_neighbours_agree_on_another():
    n = 60
    labels = np.repeat([0, 1], 30)
    # Ten neighbours of each of its own class, but for four samples.
    near = np.array([[(i // 30) * 30 + (i + j) % 30 for j in range(1, 11)] for i in range(n)])
    near[0] = np.arange(30, 40)  # all of the other class
    near[1] = [*range(30, 38), 2, 3]  # two of its own: too many
    near[2] = [*range(30, 39), 3]  # one of its own: still contradicted
    found, _ = reasons(CLEAN, labels, near)
    assert [i for i, reason in enumerate(found) if reason == "label"] == [0, 2]
    most, share, own = triage.vote(labels, near)
    assert most[:4].tolist() == [1, 1, 1, 0]
    np.testing.assert_allclose(share[:4], [1.0, 0.8, 0.9, 1.0])
    np.testing.assert_allclose(own[:4], [0.0, 0.2, 0.1, 1.0])


def test_without_labels_or_neighbours_no_label_is_wrong():
    none = np.full(4, -1)
    for labels, near in (
        (none, np.zeros((4, 2), int)),
        (np.arange(4), np.empty((4, 0), int)),
    ):
        most, share, own = triage.vote(labels, near)
        assert (most == -1).all()
        assert np.isnan(share).all()
        assert np.isnan(own).all()


def sorted_out(rank, outlier, *, reason=None, redundant=None):
    n = len(rank)
    return triage.triage(
        np.asarray(rank),
        np.asarray(outlier, dtype=float),
        np.array(reason or [None] * n, dtype=object),
        np.zeros(n, bool) if redundant is None else np.asarray(redundant, bool),
        {"contrast": 0.1},
    )


def test_classes_in_order_of_precedence():
    rank = np.arange(1, 11)  # the first two are memorized
    outlier = [9, 0, 9, 0, 0, 0, 0, 0, 0, 8]
    plain = sorted_out(rank, outlier)
    assert plain.classes.tolist() == ["tail"] + ["typical"] * 9
    flawed = sorted_out(rank, outlier, reason=["blank", None, "blank", *[None] * 7])
    assert flawed.classes.tolist() == ["broken"] + ["typical"] * 9
    alike = sorted_out(rank, outlier, redundant=[1, 0, 1, *[0] * 7])
    assert alike.classes.tolist() == ["redundant", "typical", "redundant"] + ["typical"] * 7
    both = sorted_out(rank, outlier, reason=["label", *[None] * 9], redundant=[1, *[0] * 9])
    assert both.classes[0] == "broken"
    assert both.summary.counts == {"tail": 0, "broken": 1, "redundant": 0, "typical": 9}
    assert both.summary.reasons == {"blank": 0, "noise": 0, "blurred": 0, "label": 1}
    assert flawed.summary.flaws["blank"] == 2
    assert plain.summary.thresholds["rank"] == 2
    assert plain.summary.thresholds["contrast"] == 0.1


def test_without_scores_nothing_is_said_of_memorization():
    found = sorted_out([0] * 4, [9, 1, 1, 1], reason=["blank", *[None] * 3], redundant=[0, 1, 0, 0])
    assert found.classes.tolist() == ["typical", "redundant", "typical", "typical"]
    assert found.summary.scored is False
    assert found.summary.thresholds["rank"] is None
    assert found.summary.flaws["blank"] == 1


def test_samples_without_a_score_are_not_memorized():
    found = sorted_out([0, 1, 2, 0, 0], [9, 9, 0, 0, 0])
    assert found.classes.tolist() == ["typical", "tail", *["typical"] * 3]


def test_a_group_is_stood_for_by_its_largest():
    group = np.array([0, 0, -1, 1, 1, 1])
    pixels = np.array([4, 9, 99, 5, 5, 5])
    size = np.array([1, 1, 1, 2, 3, 3])
    stands = triage.representatives(group, pixels, size)
    assert stands.tolist() == [False, True, False, False, True, False]


def test_every_class_and_reason_has_its_rule():
    assert set(triage.RULES) == {*triage.CLASSES, *triage.REASONS}
