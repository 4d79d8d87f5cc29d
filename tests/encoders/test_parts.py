"""Parts of a batch: what torch does to each, and what is of all of them."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from curate.data.canvas import Canvas
from curate.encoders.loop import Loop
from curate.encoders.methods.base import Method
from curate.encoders.parts import Parted, averaged, batch_norm, gathered
from curate.encoders.ranks import ALONE
from curate.runs import recipe
from tests.golden.losses import IMAGES, UIDS

pytestmark = pytest.mark.numeric


def normal(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def parted(x, k):
    return Parted([part.detach().requires_grad_() for part in x.chunk(k)], ALONE)


def of(parts):
    return torch.cat([part.grad for part in parts.parts])


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 5, 4)], ids=["vectors", "maps"])
def test_batch_norm_over_parts_is_that_of_the_whole_batch(shape, affine, k):
    x = 3 + 2 * normal(*shape)
    if x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    wanted = normal(*shape).flip(0)
    weight, bias = (normal(2, 3) + 1).unbind() if affine else (None, None)
    one, two = x.clone().requires_grad_(), parted(x, k)
    own = [None if w is None else w.clone().requires_grad_() for w in (weight, bias)]
    each = [None if w is None else parted(w.repeat(k), k) for w in (weight, bias)]
    moved = [(torch.zeros(3, dtype=x.dtype), torch.ones(3, dtype=x.dtype)) for _ in range(2)]
    y_1 = F.batch_norm(one, *moved[0], *own, training=True, momentum=0.3)
    y_2 = F.batch_norm(two, *moved[1], *each, training=True, momentum=0.3)
    torch.testing.assert_close(gathered(y_2), y_1)
    for a, b in zip(*moved, strict=True):
        torch.testing.assert_close(b, a)
    (y_1 * wanted).sum().backward()
    (gathered(y_2) * wanted).sum().backward()
    torch.testing.assert_close(of(two), one.grad)
    for a, b in zip(own, each, strict=True):
        if a is not None:
            torch.testing.assert_close(of(b).view(k, 3).sum(dim=0), a.grad)


def test_batch_norm_of_16_bits_has_statistics_of_32():
    x = (100 + normal(64, 3, 4, 4)).bfloat16()
    weight = torch.ones(3)
    y = F.batch_norm(parted(x, 2), None, None, weight, weight, training=True)
    assert y.dtype == torch.bfloat16
    wanted = F.batch_norm(x.float(), None, None, weight, weight, training=True)
    torch.testing.assert_close(gathered(y).float(), wanted, atol=0.02, rtol=0)
    gathered(y).float().square().sum().backward()


def test_batch_norm_that_does_not_train_takes_the_running_statistics():
    x, mean, var = normal(8, 3), normal(3), normal(3).square()
    y = batch_norm(parted(x, 2), mean, var, normal(3), None)
    torch.testing.assert_close(gathered(y), F.batch_norm(x, mean, var, normal(3), None))


def test_an_operation_is_done_part_by_part():
    x = normal(8, 6)
    parts = parted(x, 2)
    assert parts.shape == (4, 6) and len(parts) == 4 and parts.dtype == x.dtype
    one, two = torch.cat([parts, parts * 2]).chunk(2)
    assert gathered(two).equal(2 * x) and gathered(one).equal(x)
    first, *_ = parts.unbind(dim=1)
    assert gathered(first).equal(x[:, 0])
    assert [gathered(row).shape for row in parts] == [(12,)] * 4
    largest = parts.max(dim=1)
    assert gathered(largest.indices).equal(x.argmax(dim=1))
    assert gathered(F.linear(parts, x[:2])).shape == (8, 2)
    assert averaged(parts.mean()).item() == pytest.approx(x.mean().item())
    with pytest.raises(AssertionError, match="parts differ"):
        parts.sum().item()


def test_a_plain_tensor_stays_what_it_is():
    x = normal(4)
    assert gathered(x) is x and averaged(x) is x


class Forgets(Method):
    n_views = 1

    def __init__(self):
        super().__init__(None)
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, batch):
        return (batch.views[0] * self.weight).mean()


def test_a_loss_that_forgets_the_other_parts_is_refused():
    content = {
        "name": "parts",
        "data": {"source": "digits", "size": 8, "channels": 1},
        "plan": {"kind": "halves"},
        "encoder": {"backbone": "convnet", "method": "simclr"},
        "train": {"epochs": 1, "warmup_epochs": 0, "batch_size": 8, "threads": 1, "parts": 2},
        "views": {"train": "digits"},
    }
    spec = recipe.build(content, {}, where="test").training_spec()
    canvas = Canvas(IMAGES, UIDS.astype(np.bytes_))
    loop = Loop(Forgets(), spec, canvas=canvas, uids=np.sort(UIDS))
    with pytest.raises(AssertionError, match="gathered or averaged"):
        loop.advance()
