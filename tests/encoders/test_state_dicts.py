"""Weights that others saved: what is read of a file, and whose names are understood."""

import argparse
import re

import pytest
import timm
import torch
import torchvision
from lightly.models.resnet import ResNetGenerator
from safetensors.torch import save_file
from torch import nn

from curate.encoders.state_dicts import check_fit, match, read_tensors
from curate.errors import DataError, UsageError


def resnet():
    return timm.create_model("resnet18", num_classes=0)


def children(net):
    """The form in which lightly's examples keep a network: its children, but for the last."""
    return nn.Sequential(*list(net.children())[:-1])


def under(prefix, tensors):
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def matched(content, wanted, tmp_path, **given):
    path = tmp_path / "f.pt"
    torch.save(content, path)
    return match(read_tensors(path), wanted.state_dict(), path=path, **given)


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_all_forms_of_a_file_hold_the_same(tmp_path, form):
    path, tensors = tmp_path / "f", {"a.b": torch.arange(6.0).view(2, 3), "c": torch.ones(())}
    if form == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=form == "zip")
    read = read_tensors(path)
    assert list(read) == ["a.b", "c"]
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_nested_mappings_become_dotted_names_and_the_rest_is_left(tmp_path):
    moments = {"state": {0: {"exp_avg": torch.ones(2)}}}
    content = {"model": {"w": torch.ones(1)}, "optimizer": moments, "epoch": 3, "best": [1.0]}
    torch.save(content, tmp_path / "f.pt")
    assert list(read_tensors(tmp_path / "f.pt")) == ["model.w", "optimizer.state.0.exp_avg"]


