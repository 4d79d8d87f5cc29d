"""What probes share: a validation split that is fair to every class."""

import numpy as np

from curate.evaluation.probes.base import validation_split


def test_the_validation_split_takes_a_fifth_of_every_class():
    labels = np.repeat([0, 1, 2, 3], [100, 50, 3, 2])
    held = validation_split(labels, 0)
    assert np.bincount(labels[held], minlength=4).tolist() == [20, 10, 1, 0]
    assert (validation_split(labels, 0) == held).all()
    assert (validation_split(labels, 1) != held).any()
