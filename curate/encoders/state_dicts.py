"""Weights that others saved: read without running anything, and brought to timm's names.

Checkpoints of training codes hold more than an encoder (heads, decoders, a momentum copy), under
names that begin with where it lay: ``module.backbone.``, ``teacher.``, ``vit.encoder.``. Which
beginning and which dialect are right is told by how many of the wanted names come out.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from curate.errors import DataError, UsageError
from curate.runtime.options import option

Renaming = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]


def _counted_up(form: str) -> Callable[[re.Match[str]], str]:
    """Return a replacement whose first number is one higher than what was found."""
    return lambda matched: form.format(int(matched[1]) + 1, *matched.groups()[1:])


QKV = {"q": "query", "k": "key", "v": "value"}
DIALECTS: dict[str, Renaming] = {
    # Also torchvision's residual networks, which have the same names, and lightly's, but for one.
    "timm": ((r"\.shortcut\.", ".downsample."),),
    "torchvision's ViT": (
        (r"^class_token$", "cls_token"),
        (r"^conv_proj\.", "patch_embed.proj."),
        (r"^encoder\.pos_embedding$", "pos_embed"),
        (r"^encoder\.ln\.", "norm."),
        (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
        (r"\.ln_([12])\.", r".norm\1."),
        (r"\.self_attention\.in_proj_", ".attn.qkv."),
        (r"\.self_attention\.out_proj\.", ".attn.proj."),
        (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
        (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
    ),
    "Hugging Face's ViT": (
        (r"^embeddings\.cls_token$", "cls_token"),
        (r"^embeddings\.distillation_token$", "dist_token"),
        (r"^embeddings\.register_tokens$", "reg_token"),
        (r"^embeddings\.position_embeddings$", "pos_embed"),
        (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
        (r"^layernorm\.", "norm."),
        # What it writes to files, and since transformers 5 what state_dict() says.
        (r"^encoder\.layer\.(\d+)\.|^layers\.(\d+)\.", r"blocks.\1\2."),
        (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
        (r"\.attention\.([qkv])_proj\.", lambda matched: f".attn.{QKV[matched[1]]}."),
        (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
        (r"\.layernorm_before\.", ".norm1."),
        (r"\.layernorm_after\.", ".norm2."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
        (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    ),
    "Hugging Face's ResNet": (
        (r"^embedder\.embedder\.convolution\.", "conv1."),
        (r"^embedder\.embedder\.normalization\.", "bn1."),
        (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.", _counted_up("layer{}.{}.")),
        (r"\.layer\.(\d+)\.convolution\.", _counted_up(".conv{}.")),
        (r"\.layer\.(\d+)\.normalization\.", _counted_up(".bn{}.")),
        (r"\.shortcut\.convolution\.", ".downsample.0."),
        (r"\.shortcut\.normalization\.", ".downsample.1."),
    ),
    # nn.Sequential(*list(resnet.children())[:-1]), as lightly's examples have it.
    "children of a torchvision ResNet": (
        (r"^0\.", "conv1."),
        (r"^1\.", "bn1."),
        (r"^([4-7])\.", lambda matched: f"layer{int(matched[1]) - 3}."),
    ),
    "children of lightly's ResNet": (
        (r"^0\.", "conv1."),
        (r"^1\.", "bn1."),
        (r"^([2-5])\.", lambda matched: f"layer{int(matched[1]) - 1}."),
        (r"\.shortcut\.", ".downsample."),
    ),
}
"""How others call what timm's networks have, by what is replaced in a name."""
JOINED = (".attn.query.", ".attn.key.", ".attn.value.")
"""Three tensors that are one, ``.attn.qkv.``, in timm's networks."""
SHOWN = 4
"""Names that a message lists."""
COUNTS = "num_batches_tracked"
"""Buffers of batch normalisation that nothing depends on here."""


@dataclass(frozen=True)
class Matched:
    """The tensors of a file that belong to a network, under the network's names.

    Attributes:
        tensors: By name.
        missing: Names that the network has and the file has not.
        left_over: Names in the file that the network has not.
        prefix: What the names began with in the file.
        dialect: One of ``DIALECTS``.
    """

    tensors: dict[str, Tensor]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    prefix: str
    dialect: str


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint, safetensors or PyTorch's, as tensors by their dotted names.

    Nothing in it is run: of PyTorch's files only tensors and plain values are read.

    Raises:
        UsageError: If there is no such file.
        DataError: If it is damaged, holds other objects, or holds no tensors.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}.")
    try:
        with path.open("rb") as file:
            head = file.read(9)
        if head[8:9] == b"{":
            return _named(load_file(path), path)
        zipped = zipfile.is_zipfile(path)
        # A map reads of moments and other copies no more than their names.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except SafetensorError as error:
        raise DataError(f"{path} is damaged: {error}.") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error
    except Exception as error:  # a foreign pickle makes torch raise nearly anything
        raise DataError(_unread(path, str(error))) from error
    return _named(content, path)


def _unread(path: Path, why: str) -> str:
    """Return why a file of PyTorch's cannot be read."""
    matched = re.search(r"GLOBAL ([\w.]+)", why)
    if matched or "TorchScript" in why:
        what = f" ({matched[1]})" if matched else ""
        return (
            f"{path} holds objects beside tensors{what}, which are not read, since that runs code "
            "of the file. Save its weights alone: torch.save(model.state_dict(), 'f.pt')."
        )
    return f"{path} is damaged, or is neither safetensors nor a checkpoint of PyTorch's."


