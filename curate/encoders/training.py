"""Training: one loop for every method and plan."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.data.canvas import Canvas
from curate.encoders import methods
from curate.encoders.backbone import Encoder
from curate.encoders.checkpoint import write_tensors
from curate.encoders.classifier import write_head
from curate.encoders.config import TrainingSpec
from curate.encoders.history import Trained
from curate.encoders.loop import Loop
from curate.encoders.ranks import ALONE, Ranks
from curate.encoders.schedule import snapshot_name
from curate.encoders.stacked import Stack
from curate.errors import DataError
from curate.runtime.files import TEMPORARY, write_json, write_text
from curate.runtime.progress import Progress, silent
from curate.runtime.threads import torch_threads


def train_encoder(
    canvas: Canvas,
    uids: np.ndarray,
    spec: TrainingSpec,
    *,
    seed: int,
    out: Path,
    device: str,
    states: Path | None = None,
    labels: np.ndarray | None = None,
    progress: Progress = silent,
    steps: int | None = None,
    ranks: Ranks = ALONE,
) -> Trained:
    """Train an encoder on some samples and write it.

    The order of samples depends on (seed, epoch) alone, and the views of a sample on (seed, uid,
    epoch): trainings with one seed show a sample they share the same views. An interrupted training
    goes on from its newest state, and ends with the same bytes (on CPU). With ``train.dp``, a step
    draws each sample independently (``encoders.dp_sgd``), and an epoch has as many steps as
    without.

    Args:
        canvas: Decoded images.
        uids: (n,) uids to train on; their order does not matter.
        spec: Encoder, method, views and schedule.
        seed: Seed of initialisation, order and views.
        out: Folder for ``weights.safetensors``, ``config.json`` and ``log.jsonl``, and a head.
        device: ``cpu`` or ``cuda``.
        states: Folder of this training's states; None keeps none.
        labels: (N,) int64 label of each row of the canvas, -1 for none; needed by supervised
            methods alone.
        progress: Gets (``train``, steps done, steps in all).
        steps: Train for so many steps instead of the schedule's epochs.
        ranks: The processes that train it together, each of which calls this; the first writes.

    Raises:
        DataError: If there are too few samples to train on, or labels are needed and missing.
        DivergedError: If the loss stays not finite.
        LostRankError: If another rank is gone.
        MismatchError: If other code began this training.
        ResourceError: If ``train.dp`` is set and Opacus is not installed.
        UsageError: If the method cannot be trained with ``train.dp``.
        Stopped: If a signal came; the state is stored.
    """
    training = Asked(uids, seed, out, states)
    with torch_threads(spec.train.threads, device):
        loop, about = _prepared(training, canvas, spec, labels, device, steps=steps, ranks=ranks)
        if states is not None:
            loop.resume(states)
        snapshot = _snapshot(loop, training, about)
        trained = loop.run(states, snapshot=snapshot, progress=progress)
    if not ranks.rank:
        _write(loop, training, about)
    return trained


def train_side_by_side(
    asked: Sequence[Asked],
    canvas: Canvas,
    spec: TrainingSpec,
    *,
    device: str,
    labels: np.ndarray | None = None,
    progress: Progress = silent,
) -> list[Trained]:
    """Train several encoders at once, by weights that lie behind each other (``stacked``).

    Each is what ``train_encoder`` makes of it but for the last digits. They have equal steps: as
    many samples to a batch, and as many batches to an epoch.

    Args:
        asked: The trainings; either all have a folder of states, or none.
        canvas: As in ``train_encoder``, and so are the others.
        spec: Encoder, method, views and schedule.
        device: ``cpu`` or ``cuda``.
        labels: (N,) int64.
        progress: Progress callback; a step is one of all.

    Raises:
        DataError: As ``train_encoder``.
        DivergedError: If the loss of one stays not finite; the others end with it.
        MismatchError: If other code began one of them.
        UsageError: If such encoders cannot be trained side by side.
        Stopped: If a signal came; the states are stored.
    """
    # The last digits of a single one, too, are those of a stack.
    several = asked if len(asked) > 1 else [*asked, *asked]
    with torch_threads(spec.train.threads, device):
        everyone = [_prepared(one, canvas, spec, labels, device) for one in several]
        stack = Stack([loop for loop, _ in everyone])
        if all(one.states is not None for one in asked):
            stack.resume([one.states for one in several if one.states is not None])
        prepared, snapshots = everyone[: len(asked)], []
        for one, (loop, about) in zip(asked, prepared, strict=True):
            about["side_by_side"] = True
            snapshots.append(_snapshot(loop, one, about))
        states = [one.states for one in asked if one.states is not None]
        trained = stack.run(states or None, snapshots=snapshots, progress=progress)
    for one, (loop, about) in zip(asked, prepared, strict=True):
        _write(loop, one, about)
    return trained


@dataclass(frozen=True)
class Asked:
    """One of the encoders that are to be trained.

    Attributes:
        uids: (n,) uids to train on.
        seed: Seed of initialisation, order and views.
        out: Folder of the encoder.
        states: Folder of the training's states; None keeps none.
    """

    uids: np.ndarray
    seed: int
    out: Path
    states: Path | None = None


def _prepared(
    training: Asked,
    canvas: Canvas,
    spec: TrainingSpec,
    labels: np.ndarray | None,
    device: str,
    *,
    steps: int | None = None,
    ranks: Ranks = ALONE,
) -> tuple[Loop, dict[str, Any]]:
    """Return a training that has not begun, and what its encoder's ``config.json`` says."""
    torch.manual_seed(training.seed)
    config = spec.encoder
    uids = np.array(sorted(training.uids), dtype=object)
    if len(uids) < (least := max(2, spec.train.parts)):
        raise DataError(
            f"{training.out.name}: training needs at least {least} samples; here is {len(uids)}."
        )
    encoder = Encoder(config.backbone, size=spec.size, channels=spec.channels, patch=config.patch)
    classes = int(labels.max(initial=-1)) + 1 if labels is not None else 0
    method = methods.build(config.method, encoder, spec.method, classes)
    about = {
        "encoder": {
            "backbone": config.backbone,
            "patch": config.patch,
            "size": spec.size,
            "channels": spec.channels,
            "representation": config.representation,
        },
        "method": {"name": config.method, **spec.method.model_dump(mode="json")},
        "settings": spec.fingerprint,
        "seed": training.seed,
        "samples": len(uids),
    }
    loop = Loop(
        method.to(device).train(),
        spec,
        canvas=canvas,
        uids=uids,
        labels=labels,
        seed=training.seed,
        device=device,
        steps=steps,
        ranks=ranks,
    )
    about |= {"device": device, "precision": loop.precision, **loop.gradients.promise()}
    if loop.compiles:
        about["compiled"] = True
    return loop, about


