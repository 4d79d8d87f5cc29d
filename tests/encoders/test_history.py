import math

import pytest
import torch

from curate.encoders.history import PATIENCE, History
from curate.errors import DivergedError


def losses(*values, first=1):
    return [
        (first + i, None if v is None else torch.tensor(v, dtype=torch.float64))
        for i, v in enumerate(values)
    ]


def test_an_epoch_has_the_mean_of_its_finite_losses():
    history = History(step=4)
    history.spend(0.5)
    history.count(losses(1.0, None), 9)
    history.count(losses(math.inf, 4.0, first=3), 9)
    history.spend(1.5)
    history.end_epoch(0, 0.25, 80)
    assert history.log == [
        {"epoch": 1, "step": 4, "loss": 2.5, "lr": 0.25, "images_per_second": 40.0, "seconds": 2.0}
    ]
    assert (history.skipped, history.in_a_row, history.seconds) == (1, 0, 2.0)
    history.end_epoch(1, 0.5, 80)
    assert history.log[1]["loss"] is None and history.log[1]["images_per_second"] is None


def test_too_many_in_a_row_end_a_training():
    history = History()
    history.count(losses(*[math.nan] * (PATIENCE - 1), 1.0), 99)
    history.count(losses(*[math.nan] * (PATIENCE - 1), first=11), 99)
    with pytest.raises(DivergedError, match=r"10 steps in a row \(step 20 of 99\)"):
        history.count(losses(math.nan, 1.0, first=20), 99)
    assert history.skipped == 19
