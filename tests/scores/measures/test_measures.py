"""Measures by name: which can be chosen, what each says it is, and what needs a label."""

import numpy as np
import pytest

from curate.errors import UsageError
from curate.scores import measures
from curate.scores.measures import MEASURES, Look
from tests.scores.measures.by_hand import samples, take

pytestmark = pytest.mark.numeric


def test_a_sample_without_label_has_no_measure_of_labels():
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    some = samples(6, labels=[0, 1, 0, 1, 0, -1])
    for inside in ([1, 1, 1, 1, 0, 1], [0, 0, 1, 1, 1, 0]):
        look = Look(some, 0, 0, np.array(inside, dtype=bool), x, x[:0], lambda corner: x)
        for kind in ("supervised", "deja-vu", "el2n", "grand", "loss"):
            measure = MEASURES[kind](some)
            take(measure, look)
            assert np.isnan(measure.values()[5]), kind
    assert np.isfinite(MEASURES["el2n"](some).values()).sum() == 0


def test_an_encoder_without_labelled_samples_says_nothing_of_labels():
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    some = samples(4, labels=[0, 1, -1, -1])
    look = Look(some, 0, 0, np.array([0, 0, 1, 1], dtype=bool), x, x[:0], lambda corner: x)
    for kind in ("supervised", "el2n", "grand", "loss"):
        measure = MEASURES[kind](some)
        take(measure, look)
        assert np.isnan(measure.values()).all(), kind


def test_all_measures_are_chosen_that_the_labels_allow():
    everything, none = measures.choose(None, labelled=True, classifiers=True)
    assert (everything, none) == (list(MEASURES), [])
    of_frozen = measures.choose(None, labelled=True, classifiers=False)
    assert of_frozen == ([k for k in MEASURES if not k.startswith("feldman")], [])
    assert measures.choose(None, labelled=False, classifiers=False) == (
        ["relative", "alignment", "knn-outlierness"],
        ["supervised", "deja-vu", "el2n", "grand", "loss"],
    )
    some = measures.choose(["loss", "alignment"], labelled=True, classifiers=False)
    assert some[0] == ["alignment", "loss"]
    with pytest.raises(UsageError, match="measure supervised, el2n needs labels") as error:
        measures.choose(["el2n", "supervised", "alignment"], labelled=False, classifiers=False)
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="Did you mean 'deja-vu'"):
        measures.choose(["dejavu"], labelled=True, classifiers=False)
    with pytest.raises(UsageError, match="kinds names no measure; choose from: supervised"):
        measures.choose([], labelled=True, classifiers=False)
    with pytest.raises(UsageError, match="measure feldman needs classifiers: a run whose"):
        measures.choose(["feldman"], labelled=True, classifiers=False)


@pytest.mark.parametrize("kind", MEASURES)
def test_every_measure_says_what_it_is(kind):
    assert MEASURES[kind].text
    doc = MEASURES[kind].__doc__
    assert "Unit:" in doc
    assert "Range:" in doc
    assert "higher = " in doc
    assert measures.column(kind).isidentifier()
