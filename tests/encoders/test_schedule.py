"""Schedule: rates, the optimizer, and the epochs whose encoders are kept."""

import pytest
import torch

from curate.encoders import schedule
from curate.encoders.config import TrainConfig
from tests.operations import Operations

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
        groups = schedule.optimizer(network, TrainConfig(optimizer=name), "cpu").param_groups
        assert groups[0]["weight_decay"] > 0 and [p.ndim for p in groups[0]["params"]] == [2]
        assert groups[1]["weight_decay"] == 0 and len(groups[1]["params"]) == 3


@pytest.mark.parametrize("name", ["lars", "sgd"])
def test_all_weights_at_once_are_stepped_as_one_after_the_other(name):
    ends = []
    for device in ("cuda", "cpu"):
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Flatten(),
            torch.nn.Linear(32, 5),
        ).to(memory_format=torch.channels_last)  # fmt: skip
        with torch.no_grad():
            network[3].weight.zero_()  # a norm of 0 adapts nothing
        chosen = schedule.optimizer(network, TrainConfig(optimizer=name, lr=0.3), device)
        for step in range(10):
            chosen.zero_grad()
            network(torch.rand(6, 3, 4, 4)).square().mean().backward()
            if step < 3:  # as DINO's last layer does, one joins later
                network[3].weight.grad = None
            with Operations() as asked:
                chosen.step()
            assert device == "cpu" or not asked.reads
            if device == "cuda":  # where a learning rate is a tensor
                for group in chosen.param_groups:
                    group["lr"] = torch.tensor(0.3)
        ends.append([p.detach().clone() for p in network.parameters()])
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-7)
