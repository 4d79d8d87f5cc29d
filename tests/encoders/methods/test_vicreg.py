import pytest
import torch
from lightly.loss import VICRegLoss

from curate.encoders import methods
from curate.encoders.backbone import Encoder
from curate.encoders.methods.base import Batch
from curate.encoders.methods.vicreg import (
    Config,
    covariance_term,
    invariance_term,
    variance_term,
    vicreg_loss,
)
from curate.errors import UsageError

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("coefficients", [(25.0, 25.0, 1.0), (10.0, 3.0, 0.5)])
def test_loss_is_lightlys(spread, coefficients):
    # lightly's conventions are those of the authors' code, and ours: unbiased variances, the
    # invariance term a mean over features, the variance term a mean over the two views.
    generator = torch.Generator().manual_seed(0)
    z_1, z_2 = spread * torch.randn(2, 17, 9, generator=generator, dtype=torch.float64)
    invariance, variance, covariance = coefficients
    config = Config(invariance=invariance, variance=variance, covariance=covariance)
    wanted = VICRegLoss(invariance, variance, covariance)(z_1, z_2)
    assert vicreg_loss(z_1, z_2, config).item() == pytest.approx(wanted.item(), rel=1e-10)


def test_variance_and_covariance_are_those_worked_by_hand():
    # Two features of three samples: deviations 1 and 0, covariance 0.
    z = torch.tensor([[1.0, 5.0], [0.0, 5.0], [-1.0, 5.0]], dtype=torch.float64)
    short = [1 - (1 + 1e-4) ** 0.5, 1 - (0 + 1e-4) ** 0.5]
    assert variance_term(z).item() == pytest.approx((0 + short[1]) / 2)
    assert short[0] < 0
    assert covariance_term(z).item() == 0
    # Variances 1 and 4 count for nothing; the covariance 2 counts twice, over two features.
    z = torch.tensor([[1.0, 2.0], [0.0, 0.0], [-1.0, -2.0]], dtype=torch.float64)
    assert variance_term(z).item() == 0
    assert covariance_term(z).item() == pytest.approx(2 * 2.0**2 / 2)
    assert invariance_term(z, z + torch.tensor([1.0, 3.0])).item() == pytest.approx((1 + 9) / 2)


def test_the_invariance_term_is_the_papers_over_the_number_of_features():
    z_1, z_2 = torch.randn(2, 6, 5, dtype=torch.float64)
    paper = (z_1 - z_2).square().sum(dim=1).mean()
    assert invariance_term(z_1, z_2).item() == pytest.approx(paper.item() / 5, rel=1e-12)


def test_gradient_is_right():
    # Small values, so that no feature stands on the hinge's edge.
    z = (0.3 * torch.randn(2, 4, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: vicreg_loss(z[0], z[1], Config()), (z,))


def test_collapse_costs_more_than_embeddings_that_vary():
    same = torch.zeros(8, 4, dtype=torch.float64)
    vary = torch.eye(8, 4, dtype=torch.float64) * 8**0.5
    assert vicreg_loss(same, same, Config()) > 24 > vicreg_loss(vary, vary, Config())


def test_a_step_reaches_encoder_and_expander():
    torch.manual_seed(0)
    encoder = Encoder("convnet", size=8, channels=1)
    method = methods.build("vicreg", encoder, methods.config("vicreg", {"expansion": 2}))
    assert method.expander[0].weight.shape == (128, 64)
    method(Batch(list(torch.rand(2, 6, 1, 8, 8)))).backward()
    idle = [n for n, p in method.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
    assert method.kept is encoder and method.n_views == 2 and not method.supervised


def test_the_expander_is_the_papers_for_a_resnet50():
    with torch.device("meta"):
        encoder = Encoder("resnet50", size=32, channels=3)
        method = methods.build("vicreg", encoder, methods.config("vicreg", {}))
    shapes = [tuple(m.weight.shape) for m in method.expander if isinstance(m, torch.nn.Linear)]
    assert shapes == [(8192, 2048), (8192, 8192), (8192, 8192)]


def test_settings_are_strict():
    config = methods.config("vicreg", {})
    assert (config.invariance, config.variance, config.covariance) == (25, 25, 1)
    with pytest.raises(UsageError, match="Did you mean 'variance'"):
        methods.config("vicreg", {"varience": 1})
    with pytest.raises(UsageError, match=r"encoder\.expansion"):
        methods.config("vicreg", {"expansion": 0})
    with pytest.raises(UsageError, match=r"encoder\.covariance"):
        methods.config("vicreg", {"covariance": -1})
