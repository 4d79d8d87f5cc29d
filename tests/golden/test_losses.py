"""Every method trains as it did, within what kinds of processor differ by."""

import json

import numpy as np
import pytest
import torch

from tests.golden import losses

pytestmark = pytest.mark.numeric


FIRST_WEIGHTS = {"dino": "2.14"}
"""The oldest torch known to draw the first weights of the stored losses.

2.10 draws others from the same truncated normal distribution.
"""


def limits(stored):
    """Return how far each step's loss may be from the stored one.

    On one machine losses come out bit for bit. Across kinds of processor they cannot: which
    instructions there are decides in which order PyTorch, oneDNN and MKL add up, and so the last
    bit of float32 (1.2e-7), and every step starts from the weights of the one before. Measured
    with the three held to SSE, AVX and AVX2, with MKL's compatible branch and with its branch for
    Intel on an AMD EPYC, step 1 was off by up to 1.7e-7 and the worst of all 20 by 1.2e-6: of the
    loss, or of 1 where it is a sum of larger terms that cancel. Roundings add up like a walk, with
    the root of the steps. So this has room for a factor of 10 at every step, and a temperature of
    0.51 for 0.5 is 50 times too much at the first. A weight
    decay of 1 would pass: at so low a learning rate it does nothing in 20 steps.
    """
    return 1e-5 * np.sqrt(np.arange(1, losses.STEPS + 1)) * np.maximum(1, np.abs(stored))


def held(case, found):
    """Return whether the losses of a case are the stored ones."""
    stored = np.array(json.loads(losses.STORED.read_text())[case])
    return bool((np.abs(np.array(found) - stored) <= limits(stored)).all())


@pytest.mark.parametrize("case", losses.CASES)
def test_losses_are_the_stored_ones_and_bit_for_bit_their_own(case, tmp_path):
    if case == losses.PRIVATE:
        pytest.importorskip("opacus", reason="opacus is not installed")
    found, weights = losses.trained(case, tmp_path / "a")
    assert losses.trained(case, tmp_path / "b") == (found, weights)
    if torch.__version__ < FIRST_WEIGHTS.get(case, "0"):
        pytest.skip(f"torch {torch.__version__} starts {case} otherwise than the stored losses")
    assert held(case, found), (
        f"{case} trains differently: {found}; if that is wanted, python -m tests.golden.losses"
    )


@pytest.mark.parametrize(
    ("case", "change"),
    [
        ("barlow-twins", {"encoder.redundancy": 0.0051}),
        ("dino", {"encoder.student_temperature": 0.102}),
        ("mae", {"encoder.mask_ratio": 0.7}),
        ("simclr", {"encoder.temperature": 0.51}),
        ("simsiam", {"train.lr": 1.02e-4}),
        ("supervised", {"encoder.label_smoothing": 0.01}),
        ("vicreg", {"encoder.variance": 25.5}),
        ("mae-dp", {"train.dp.noise": 1.02}),
    ],
)
def test_a_small_change_of_a_training_is_noticed(case, change, tmp_path):
    if case == losses.PRIVATE:
        pytest.importorskip("opacus", reason="opacus is not installed")
    assert not held(case, losses.trained(case, tmp_path, **change)[0])


def test_a_dropped_normalisation_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "normalize", lambda z, **_: z)
    assert not held("simclr", losses.trained("simclr", tmp_path)[0])


def test_stored_are_the_methods_that_there_are():
    assert list(json.loads(losses.STORED.read_text())) == losses.CASES
