import math

import pytest
import torch

from curate.encoders import methods
from curate.encoders.backbone import Encoder
from curate.encoders.methods.base import Batch
from curate.encoders.methods.supervised import cross_entropy
from curate.errors import DataError, UsageError

pytestmark = pytest.mark.numeric


def made(classes=3, **settings):
    torch.manual_seed(0)
    encoder = Encoder("convnet", size=8, channels=1)
    return methods.build("supervised", encoder, methods.config("supervised", settings), classes)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_the_cross_entropy_of_smoothed_labels(smoothing):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 3, 1, 0])
    wanted = torch.nn.functional.one_hot(labels, 4).double() * (1 - smoothing) + smoothing / 4
    total = -(wanted * logits.log_softmax(dim=1)).sum(dim=1).mean()
    ours = cross_entropy(logits, labels, smoothing)
    assert ours.item() == pytest.approx(total.item(), rel=1e-12)


def test_the_loss_is_the_cross_entropy_worked_by_hand():
    logits = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)
    assert cross_entropy(logits, torch.tensor([1]), 0).item() == pytest.approx(math.log(4 / 3))
    assert cross_entropy(logits, torch.tensor([0]), 0).item() == pytest.approx(math.log(4))


def test_a_step_reaches_encoder_and_head_and_depends_on_the_labels():
    method = made()
    pixels = [torch.rand(6, 1, 8, 8)]
    loss = method(Batch(pixels, labels=torch.tensor([0, 1, 2, 0, 1, 2])))
    loss.backward()
    idle = [n for n, p in method.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
    assert loss.item() != method(Batch(pixels, labels=torch.tensor([1, 1, 2, 0, 1, 2]))).item()


def test_the_encoder_is_the_network_without_its_head():
    method = made(classes=5)
    assert method.supervised and method.n_views == 1
    assert method.head.weight.shape == (5, 64)
    assert method.kept is method.encoder
    assert not [n for n in method.kept.state_dict() if "head" in n]


@pytest.mark.parametrize(("classes", "says"), [(0, "none"), (1, "has 1")])
def test_a_dataset_without_labels_to_tell_apart_is_refused(classes, says):
    with pytest.raises(DataError, match=f"needs a dataset with labels .* {says}"):
        made(classes=classes)


def test_settings_are_strict():
    assert methods.config("supervised", {}).label_smoothing == 0
    with pytest.raises(UsageError, match="Did you mean 'label_smoothing'"):
        methods.config("supervised", {"smoothing": 0.1})
    with pytest.raises(UsageError, match=r"encoder\.label_smoothing"):
        methods.config("supervised", {"label_smoothing": 1})