def test_what_would_run_code_is_not_read(tmp_path):
    path = tmp_path / "f.pt"
    for content, named in (
        ({"model": resnet().state_dict(), "args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ):
        torch.save(content, path)
        with pytest.raises(DataError, match=f"objects beside tensors \\({re.escape(named)}\\)"):
            read_tensors(path)


def test_files_that_are_none_are_refused_in_a_line(tmp_path):
    path = tmp_path / "f.pt"
    with pytest.raises(UsageError, match="there is no file"):
        read_tensors(path)
    torch.save({"w": torch.ones(1000)}, path)
    whole = path.read_bytes()
    save_file({"w": torch.ones(1000)}, tmp_path / "s")
    for content in (b"", b"words", whole[:900], (tmp_path / "s").read_bytes()[:900]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="is damaged") as error:
            read_tensors(path)
        assert "\n" not in str(error.value)
    for content in ({"epoch": 3}, [torch.ones(1)], 7):
        torch.save(content, path)
        with pytest.raises(DataError, match="no tensors by name"):
            read_tensors(path)


@pytest.mark.parametrize(
    "prefix", ["", "module.", "backbone.", "module.encoder_q.", "student.backbone.", "net."]
)
def test_whatever_names_begin_with_is_found_out(tmp_path, prefix):
    theirs = torchvision.models.resnet18()
    found = matched({"state_dict": under(prefix, theirs.state_dict())}, resnet(), tmp_path)
    assert found.missing == ()
    assert found.prefix == f"state_dict.{prefix}"
    assert found.left_over == tuple(f"state_dict.{prefix}fc.{x}" for x in ("bias", "weight"))
    for name, tensor in found.tensors.items():
        assert torch.equal(tensor, theirs.state_dict()[name])


@pytest.mark.parametrize("make", [torchvision.models.resnet18, ResNetGenerator])
def test_children_of_residual_networks_have_numbers(tmp_path, make):
    net = make()
    found = matched(under("backbone.", children(net).state_dict()), resnet(), tmp_path)
    assert (found.missing, found.left_over) == ((), ())
    for name in ("conv1.weight", "bn1.running_var", "layer2.0.conv2.weight", "layer4.1.bn2.bias"):
        assert torch.equal(found.tensors[name], net.state_dict()[name])
    theirs = "downsample" if make is torchvision.models.resnet18 else "shortcut"
    shortcut = net.state_dict()[f"layer3.0.{theirs}.0.weight"]
    assert torch.equal(found.tensors["layer3.0.downsample.0.weight"], shortcut)


def hugging_face(vit):
    """The tensors of timm's network under the names of transformers' ViTModel."""
    out = {}
    named = {"query": 0, "key": 1, "value": 2}
    for name, tensor in vit.state_dict().items():
        name = name.replace("cls_token", "embeddings.cls_token")
        name = name.replace("pos_embed", "embeddings.position_embeddings")
        name = name.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
        name = re.sub(r"^norm\.", "layernorm.", name)
        name = re.sub(r"^blocks\.", "encoder.layer.", name)
        for ours, theirs in (
            ("norm1", "layernorm_before"),
            ("norm2", "layernorm_after"),
            ("attn.proj", "attention.output.dense"),
            ("mlp.fc1", "intermediate.dense"),
            ("mlp.fc2", "output.dense"),
        ):
            name = name.replace(ours, theirs)
        if "attn.qkv" in name:
            third = len(tensor) // 3
            for part, k in named.items():
                place = name.replace("attn.qkv", f"attention.attention.{part}")
                out[place] = tensor[k * third : (k + 1) * third]
        else:
            out[name] = tensor
    return out


def since_5(tensors):
    """The names that state_dict() has since transformers 5; files have the older ones."""
    out = {}
    for name, tensor in tensors.items():
        name = name.replace("encoder.layer.", "layers.").replace("intermediate.dense", "mlp.fc1")
        name = name.replace("attention.output.dense", "attention.o_proj")
        name = re.sub(r"attention\.attention\.(\w)\w+", r"attention.\1_proj", name)
        out[re.sub(r"(layers\.\d+)\.output\.dense", r"\1.mlp.fc2", name)] = tensor
    return out


@pytest.mark.parametrize("names", [dict, since_5])
@pytest.mark.parametrize("prefix", ["", "vit."])
def test_hugging_faces_names_of_a_transformer(tmp_path, prefix, names):
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32)
    theirs = names(hugging_face(vit))
    content = {**under(prefix, theirs), "classifier.weight": torch.ones(2, 192)}
    found = matched(content, vit, tmp_path)
    assert (found.missing, found.left_over) == ((), ("classifier.weight",))
    assert all(torch.equal(found.tensors[n], t) for n, t in vit.state_dict().items())


def test_several_copies_are_asked_about_unless_they_are_the_same(tmp_path):
    one, two = (
        torchvision.models.resnet18().state_dict(),
        torchvision.models.resnet18().state_dict(),
    )
    both = {"student": one, "teacher": two}
    with pytest.raises(UsageError, match=r"2 encoders that differ.*prefix='teacher\."):
        matched(both, resnet(), tmp_path)
    found = matched(both, resnet(), tmp_path, prefix="teacher.")
    assert torch.equal(found.tensors["conv1.weight"], two["conv1.weight"])
    assert len(found.left_over) == len(one) + 2
    same = matched({"student": one, "teacher": one}, resnet(), tmp_path)
    assert torch.equal(same.tensors["conv1.weight"], one["conv1.weight"])
    with pytest.raises(DataError, match=r"has 0 of the network's 120 weights that begin with"):
        matched(both, resnet(), tmp_path, prefix="tutor.")


def test_another_backbone_is_said_in_a_line(tmp_path):
    path, theirs = tmp_path / "f.pt", torchvision.models.resnet18().state_dict()
    for name, said in (
        ("resnet34", r"lacks 80 of the 216 weights of timm:resnet34, such as layer1\.2"),
        ("resnet50", r"has 120 of the network's 318 weights: another backbone"),
        ("resnet18d", "another backbone|it is of another backbone"),
    ):
        wanted = timm.create_model(name, num_classes=0).state_dict()
        with pytest.raises(DataError, match=said) as error:
            found = match(theirs, wanted, path=path)
            check_fit(found, wanted, path=path, backbone=f"timm:{name}")
        assert "\n" not in str(error.value)


def test_shapes_and_numbers_are_checked(tmp_path):
    net, path = resnet(), tmp_path / "f.pt"
    for name, tensor, said in (
        ("conv1.weight", torch.ones(64, 3, 3, 3), "conv1.weight is 64x3x3x3, and timm:resnet18"),
        ("bn1.bias", torch.full((64,), float("nan")), "bn1.bias holds numbers that are not finite"),
    ):
        content = {**net.state_dict(), name: tensor}
        found = match(content, net.state_dict(), path=path)
        with pytest.raises(DataError, match=said):
            check_fit(found, net.state_dict(), path=path, backbone="timm:resnet18")
