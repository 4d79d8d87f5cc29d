"""feldman-softmax, on a case that is worked by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from curate.scores.measures import MEASURES
from tests.scores.measures.by_hand import samples

pytestmark = pytest.mark.numeric


def test_feldman_softmax_is_how_much_likelier_networks_find_the_label_of_what_they_saw():
    measure = MEASURES["feldman-softmax"](samples(2))
    told = [((True, True), (0.9, 0.5)), ((True, False), (0.7, 0.1)), ((False, False), (0.2, 0.3))]
    told.append(((False, False), (0.4, 0.8)))
    for inside, p in told:
        right = np.full(2, np.nan)
        measure.add(SimpleNamespace(inside=np.array(inside), answers=(right, np.array(p))))
    assert measure.values() == pytest.approx([0.8 - 0.3, 0.5 - 0.4])
    # One network alone on a side says nothing of how networks differ.
    wanted = (np.var([0.9, 0.7], ddof=1) / 2 + np.var([0.2, 0.4], ddof=1) / 2) ** 0.5
    assert measure.errors() == pytest.approx([wanted, np.nan], nan_ok=True)
