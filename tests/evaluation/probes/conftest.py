"""Digits as features, for the tests of every probe."""

import numpy as np
import pytest
from sklearn.datasets import load_digits


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    x = data.data.astype(np.float32)
    return x[:1000], data.target[:1000], x[1000:1400], data.target[1000:1400]
