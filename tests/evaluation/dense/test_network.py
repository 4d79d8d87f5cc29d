"""Decoders stand upon every encoder, and a frozen one is left as it is."""

import sys

import pytest
import torch

from curate.encoders.backbone import Encoder
from curate.encoders.pretrained import Given, read_encoder
from curate.errors import DataError, ResourceError
from curate.evaluation.config import DenseConfig

pytest.importorskip(
    "segmentation_models_pytorch", reason="segmentation-models-pytorch is not installed"
)
from curate.evaluation.dense.network import Dense, feature_maps

pytestmark = pytest.mark.numeric


def encoder_of(name, size):
    if ":" in name:
        return read_encoder(name, None, given=Given(size=size))[0]
    return Encoder(name, size=size, channels=3)


@pytest.mark.parametrize(
    ("name", "size", "sides"),
    [
        ("vit_micro", 16, [16, 8, 4, 2]),
        ("vit_tiny", 64, [16, 8, 4, 2]),
        ("convnet", 16, [8, 4, 2, 1]),
        ("resnet18", 32, [32, 16, 8, 4]),
        ("resnet18", 96, [24, 12, 6, 3]),
        ("timm-random:convnext_atto", 64, [16, 8, 4, 2]),
    ],
)
@pytest.mark.parametrize("decoder", ["upernet", "unet"])
def test_maps_of_four_sizes_come_out_at_full_size(name, size, sides, decoder):
    network = Dense(encoder_of(name, size), DenseConfig(decoder=decoder, width=16), 5)
    pixels = torch.rand(2, 3, size, size)
    maps = network.pyramid(feature_maps(network.encoder, pixels))
    assert [found.shape[-1] for found in maps] == sides
    out = network(pixels)
    assert out.shape == (2, 5, size, size)
    out.square().mean().backward()
    # Blocks of a ResNet begin as nothing, so that not all gradients differ from 0.
    gradients = [p.grad for p in network.encoder.parameters()]
    assert bool(gradients[0].any()) and sum(g is not None for g in gradients) > 0.9 * len(gradients)


def test_the_grid_of_a_transformer_lies_as_its_patches_do():
    encoder = Encoder("vit_micro", size=16, channels=3).eval()
    pixels = torch.rand(1, 3, 16, 16)
    (grid,) = feature_maps(encoder, pixels)
    tokens = encoder.forward_float(pixels)
    assert grid.shape == (1, 64, 8, 8)
    # The token behind the class token is the top left patch, and the ninth begins the next row.
    assert torch.equal(grid[0, :, 0, 0], tokens[0, 1])
    assert torch.equal(grid[0, :, 1, 0], tokens[0, 9])


def test_a_frozen_encoder_learns_nothing_and_keeps_its_statistics():
    encoder = Encoder("convnet", size=16, channels=3)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    network = Dense(encoder, DenseConfig(frozen=True, width=16), 3)
    assert not any(p.requires_grad for p in network.encoder.parameters())
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.rand(4, 3, 16, 16)).square().mean().backward()
    optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_an_encoder_of_one_vector_has_no_map():
    encoder, _ = read_encoder("timm-random:vit_tiny_patch16_224", None, given=Given())
    encoder.pooling = "own"
    with pytest.raises(DataError, match="one vector an image"):
        Dense(encoder, DenseConfig(), 2)


def test_missing_decoders_are_told_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ResourceError, match=r"pip install 'curate\[seg\]'"):
        Dense(Encoder("convnet", size=16, channels=3), DenseConfig(), 2)
