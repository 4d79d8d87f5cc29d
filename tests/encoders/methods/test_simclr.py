import pytest
import torch
from lightly.loss import NTXentLoss

from curate.encoders import methods
from curate.encoders.backbone import Encoder
from curate.encoders.methods.base import Batch
from curate.encoders.methods.simclr import nt_xent
from curate.errors import UsageError

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_loss_is_lightlys(temperature):
    generator = torch.Generator().manual_seed(0)
    z_1, z_2 = torch.randn(2, 17, 9, generator=generator, dtype=torch.float64)
    wanted = NTXentLoss(temperature=temperature)(z_1, z_2)
    assert nt_xent(z_1, z_2, temperature).item() == pytest.approx(wanted.item(), rel=1e-12)


def test_loss_is_the_papers_equation_by_hand():
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    # Each view has similarity 1 with its partner and 0 with the two others.
    wanted = -torch.log(torch.e ** torch.tensor(2.0) / (torch.e ** torch.tensor(2.0) + 2))
    assert nt_xent(z, z, 0.5).item() == pytest.approx(wanted.item(), rel=1e-6)


def test_gradient_is_right():
    z = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: nt_xent(z[0], z[1], 0.5), (z,))


def test_a_step_reaches_encoder_and_head():
    torch.manual_seed(0)
    encoder = Encoder("convnet", size=8, channels=1)
    method = methods.build("simclr", encoder, methods.config("simclr", {"projection": 16}))
    loss = method(Batch(list(torch.rand(2, 6, 1, 8, 8))))
    loss.backward()
    idle = [n for n, p in method.named_parameters() if p.grad is None]
    assert idle == []
    first = encoder.net[0].weight.grad
    assert first.abs().sum() > 0 and method.projector[0].weight.grad.abs().sum() > 0


def test_settings_are_strict():
    assert methods.config("simclr", {}).temperature == 0.5
    with pytest.raises(UsageError, match="Did you mean 'temperature'"):
        methods.config("simclr", {"temprature": 1})
    with pytest.raises(UsageError, match=r"encoder\.temperature"):
        methods.config("simclr", {"temperature": 0})
    with pytest.raises(UsageError, match="Did you mean 'simclr'"):
        methods.config("simclrr", {})