def _snapshot(loop: Loop, training: Asked, about: Mapping[str, Any]) -> Callable[[int], None]:
    """Return what keeps a training's encoder as it is after some epochs."""

    def snapshot(epoch: int) -> None:
        if not loop.ranks.rank:
            # Beside the states: what goes on from one does not make an earlier snapshot again.
            folder = (training.states or training.out) / snapshot_name(epoch)
            write_encoder(folder, loop.method.kept, {**about, "epoch": epoch})

    return snapshot


def _write(loop: Loop, training: Asked, about: Mapping[str, Any]) -> None:
    """Write the encoder of a training that is done, its log, and its snapshots."""
    for name in map(snapshot_name, loop.snapshots if training.states else ()):
        assert training.states is not None
        shutil.copytree(
            training.states / name,
            training.out / name,
            ignore=shutil.ignore_patterns(f"*{TEMPORARY}"),
        )
    write_encoder(training.out, loop.method.kept, about)
    write_head(training.out, loop.method.classifier)
    lines = "".join(json.dumps(line) + "\n" for line in loop.progress.log)
    write_text(training.out / "log.jsonl", lines)


def write_encoder(out: Path, encoder: Encoder, about: Mapping[str, Any]) -> None:
    """Write ``weights.safetensors`` and ``config.json``, which ``load_encoder`` reads."""
    write_tensors(out / "weights.safetensors", encoder.state_dict())
    write_json(out / "config.json", about)
