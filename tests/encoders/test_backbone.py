import json

import pytest
import torch
from safetensors.torch import save_file

from curate.encoders import backbone
from curate.encoders.backbone import BACKBONES, Encoder, load_encoder, pool
from curate.errors import DataError, UsageError

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize(
    ("name", "size", "patch", "wanted"),
    [
        ("vit_tiny", 32, 2, 49_344),
        ("vit_base", 224, None, 151_296),
        ("resnet50", 224, None, 100_352),
    ],
)
def test_full_representations_have_the_papers_dimensions(name, size, patch, wanted):
    encoder = Encoder(name, size=size, channels=3, patch=patch).eval()
    with torch.inference_mode():
        z = encoder(torch.zeros(1, 3, size, size, dtype=torch.uint8))
    assert z.flatten(1).shape == (1, wanted)
    assert z.shape[1:] == (encoder.tokens, encoder.dim)


@pytest.mark.parametrize("name", sorted(set(BACKBONES) - {"vit_base", "wide_resnet50_2"}))
@pytest.mark.parametrize("size", [8, 28, 96])
def test_tokens_and_dim_are_what_comes_out(name, size):
    patch = 4 if name.startswith("vit") else None
    encoder = Encoder(name, size=size, channels=1, patch=patch).eval()
    with torch.inference_mode():
        z = encoder(torch.zeros(2, 1, size, size, dtype=torch.uint8))
    assert z.shape == (2, encoder.tokens, encoder.dim) and z.dtype == torch.float32
    assert pool(z).shape == (2, encoder.dim)


@pytest.mark.parametrize("name", ["vit_micro", "convnet", "resnet18"])
def test_images_of_another_side_have_tokens_too(name):
    encoder = Encoder(name, size=16, channels=3)
    for side in (4, 8, 24):
        z = encoder.forward_float(torch.rand(2, 3, side, side))
        alike = Encoder(name, size=side, channels=3)
        assert z.shape == (2, alike.tokens, encoder.dim)
        z.sum().backward()
        assert all(p.grad is not None for p in encoder.parameters())


def test_positions_are_interpolated_for_another_side():
    torch.manual_seed(0)
    large = Encoder("vit_micro", size=16, channels=3).eval()
    small = Encoder("vit_micro", size=8, channels=3).eval()
    small.load_state_dict({**large.state_dict(), "net.pos_embed": small.net.pos_embed})
    grid = large.net.pos_embed[:, 1:].reshape(1, 8, 8, 64).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(grid, size=(4, 4), mode="bicubic", antialias=True)
    positions = torch.cat([large.net.pos_embed[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)
    with torch.no_grad():
        small.net.pos_embed.copy_(positions)
    pixels = torch.rand(2, 3, 8, 8)
    assert torch.allclose(large.forward_float(pixels), small.forward_float(pixels), atol=1e-5)


def test_the_own_side_takes_the_networks_own_path():
    encoder = Encoder("vit_micro", size=8, channels=3).eval()
    pixels = torch.rand(2, 3, 8, 8)
    wanted = encoder.net.forward_features(encoder.normalise(pixels))
    assert torch.equal(encoder.forward_float(pixels), wanted)
    assert encoder.patch == 2 and encoder.has_class_token
    plain = Encoder("convnet", size=8, channels=3)
    assert plain.patch == 1 and not plain.has_class_token


def test_small_images_get_a_stem_that_keeps_their_size():
    small, large = (Encoder("resnet18", size=s, channels=3) for s in (32, 96))
    assert small.net.conv1.stride == (1, 1) and large.net.conv1.stride == (2, 2)
    assert small.tokens == 16


def test_an_encoder_normalises_pixels_itself():
    encoder = Encoder("convnet", size=8, channels=3).eval()
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    pixels = images.float() / 255
    mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    by_hand = (pixels - mean.view(1, 3, 1, 1)) / sd.view(1, 3, 1, 1)
    wanted = encoder.net.forward_features(by_hand).flatten(2).transpose(1, 2)
    assert torch.allclose(encoder(images), wanted, atol=1e-5)
    assert torch.equal(encoder(images), encoder.forward_float(pixels))


def test_names_and_patches_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="Did you mean 'resnet18'"):
        Encoder("resnet188", size=32, channels=3)
    with pytest.raises(UsageError, match=r"does not divide data\.size 28"):
        Encoder("vit_tiny", size=28, channels=3)
    with pytest.raises(UsageError, match="no patches"):
        Encoder("resnet18", size=32, channels=3, patch=4)


def saved(folder, encoder, **change):
    folder.mkdir(exist_ok=True)
    weights = {k: v.contiguous() for k, v in encoder.state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    facts = {"backbone": "convnet", "size": 8, "channels": 1, "patch": None} | change
    (folder / "config.json").write_text(json.dumps({"encoder": facts}))
    return folder


def test_a_saved_encoder_comes_back(tmp_path):
    encoder = Encoder("convnet", size=8, channels=1).eval()
    back = load_encoder(saved(tmp_path / "f", encoder))
    images = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(back(images), encoder(images))
    assert not back.training and not any(p.requires_grad for p in back.parameters())


def test_damaged_encoders_are_named(tmp_path):
    encoder = Encoder("convnet", size=8, channels=1)
    with pytest.raises(DataError, match="cannot load the encoder"):
        load_encoder(saved(tmp_path / "a", encoder, channels=3))
    folder = saved(tmp_path / "b", encoder)
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged"):
        load_encoder(folder)
    weights.unlink()
    with pytest.raises(DataError, match="cannot load the encoder"):
        load_encoder(folder)


def test_float32_on_cuda_is_float32_unless_tf32_is_asked_for():
    meant = {
        (precision, device): backbone.computed_in(precision, device)
        for precision in ("auto", "float32", "tf32", "bfloat16")
        for device in ("cpu", "cuda")
    }
    assert meant == {
        ("auto", "cpu"): "float32", ("auto", "cuda"): "bfloat16",
        ("float32", "cpu"): "float32", ("float32", "cuda"): "float32",
        ("tf32", "cpu"): "float32", ("tf32", "cuda"): "tf32",
        ("bfloat16", "cpu"): "bfloat16", ("bfloat16", "cuda"): "bfloat16",
    }  # fmt: skip
    for precision, kind in (("tf32", "tf32"), ("float32", "ieee"), ("auto", "ieee")):
        backbone.allow_tf32(precision)
        assert torch.backends.cuda.matmul.fp32_precision == kind
        assert torch.backends.cudnn.conv.fp32_precision == kind
