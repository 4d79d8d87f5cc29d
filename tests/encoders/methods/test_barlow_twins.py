import pytest
import torch
from lightly.loss import BarlowTwinsLoss

from curate.encoders import methods
from curate.encoders.backbone import Encoder
from curate.encoders.methods.barlow_twins import (
    barlow_twins_loss,
    cross_correlation,
    invariance_term,
    redundancy_term,
)
from curate.encoders.methods.base import Batch
from curate.errors import UsageError

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("redundancy", [0.005, 0.1])
def test_loss_is_lightlys(redundancy):
    # lightly's conventions are those of the authors' code, and ours: biased variances plus 1e-5.
    generator = torch.Generator().manual_seed(0)
    z_1, z_2 = torch.randn(2, 17, 9, generator=generator, dtype=torch.float64)
    wanted = BarlowTwinsLoss(redundancy)(z_1, z_2)
    ours = barlow_twins_loss(z_1, z_2, redundancy)
    assert ours.item() == pytest.approx(wanted.item(), rel=1e-10)


def test_correlations_are_pearsons():
    generator = torch.Generator().manual_seed(0)
    z_1, z_2 = 100 * torch.randn(2, 17, 4, generator=generator, dtype=torch.float64)
    wanted = torch.corrcoef(torch.cat([z_1, z_2], dim=1).T)[:4, 4:]
    # They differ by the 1e-5 that batch normalisation adds to a variance of about 10,000.
    assert torch.allclose(cross_correlation(z_1, z_2), wanted, atol=1e-8)


def test_invariance_and_redundancy_are_those_worked_by_hand():
    correlation = torch.tensor([[0.5, 0.2], [-0.3, 1.0]], dtype=torch.float64)
    assert invariance_term(correlation).item() == pytest.approx(0.5**2)
    assert redundancy_term(correlation).item() == pytest.approx(0.2**2 + 0.3**2)
    # The second feature is the first one's double, and the views agree: all correlations are 1.
    z = 100 * torch.tensor([[1.0, 2.0], [-1.0, -2.0]], dtype=torch.float64)
    assert barlow_twins_loss(z, z, 0.25).item() == pytest.approx(0.25 * 2, rel=1e-8)


def test_gradient_is_right():
    z = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: barlow_twins_loss(z[0], z[1], 0.1), (z,))


def test_a_step_reaches_encoder_and_projector():
    torch.manual_seed(0)
    encoder = Encoder("convnet", size=8, channels=1)
    settings = methods.config("barlow-twins", {"expansion": 2})
    method = methods.build("barlow-twins", encoder, settings)
    assert method.projector[0].weight.shape == (128, 64)
    method(Batch(list(torch.rand(2, 6, 1, 8, 8)))).backward()
    idle = [n for n, p in method.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
    assert method.kept is encoder and method.n_views == 2 and not method.supervised


def test_the_projector_is_the_papers_for_a_resnet50():
    with torch.device("meta"):
        encoder = Encoder("resnet50", size=32, channels=3)
        method = methods.build("barlow-twins", encoder, methods.config("barlow-twins", {}))
    shapes = [tuple(m.weight.shape) for m in method.projector if isinstance(m, torch.nn.Linear)]
    assert shapes == [(8192, 2048), (8192, 8192), (8192, 8192)]


def test_settings_are_strict():
    assert methods.config("barlow-twins", {}).redundancy == 0.005
    with pytest.raises(UsageError, match="Did you mean 'redundancy'"):
        methods.config("barlow-twins", {"redundance": 1})
    with pytest.raises(UsageError, match=r"encoder\.redundancy"):
        methods.config("barlow-twins", {"redundancy": -1})
    with pytest.raises(UsageError, match="Did you mean 'barlow-twins'"):
        methods.config("barlow_twins", {})
