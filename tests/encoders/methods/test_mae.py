import numpy as np
import pytest
import torch

from curate.encoders import methods
from curate.encoders.backbone import Encoder
from curate.encoders.methods import mae
from curate.encoders.methods.base import Batch
from curate.encoders.views.draws import Draws
from curate.errors import UsageError

pytestmark = pytest.mark.numeric

SMALL = {"decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 4}
WORDS = torch.from_numpy(np.random.default_rng(0).integers(0, 2**63, 6, dtype=np.int64))


def made(**settings):
    torch.manual_seed(0)
    encoder = Encoder("vit_micro", size=8, channels=3)
    return methods.build("mae", encoder, methods.config("mae", SMALL | settings))


@pytest.mark.parametrize(("ratio", "visible"), [(0.5, 8), (0.75, 4), (0.8, 3), (0.9, 2), (0.99, 1)])
def test_masking_keeps_exactly_the_stated_number(ratio, visible):
    kept = mae.visible_patches(torch.rand(5, 16), ratio)
    assert kept.shape == (5, visible)
    assert (kept.diff(dim=1) > 0).all()


def test_masks_are_uniform_over_patches():
    u = torch.rand(20_000, 16, generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(mae.visible_patches(u, 0.75).ravel(), minlength=16)
    assert (counts / 20_000 - 0.25).abs().max() < 0.02


def test_patchify_is_row_by_row():
    pixels = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    patches = mae.patchify(pixels, 2)
    assert patches.shape == (2, 4, 12)
    assert torch.equal(patches[1, 1].reshape(2, 2, 3), pixels[1, :, :2, 2:].permute(1, 2, 0))


def test_loss_counts_hidden_patches_only():
    predicted, target = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    hidden = torch.tensor([[1, 0, 1, 1, 0]] * 3, dtype=torch.float64)
    wanted = np.mean(
        [((predicted[b, p] - target[b, p]) ** 2).mean().item() for b in range(3) for p in (0, 2, 3)]
    )
    assert mae.reconstruction_loss(predicted, target, hidden).item() == pytest.approx(wanted)
    other = predicted.clone()
    other[:, [1, 4]] += 5
    assert torch.equal(
        mae.reconstruction_loss(other, target, hidden),
        mae.reconstruction_loss(predicted, target, hidden),
    )


def test_normalised_patches_have_mean_0_and_variance_1():
    patches = mae.normalised_patches(torch.rand(2, 4, 12) * 9)
    assert patches.mean(dim=2).abs().max() < 1e-5
    assert (patches.var(dim=2) - 1).abs().max() < 1e-3


def test_encoding_every_patch_is_the_encoders_own_forward():
    method = made().eval()
    pixels = torch.rand(6, 3, 8, 8)
    everything = torch.arange(16).expand(6, -1)
    ours = method.encode(pixels, everything)
    assert torch.allclose(ours, method.encoder.forward_float(pixels), atol=1e-5)


def test_visible_tokens_do_not_see_hidden_patches():
    method = made().eval()
    pixels = torch.rand(6, 3, 8, 8)
    visible = mae.visible_patches(torch.rand(6, 16), 0.75)
    before = method.encode(pixels, visible)
    patches = mae.patchify(pixels, 2)
    hidden = torch.ones(6, 16, dtype=torch.bool).scatter(1, visible, False)
    patches[hidden] = torch.rand(int(hidden.sum()), 12)
    grid = patches.reshape(6, 4, 4, 2, 2, 3).permute(0, 5, 1, 3, 2, 4).reshape(6, 3, 8, 8)
    assert not torch.equal(grid, pixels)
    assert torch.allclose(method.encode(grid, visible), before, atol=1e-5)


def test_decoder_puts_every_token_in_its_place():
    method = made().eval()
    tokens, visible = torch.randn(1, 5, 64), torch.tensor([[2, 3, 8, 15]])
    x = method.decoder_embed(tokens)
    full = torch.cat([x[:, :1], method.mask_token.expand(1, 16, -1)], dim=1).clone()
    for slot, patch in enumerate(visible[0].tolist(), 1):
        full[0, 1 + patch] = x[0, slot]
    wanted = method.predict(method.decoder(full + method.decoder_positions)[:, 1:])
    assert torch.allclose(method.reconstruct(tokens, visible), wanted, atol=1e-5)


def test_positions_are_fixed_and_tell_patches_apart():
    positions = mae.sin_cos_positions(4, 64)
    assert positions.shape == (17, 64) and (positions[0] == 0).all()
    assert len({tuple(row.tolist()) for row in positions}) == 17
    method = made()
    assert not method.encoder.net.pos_embed.requires_grad


def test_a_step_reaches_every_weight_and_depends_on_the_draws():
    method = made()
    pixels = [torch.rand(6, 3, 8, 8)]

    def batch(view):
        return Batch(pixels, drawn=method.drawn([Draws.of(1, WORDS, view)]))

    loss = method(batch(0))
    loss.backward()
    idle = [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []
    assert loss.item() == method(batch(0)).item() != method(batch(1)).item()


def test_a_backbone_without_patches_is_refused():
    encoder = Encoder("convnet", size=8, channels=1)
    with pytest.raises(UsageError, match="backbone with patches"):
        methods.build("mae", encoder, methods.config("mae", {}))
    encoder = Encoder("vit_micro", size=8, channels=1)
    with pytest.raises(UsageError, match="multiple of 4"):
        methods.build("mae", encoder, methods.config("mae", {"decoder_dim": 30}))
