"""A captured step is every step: told on a CPU, where its operations are repeated as a graph's are.

A graph holds the numbers of the host as they were, and reads and writes the same memory again.
"""

import numpy as np
import pytest
import torch

from curate.data.canvas import Canvas
from curate.encoders import methods
from curate.encoders.backbone import Encoder
from curate.encoders.captured import Captured
from curate.encoders.checkpoint import tensors_of
from curate.encoders.loop import Loop
from curate.encoders.methods.base import Method
from curate.runs import recipe as recipes
from tests.golden.losses import IMAGES, LABELS, SMALL, UIDS
from tests.operations import as_on_card, recorded

pytestmark = pytest.mark.numeric

EPOCHS = 10


def loop_of(method, capture, **changes):
    """Return the loop of a training whose every epoch is a step of 32 of 40 digits."""
    content = {
        "name": "small",
        "data": {"source": "digits", "size": 8, "channels": changes.pop("channels", 1)},
        "plan": {"kind": "halves"},
        "encoder": {"backbone": "convnet", "method": method} | SMALL.get(method, {}),
        "train": {"epochs": EPOCHS, "warmup_epochs": 2, "batch_size": 32, "lr": 1e-3, "threads": 1},
        "views": {"train": "simclr"},
    }
    recipe = recipes.build(content, changes, where="test")
    torch.manual_seed(0)
    channels = recipe.data.channels
    encoder = Encoder(recipe.encoder.backbone, size=8, channels=channels)
    images = np.repeat(IMAGES, channels, axis=1)
    if channels == 3:
        images[:, 1] //= 2  # colours
    loop = Loop(
        methods.build(method, encoder, recipe.method_config, 10).train(),
        recipe.training_spec(),
        canvas=Canvas(images, UIDS.astype(np.bytes_)),
        uids=np.array(sorted(UIDS), dtype=object),
        labels=LABELS,
    )
    loop.capture = capture
    return as_on_card(loop)


def by_hand(work):
    """Repeat work by doing it again, with all that the host then knows."""
    result = torch.zeros(())
    return lambda: result.copy_(work().detach()), result


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        *((name, {"channels": 3}) for name in sorted(methods.METHODS)),
        ("simclr", {"train.alignment_lambda": 0.1}),
        ("simclr", {"train.optimizer": "lars", "train.lr": 0.3}),
        ("simclr", {"train.optimizer": "sgd", "train.lr": 0.03, "train.clip_norm": 0.5}),
        ("mae", {"train.precision": "bfloat16", "views.mask": 0.3, "views.noise": 0.1}),
        ("dino", {"encoder.freeze_last_epochs": 5.0}),
    ],
)
def test_a_repeated_step_is_the_step_that_was_due(method, changes):
    ends = []
    for capture in (None, by_hand, recorded):
        loop = loop_of(method, capture, **changes)
        loop.run(None)
        assert (loop.repeated is not None) == (capture is not None)
        tensors = {name: t.clone() for name, t in tensors_of(loop.method, loop.optimizer).items()}
        ends.append(([line["loss"] for line in loop.progress.log], tensors))
    (plain, _), (losses, tensors), (again, others) = ends
    # The same operations on the same numbers.
    assert again == losses
    for name, tensor in tensors.items():
        assert torch.equal(others[name], tensor), name
    # A rate of 24 bits is almost that of the host.
    rough = changes.get("train.precision") == "bfloat16"
    assert losses == pytest.approx(plain, rel=5e-3 if rough else 1e-4, abs=1e-6)


def test_a_step_that_is_not_finite_is_taken_back_by_a_graph_as_well():
    ends = []
    for capture in (by_hand, recorded):
        loop = loop_of("simclr", capture)
        for step in range(EPOCHS):
            loop.progress.step = step
            loss = loop.advance()
            if step in (6, 7):
                loop.method.projector[0].weight.data.mul_(float("nan") if step == 6 else 1)
                assert bool(loss.isfinite()) == (step == 6)
                if step == 7:
                    torch.manual_seed(1)
                    loop.method.projector[0].reset_parameters()
        ends.append((loss, tensors_of(loop.method, loop.optimizer)))
    (loss, tensors), (again, others) = ends
    assert torch.equal(loss, again) and loss.isfinite()
    assert all(torch.equal(others[name], tensor) for name, tensor in tensors.items())


class Reading(Method):
    """A loss that the host decides on."""

    n_views = 1

    def __init__(self, encoder, config=None):
        super().__init__(encoder)
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, batch):
        return self.weight.sum() * (1.0 if float(batch.views[0].mean()) > 0 else 2.0)


def test_a_step_that_asks_the_host_is_not_captured(caplog):
    loop = loop_of("simclr", recorded)
    chosen = Loop(
        Reading(loop.method.encoder),
        recipes.build(
            {
                "name": "small",
                "data": {"source": "digits", "size": 8, "channels": 1},
                "plan": {"kind": "halves"},
                "encoder": {"backbone": "convnet", "method": "simclr"},
                "train": {"epochs": 8, "warmup_epochs": 1, "batch_size": 32, "threads": 1},
                "views": {"train": "digits"},
            },
            {},
            where="test",
        ).training_spec(),
        canvas=Canvas(IMAGES, UIDS.astype(np.bytes_)),
        uids=np.array(sorted(UIDS), dtype=object),
    )
    chosen.capture = recorded
    outcome = as_on_card(chosen).run(None)
    assert (outcome.steps, outcome.skipped) == (8, 0)
    assert [r.message for r in caplog.records] == [
        "a step is asked for kernel by kernel, since it was not captured: operation not permitted "
        "when stream is capturing: _local_scalar_dense"
    ]


def test_a_graph_takes_other_samples_and_leaves_its_result_alone():
    total, step = torch.zeros(2), torch.zeros((), dtype=torch.int64)

    def work(places, pixels):
        total.add_(pixels.sum(dim=1) * step)
        return total.sum() + places.sum()

    graph = Captured(work, step, torch.zeros(2, dtype=torch.int64), torch.ones(2, 3), recorded)
    assert total.tolist() == [0, 0]
    places = torch.tensor([1, 2])
    first = graph(2, places, torch.ones(2, 3))
    second = graph(3, places, torch.full((2, 3), 2.0))
    assert total.tolist() == [24, 24]
    assert (first.item(), second.item()) == (15, 51)