def _named(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the tensors of nested mappings by their dotted names.

    Raises:
        DataError: If there are none.
    """
    tensors: dict[str, Tensor] = {}
    waiting: list[tuple[str, Any]] = [("", content)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, Tensor):
            tensors[place] = value.detach()
        elif isinstance(value, Mapping):
            dot = f"{place}." if place else ""
            waiting += [(f"{dot}{key}", part) for key, part in value.items()]
    if not tensors:
        raise DataError(f"{path} holds no tensors by name; save the model's state_dict().")
    return dict(sorted(tensors.items()))


def match(
    tensors: Mapping[str, Tensor], wanted: Iterable[str], *, path: Path, prefix: str | None = None
) -> Matched:
    """Find the tensors of a network among those of a file.

    Args:
        tensors: By name, from ``read_tensors``.
        wanted: The names that the network has.
        path: The file, for messages.
        prefix: What the names in it begin with; None finds that out.

    Raises:
        DataError: If hardly any is there.
        UsageError: If the file holds several copies, such as of student and teacher, that differ.
    """
    names = frozenset(wanted)
    best: list[tuple[int, str, str, dict[str, str]]] = []
    for begin in [prefix] if prefix is not None else _prefixes(tensors, len(names)):
        own = [name for name in tensors if name.startswith(begin)]
        for dialect, rules in DIALECTS.items():
            renamed = {name: _renamed(name.removeprefix(begin), rules) for name in own}
            hits = sum(_target(new) in names for new in renamed.values())
            best.append((hits, begin, dialect, renamed))
    most = max((hits for hits, *_ in best), default=0)
    if most * 2 < len(names):
        shown = ", ".join(list(tensors)[:SHOWN])
        beginning = f" that begin with {prefix!r}" if prefix is not None else ""
        raise DataError(
            f"{path} has {most} of the network's {len(names)} weights{beginning}: another "
            f"backbone, or unknown names ({shown}...)."
        )
    # Of equals the first: dialects in their order, and the shortest beginning.
    ties = [one for one in best if one[0] == most]
    _, begin, dialect, renamed = ties[0]
    joined = _joined(tensors, renamed, names)
    for _, other, _, more in ties[1:]:
        if other != begin and not _same(joined, _joined(tensors, more, names)):
            both = sorted({one[1] for one in ties})
            raise UsageError(
                f"{path} holds {len(both)} encoders that differ, whose names begin with "
                f"{', '.join(map(repr, both))}; say which: {option(prefix=both[-1])}"
            )
    used = {name for name, new in renamed.items() if _target(new) in names}
    return Matched(
        tensors=joined,
        missing=tuple(sorted(n for n in names - joined.keys() if not n.endswith(COUNTS))),
        left_over=tuple(name for name in tensors if name not in used),
        prefix=begin,
        dialect=dialect,
    )


def _prefixes(tensors: Iterable[str], n_names: int) -> list[str]:
    """Return what enough names begin with to be those of a network, the shortest first."""
    counts: dict[str, int] = {"": 0}
    for name in tensors:
        steps = name.split(".")
        for depth in range(len(steps)):
            begin = "".join(f"{step}." for step in steps[:depth])
            counts[begin] = counts.get(begin, 0) + 1
    enough = {begin for begin, n in counts.items() if 2 * n >= n_names} | {""}
    return sorted(enough, key=lambda begin: (len(begin), begin))


def _renamed(name: str, rules: Renaming) -> str:
    for pattern, new in rules:
        name = re.sub(pattern, new, name)
    return name


def _target(name: str) -> str:
    """Return the name of the tensor that this one is, or is a part of."""
    for part in JOINED:
        name = name.replace(part, ".attn.qkv.")
    return name


def _joined(
    tensors: Mapping[str, Tensor], renamed: Mapping[str, str], names: frozenset[str]
) -> dict[str, Tensor]:
    """Return the tensors that a network has, with what is one there joined."""
    parts = {new: tensors[old] for old, new in renamed.items() if _target(new) in names}
    out: dict[str, Tensor] = {}
    for new, tensor in parts.items():
        target = _target(new)
        if target == new:
            out[new] = tensor
        elif new.replace(JOINED[0], ".attn.qkv.") == target:
            three = [parts.get(new.replace(JOINED[0], part)) for part in JOINED]
            if all(t is not None and t.shape[1:] == tensor.shape[1:] for t in three):
                out[target] = torch.cat([t for t in three if t is not None])
    return out


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(t, b[name]) for name, t in a.items())


def check_fit(found: Matched, wanted: Mapping[str, Tensor], *, path: Path, backbone: str) -> None:
    """Check that tensors are those of a network, whole, of its shapes, and finite.

    Args:
        found: From ``match``.
        wanted: What the network has, by name.
        path: The file, for messages.
        backbone: The network, for messages.

    Raises:
        DataError: If they are not.
    """
    if found.missing:
        shown = ", ".join(found.missing[:SHOWN])
        raise DataError(
            f"{path} lacks {len(found.missing)} of the {len(wanted)} weights of {backbone}, such "
            f"as {shown}: another backbone?"
        )
    for name, tensor in found.tensors.items():
        if tensor.shape != wanted[name].shape:
            theirs, ours = (
                "x".join(map(str, t.shape)) or "one number" for t in (tensor, wanted[name])
            )
            raise DataError(
                f"{path}: {name} is {theirs}, and {backbone} has {ours}; it is of another backbone "
                "or size."
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DataError(f"{path}: {name} holds numbers that are not finite.")
