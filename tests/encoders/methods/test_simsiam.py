import pytest
import torch
from lightly.loss import NegativeCosineSimilarity

from curate.encoders import methods
from curate.encoders.backbone import Encoder
from curate.encoders.methods.base import Batch
from curate.encoders.methods.simsiam import negative_cosine, symmetrised
from curate.errors import UsageError

pytestmark = pytest.mark.numeric


def made(**settings):
    torch.manual_seed(0)
    encoder = Encoder("convnet", size=8, channels=1)
    config = methods.config("simsiam", {"projection": 32, "bottleneck": 8} | settings)
    return methods.build("simsiam", encoder, config)


def test_loss_is_lightlys():
    generator = torch.Generator().manual_seed(0)
    p_1, p_2, z_1, z_2 = torch.randn(4, 17, 9, generator=generator, dtype=torch.float64)
    lightlys = NegativeCosineSimilarity()
    assert negative_cosine(p_1, z_2).item() == pytest.approx(lightlys(p_1, z_2).item(), rel=1e-10)
    wanted = 0.5 * (lightlys(p_1, z_2) + lightlys(p_2, z_1))
    assert symmetrised(p_1, p_2, z_1, z_2).item() == pytest.approx(wanted.item(), rel=1e-10)


def test_the_loss_is_the_negative_cosine_worked_by_hand():
    p = torch.tensor([[2.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    z = torch.tensor([[3.0, 0.0], [0.0, 5.0]], dtype=torch.float64)
    assert negative_cosine(p, z).item() == pytest.approx(-(1 + 0.5**0.5) / 2)
    # First views predict the second ones perfectly, second views the opposite of the first.
    assert symmetrised(p, -p, p, p).item() == pytest.approx(0)
    assert symmetrised(p, p, p, p).item() == pytest.approx(-1)


def test_gradient_of_the_predictions_is_right():
    p, z = torch.randn(2, 4, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: negative_cosine(p, z), (p.requires_grad_(),))


def test_gradients_stop_at_what_is_predicted():
    p_1, p_2, z_1, z_2 = (torch.randn(4, 3, requires_grad=True) for _ in range(4))
    symmetrised(p_1, p_2, z_1, z_2).backward()
    assert p_1.grad.any() and p_2.grad.any()
    assert z_1.grad is None and z_2.grad is None


def test_a_predicted_views_pixels_get_no_gradient_but_through_their_own_prediction():
    method = made()
    one, two = torch.rand(2, 6, 1, 8, 8)
    two.requires_grad_()
    # With the predictor's answer to the second view cut off, nothing of the second view is left.
    predictor, calls = method.predictor.forward, []

    def cut(z):
        calls.append(z)
        return predictor(z) if len(calls) == 1 else predictor(z).detach()

    method.predictor.forward = cut
    method(Batch([one, two])).backward()
    assert len(calls) == 2
    assert two.grad is None


def test_a_step_reaches_encoder_projector_and_predictor():
    method = made()
    method(Batch(list(torch.rand(2, 6, 1, 8, 8)))).backward()
    idle = [n for n, p in method.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
    assert method.kept is method.encoder and method.n_views == 2 and not method.supervised


def test_heads_are_the_papers():
    with torch.device("meta"):
        encoder = Encoder("resnet50", size=32, channels=3)
        method = methods.build("simsiam", encoder, methods.config("simsiam", {}))
    linear, normal = torch.nn.Linear, torch.nn.BatchNorm1d
    heads = [*method.projector, *method.predictor]
    shapes = [tuple(m.weight.shape) for m in heads if isinstance(m, linear)]
    assert shapes == [(2048, 2048)] * 3 + [(512, 2048), (2048, 512)]
    assert [m.affine for m in heads if isinstance(m, normal)] == [True, True, False, True]


def test_settings_are_strict():
    config = methods.config("simsiam", {})
    assert (config.projection, config.bottleneck) == (2048, 512)
    with pytest.raises(UsageError, match="Did you mean 'bottleneck'"):
        methods.config("simsiam", {"bottle": 1})
    with pytest.raises(UsageError, match=r"encoder\.projection"):
        methods.config("simsiam", {"projection": 0})
