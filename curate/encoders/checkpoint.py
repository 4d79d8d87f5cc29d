"""States of a training in progress: tensors as safetensors, the rest JSON, the last two kept."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from curate.errors import DataError
from curate.runtime.files import file_sha256, owner, read_json, replacing, write_json

log = logging.getLogger("curate")

KEPT = 2
"""States that are kept: the newest, and one in case that is damaged."""
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""The integers of so many bytes."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, atomically.

    Raises:
        ResourceError: If there is no space or no permission.
    """
    # Not by safetensors' own writer, whose temporary file and errors are its own as well.
    content = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def store(folder: Path, step: int, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write the state after ``step`` steps, then forget all but the last two.

    Args:
        folder: Holds the states of one training and nothing else.
        step: Steps made.
        tensors: What ``tensors_of`` returned.
        about: The rest of what a training goes on from, as JSON.
    """
    # Another attempt at this training may be at the same step.
    path = folder / f"{step:09d}-{owner()}.safetensors"
    write_tensors(path, tensors)
    # Last, since a state counts as stored once its JSON is there.
    write_json(path.with_suffix(".json"), {**about, "step": step, "sha256": file_sha256(path)})
    for old in _steps(folder)[KEPT:]:
        old.unlink(missing_ok=True)
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def newest(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Return the JSON and the tensors of the newest whole state; None if there is none."""
    for path in _steps(folder):
        try:
            return _read(path)
        except (DataError, SafetensorError) as error:
            log.warning("%s: %s An earlier state is used, or none.", path.stem, error)
    return None


def stored_at(folder: Path, step: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the JSON and the tensors of the state after ``step`` steps, as another rank chose.

    Raises:
        DataError: If it is not here.
    """
    try:
        path = next(path for path in _steps(folder) if path.name.startswith(f"{step:09d}"))
        return _read(path)
    except (StopIteration, DataError, SafetensorError) as error:
        raise DataError(
            f"{folder} has no whole state of step {step}, where rank 0 goes on: all ranks need "
            "the same run directory, on a disk that they share."
        ) from error


def common_states(
    folders: Sequence[Path],
) -> Iterator[list[tuple[dict[str, Any], dict[str, Tensor]]]]:
    """Yield the states of several trainings after a step of which all have a whole one.

    The newest come first. Those of one training are stored behind those of another, so that the
    newest of one may be of an earlier step.
    """
    steps = [{int(path.name.partition("-")[0]) for path in _steps(folder)} for folder in folders]
    for step in sorted(set.intersection(*steps), reverse=True):
        try:
            yield [stored_at(folder, step) for folder in folders]
        except DataError as error:
            log.warning("%s An earlier state is used, or none.", error)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    tensors = path.with_suffix(".safetensors")
    about = read_json(path)
    if not tensors.is_file() or file_sha256(tensors) != about.get("sha256"):
        raise DataError(f"{tensors} is missing or damaged.")
    return about, load_file(tensors)


def _steps(folder: Path) -> list[Path]:
    """Return the states' JSON files, newest first."""
    return sorted(folder.glob("*.json"), reverse=True)


def tensors_of(method: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return everything of a training that is a tensor: weights, moments, random states."""
    tensors = {f"method.{name}": t for name, t in method.state_dict().items()}
    for i, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": t for name, t in moments.items() if t is not None}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    return tensors


def restore(
    method: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Put what ``tensors_of`` returned back where it came from."""
    weights = _below("method", tensors)
    method.load_state_dict(weights)
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below("optimizer", tensors).items():
        i, _, moment = name.partition(".")
        like = trained[int(i)]
        if tensor.shape == like.shape and tensor.ndim:
            # In the memory layout of the weights, as the optimizer makes its moments.
            tensor = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
        state.setdefault(int(i), {})[moment] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])


def _below(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")
    }


class Kept:
    """Tensors that a step which was not finite must not change: a copy of them, and a way back."""

    def __init__(self, live: Iterable[Tensor]) -> None:
        """Take the tensors that training changes in place, of 16, 32 or 64 bits an element."""
        # As integers: a number that is not finite, times 0, is not 0.
        self._live = [t.detach().view(INTEGERS[t.element_size()]) for t in live]
        self._copies = [t.clone() for t in self._live]

    def keep(self) -> None:
        """Remember them as they are."""
        if self._live:
            torch._foreach_copy_(self._copies, self._live)

    def put_back(self, unless: Tensor | None = None) -> None:
        """Make them what they were.

        Args:
            unless: A bool, (), on their device, which decides without the host being told: if it
                is true they stay as they are. None puts them back.
        """
        if not self._live:
            return
        if unless is None:
            torch._foreach_copy_(self._live, self._copies)
            return
        stay = unless.to(torch.int32)
        torch._foreach_mul_(self._live, stay)
        torch._foreach_mul_(self._copies, 1 - stay)
        torch._foreach_add_(self._live, self._copies)


def statistics_of(network: nn.Module) -> list[Tensor]:
    """Return the running statistics of a network, which a forward pass changes."""
    return [b for b in network.buffers() if b.is_floating_point()]


def trained_by(method: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return every tensor that a step changes: weights, running statistics, moments.

    Args:
        method: What is trained.
        optimizer: Its moments are those of the weights that it has stepped.
    """
    moments = [t for of_one in optimizer.state.values() for t in of_one.values()]
    tensors = [t for t in moments if isinstance(t, Tensor)]
    return [*method.parameters(), *statistics_of(method), *tensors]
