"""Schedule: rates, the optimizer, and the epochs whose encoders are kept."""

import pytest
import torch

from curate.encoders import schedule
from curate.encoders.config import TrainConfig

pytestmark = pytest.mark.numeric


def test_learning_rate_warms_up_and_falls_to_zero():
    rates = [schedule.learning_rate(s, 100, 10, 2.0) for s in range(100)]
    assert rates[0] == pytest.approx(0.2) and rates[9] == pytest.approx(2.0)
    assert rates[10] == 2.0 and rates[55] == pytest.approx(1.0) and rates[99] < 0.001
    assert schedule.learning_rate(0, 5, 0, 1.0) == 1.0
    assert schedule.learning_rate(4, 5, 5, 1.0) == 1.0


def test_biases_and_normalisation_are_not_decayed():
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    for name in ("adamw", "sgd", "lars"):
        groups = schedule.optimizer(network, TrainConfig(optimizer=name)).param_groups
        assert groups[0]["weight_decay"] > 0 and [p.ndim for p in groups[0]["params"]] == [2]
        assert groups[1]["weight_decay"] == 0 and len(groups[1]["params"]) == 3
