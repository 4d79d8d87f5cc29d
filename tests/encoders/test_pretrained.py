"""Encoders trained elsewhere: found by name or in a file, with their own preprocessing."""

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from curate.encoders.backbone import Encoder, load_encoder
from curate.encoders.pretrained import Foreign, Given, Preprocessing, from_file, pretrained
from curate.encoders.training import write_encoder
from curate.errors import DataError, ResourceError, UsageError

pytestmark = pytest.mark.numeric


def images(n, channels, side):
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, side, side), generator=draw, dtype=torch.uint8)


def test_weights_that_cannot_be_had_are_a_clear_error(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route to host. Try later.")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(ResourceError, match=r"cannot be had \(no route to host\)"):
        pretrained("resnet18")


def test_a_network_of_timm_gives_what_timm_gives():
    ours = pretrained("resnet18", random=True)
    look = ours.preprocessing
    assert look == Preprocessing(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic")
    x = images(2, 3, 224)
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (look.mean, look.deviation))
    with torch.no_grad():
        wanted = ours.net((x / 255 - mean) / deviation)
    assert torch.allclose(ours(x)[:, 0], wanted, atol=1e-5)
    whole = pretrained("resnet18", random=True, pooling="tokens")
    assert (ours.tokens, ours.dim, whole.tokens, whole.dim) == (1, 512, 49, 512)
    assert torch.allclose(whole(x).mean(dim=1), wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"])
def test_tokens_of_other_layouts_are_told_from_channels(name):
    net = pretrained(name, random=True, pooling="tokens")
    x = images(1, 3, 224)
    with torch.no_grad():
        features = net.net.forward_features(net.normalise(x / 255))
    assert torch.equal(net(x)[0, -1], features.reshape(-1, net.dim)[-1])
    assert net.tokens * net.dim == features.numel()


def test_our_own_network_as_a_plain_file_is_what_it_was(tmp_path):
    path = tmp_path / "f.safetensors"
    for name, size, channels, given in (
        ("vit_micro", 8, 1, Given()),
        ("convnet", 8, 1, Given(size=8)),
        ("resnet18", 32, 3, Given(size=32)),
    ):
        encoder = Encoder(name, size=size, channels=channels).eval()
        plain = {k.removeprefix("net."): t for k, t in encoder.state_dict().items()}
        save_file({name: tensor.contiguous() for name, tensor in plain.items()}, path)
        adopted, found = from_file(path, name, given=given)
        assert (adopted.size, adopted.channels, found.left_over) == (size, channels, ())
        x = images(3, channels, size)
        with torch.no_grad():
            assert torch.equal(adopted(x), encoder(x))


def test_weights_tell_patch_channels_and_side(tmp_path):
    path = tmp_path / "f.pt"
    encoder = Encoder("vit_tiny", size=24, channels=1, patch=4).eval()
    torch.save({"model": encoder.net.state_dict()}, path)
    usual = Given(mean=[0.449], deviation=[0.226])
    adopted, _ = from_file(path, "timm:vit_tiny_patch16_224", given=usual)
    assert (adopted.size, adopted.patch, adopted.channels) == (24, 4, 1)
    x = images(2, 1, 24)
    with torch.no_grad():
        assert torch.allclose(adopted(x), encoder(x), atol=1e-5)
    larger, _ = from_file(path, "timm:vit_tiny_patch16_224", given=Given(size=32))
    assert (larger.size, larger.tokens, larger.dim) == (32, 65, 192)
    assert larger.preprocessing.mean == (0.5,)


def test_a_transformer_of_torchvision_gives_the_same(tmp_path):
    theirs = torchvision.models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=12, num_heads=3, hidden_dim=192, mlp_dim=768
    ).eval()
    torch.save({"module": theirs.state_dict()}, tmp_path / "f.pt")
    ours, found = from_file(tmp_path / "f.pt", "timm:vit_tiny_patch16_224", pooling="own")
    assert found.left_over == ("module.heads.head.bias", "module.heads.head.weight")
    theirs.heads = torch.nn.Identity()
    x = images(2, 3, 32)
    with torch.no_grad():
        assert torch.allclose(ours(x)[:, 0], theirs(ours.normalise(x / 255)), atol=1e-4)


def test_images_of_another_side_or_colour_are_brought_to_its_own(tmp_path):
    net = Foreign(
        Encoder("convnet", size=8, channels=1).net,
        backbone="convnet",
        preprocessing=Preprocessing(8, (0.5,), (0.5,), "nearest"),
    ).eval()
    small = images(2, 1, 8)
    twice = small.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    with torch.no_grad():
        assert torch.equal(net(twice), net(small))
        assert torch.allclose(net(small.expand(-1, 3, -1, -1)), net(small), atol=1e-5)


def test_a_stored_encoder_is_loaded_with_its_preprocessing(tmp_path):
    weights = tmp_path / "f.pt"
    torch.save(torchvision.models.resnet18().state_dict(), weights)
    given = Given(size=64, mean=[0.1, 0.2, 0.3], deviation=[0.5] * 3, interpolation="bilinear")
    encoder, _ = from_file(weights, "timm:resnet18", given=given)
    write_encoder(tmp_path / "f", encoder, {"encoder": encoder.about()})
    again = load_encoder(tmp_path / "f")
    x = images(2, 3, 50)
    assert again.preprocessing == encoder.preprocessing
    with torch.no_grad():
        assert torch.equal(again(x), encoder(x))
    text = (tmp_path / "f" / "config.json").read_text()
    for old, new in (('"size": 64', '"size": -1'), ("bilinear", "magic"), ("0.5", "-0.5")):
        (tmp_path / "f" / "config.json").write_text(text.replace(old, new))
        with pytest.raises(DataError, match="cannot load the encoder"):
            load_encoder(tmp_path / "f")


def test_what_is_given_is_checked(tmp_path):
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "f.pt")
    torch.save(Encoder("convnet", size=8, channels=1).net.state_dict(), tmp_path / "c.pt")
    for path, backbone, given, said in (
        ("f.pt", "resnet", Given(), "say timm:NAME, or one of vit_micro"),
        ("f.pt", "timm:resnet118", Given(), "Did you mean"),
        ("f.pt", "timm:resnet18", Given(mean=[0.5], deviation=[0.5]), "takes 3 channels"),
        ("f.pt", "timm:resnet18", Given(deviation=[0.0] * 3), "preprocessing: deviation"),
        ("f.pt", "timm:resnet18", Given(interpolation="best"), "interpolation is 'best'"),
        ("c.pt", "convnet", Given(), "do not tell the side of their images; say it: size='N'"),
    ):
        with pytest.raises(UsageError, match=said):
            from_file(tmp_path / path, backbone, given=given)
