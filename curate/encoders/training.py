"""Training: one loop for every method and plan."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from curate.data.canvas import Canvas
from curate.encoders import dp_sgd, methods
from curate.encoders.backbone import Encoder, in_bfloat16
from curate.encoders.checkpoint import Buffers, newest, restore, store, tensors_of, write_tensors
from curate.encoders.config import TrainConfig, TrainingSpec
from curate.encoders.methods.base import Batch, Method
from curate.encoders.representation import distance, represent
from curate.encoders.views.apply import augment
from curate.encoders.views.draws import Draws
from curate.errors import DataError, DivergedError
from curate.runtime import randomness, signals, versions
from curate.runtime.files import write_json, write_text
from curate.runtime.progress import Progress, silent
from curate.runtime.versions import refuse_other_code

log = logging.getLogger("curate")

PATIENCE = 10
"""Steps in a row whose loss may be not finite before a training is given up."""


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
) -> dict[str, Any]:
    """Train an encoder on some samples and write it.

    The order of samples is a pure function of (seed, epoch) and the views of a sample one of (seed,
    uid, epoch): trainings with one seed show a sample they share the same views. A training that
    was interrupted goes on from its newest state, and ends with the same bytes (on CPU). With
    ``train.dp``, a step draws each sample by itself (``encoders.dp_sgd``), and an epoch is as many
    steps as would take one otherwise.

    Args:
        canvas: Decoded images.
        uids: (n,) uids to train on; their order does not matter.
        spec: Encoder, method, views and schedule.
        seed: Seed of initialisation, order and views.
        out: Folder for ``weights.safetensors``, ``config.json`` and ``log.jsonl``.
        device: ``cpu`` or ``cuda``.
        states: Folder of this training's states; None keeps none.
        labels: (N,) int64 label of each row of the canvas, -1 for none; needed by supervised
            methods alone.
        progress: Gets (``train``, steps done, steps in all).
        steps: Train for so many steps instead of the schedule's epochs.

    Returns:
        Final loss (mean of the last epoch), steps, epochs, skipped steps, seconds; with
        ``train.dp``, ``privacy``: the fields of ``dp_sgd.Guarantee``.

    Raises:
        DataError: If there are too few samples to train on, or labels are needed and missing.
        DivergedError: If the loss stays not finite.
        MismatchError: If other code began this training.
        ResourceError: If ``train.dp`` is set and Opacus is not installed.
        UsageError: If the method cannot be trained with ``train.dp``.
        Stopped: If a signal came; the state is stored.
    """
    if device == "cpu":
        torch.set_num_threads(spec.train.threads)
    torch.manual_seed(seed)
    config = spec.encoder
    uids = np.array(sorted(uids), dtype=object)
    if len(uids) < 2:
        raise DataError(f"{out.name}: training needs at least 2 samples; here is {len(uids)}.")
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
        "seed": seed,
        "samples": len(uids),
    }
    if spec.train.dp is not None:
        dp_sgd.check(config.method, method)
    loop = Loop(method.to(device).train(), canvas, uids, labels, spec, seed, device, steps)
    promised = {} if loop.private is None else {"privacy": loop.private.guarantee.facts()}
    about |= promised
    if states is not None:
        loop.resume(states)

    def snapshot(epoch: int) -> None:
        write_encoder(out / snapshot_name(epoch), loop.method.kept, {**about, "epoch": epoch})

    facts = loop.run(states, snapshot, progress)
    write_encoder(out, loop.method.kept, about)
    write_text(out / "log.jsonl", "".join(json.dumps(line) + "\n" for line in loop.progress.log))
    return {**facts, **promised}


def write_encoder(out: Path, encoder: Encoder, about: Mapping[str, Any]) -> None:
    """Write ``weights.safetensors`` and ``config.json``, which ``load_encoder`` reads."""
    write_tensors(out / "weights.safetensors", encoder.state_dict())
    write_json(out / "config.json", about)


def snapshot_name(epoch: int) -> str:
    """Return where an encoder's snapshot after ``epoch`` epochs lies in its folder."""
    return f"snapshots/{epoch:05d}"


def snapshot_epochs(config: TrainConfig) -> range:
    """Return the epochs after which an encoder is kept besides its end."""
    every = config.snapshots or config.epochs
    return range(every, config.epochs, every)


@dataclass
class _Progress:
    """How far a training is; all of it but ``started`` is part of a state."""

    step: int = 0
    skipped: int = 0
    in_a_row: int = 0
    loss_sum: float = 0.0
    counted: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)

    def spend(self, seconds: float) -> None:
        """Add the time that a step took."""
        self.seconds += seconds
        self.epoch_seconds += seconds


class Loop:
    """The steps of one training."""

    def __init__(
        self,
        method: Method,
        canvas: Canvas,
        uids: np.ndarray,
        labels: np.ndarray | None,
        spec: TrainingSpec,
        seed: int,
        device: str,
        steps: int | None,
    ) -> None:
        self.method, self.config, self.device = method, spec.train, device
        self.images, self.rows = canvas.array, canvas.rows(uids)
        self.labels = self._labels(labels) if method.supervised else None
        self.keys = randomness.uid_keys(uids)
        self.order_keys = randomness.uid_keys(uids, repeats=True)
        self.seed, self.key = seed, randomness.stream(seed, "views")
        self.specs = [method.view(v, spec.views) for v in range(method.n_views)]
        self.weight = self.config.alignment_lambda
        if self.weight:
            self.specs += [spec.views, spec.views]
        self.batch = min(self.config.batch_size, len(uids))
        self.per_epoch = len(uids) // self.batch
        self.total = steps or self.config.epochs * self.per_epoch
        self.warmup = min(self.total, self.config.warmup_epochs * self.per_epoch)
        # Trainings of equal steps on fewer samples have epochs of their own; they keep none.
        self.snapshots = range(0) if steps else snapshot_epochs(self.config)
        self.optimizer = optimizer(method, self.config)
        self.buffers = Buffers(method)
        self.private = self._private()
        precision = self.config.precision if self.private is None else "float32"
        self.autocast = in_bfloat16(precision, device)
        self.progress = _Progress()
        self.identity = {
            "settings": spec.fingerprint,
            "seed": seed,
            "samples": hashlib.sha256("\n".join(uids).encode()).hexdigest(),
            "steps": self.total,
        }
        if self.private is not None:
            # Another version of the accountant may find another.
            self.identity["noise_multiplier"] = self.private.guarantee.noise_multiplier

    def _private(self) -> dp_sgd.Gradients | None:
        """Return what makes the gradients of a differentially private training."""
        if self.config.dp is None:
            return None
        promised = dp_sgd.guarantee(
            self.config.dp, batch=self.batch, samples=len(self.rows), steps=self.total
        )
        return dp_sgd.Gradients(self.method, self._loss, promised, self.seed)

    def _labels(self, labels: np.ndarray | None) -> np.ndarray:
        """Return the label of each sample, for a method that needs them.

        Raises:
            DataError: If one has none.
        """
        n = len(self.rows)
        taught = labels[self.rows] if labels is not None else np.full(n, -1)
        if missing := int((taught < 0).sum()):
            raise DataError(
                f"a supervised method needs labels; {missing:,} of {n:,} samples have none."
            )
        return taught

    def resume(self, states: Path) -> None:
        """Go on from the newest state of this very training; of another one, states are deleted.

        Raises:
            MismatchError: If other code stored it.
        """
        found = newest(states)
        if found is None:
            return
        facts, tensors = found
        if facts.get("identity") != self.identity:
            shutil.rmtree(states)
            return
        refuse_other_code(facts.get("code", {}), "train", f"the training in {states}")
        restore(self.method, self.optimizer, tensors)
        self.progress = _Progress(**facts["progress"])

    def _store(self, states: Path) -> None:
        facts = {
            "identity": self.identity,
            "code": versions.of_stage("train"),
            "progress": dataclasses.asdict(self.progress),
        }
        store(states, self.progress.step, tensors_of(self.method, self.optimizer), facts)

    def run(
        self, states: Path | None, snapshot: Callable[[int], None], progress: Progress
    ) -> dict[str, Any]:
        """Make every step that is left; returns what the completion record says.

        Args:
            states: Where states are stored; None stores none.
            snapshot: Called with the epoch after which an encoder is to be kept.
            progress: Progress callback.
        """
        now, stored = self.progress, time.monotonic()
        with signals.held() as work:
            order = np.empty(0, dtype=np.int64)
            while now.step < self.total:
                started = time.monotonic()
                epoch, k = divmod(now.step, self.per_epoch)
                if self.private is not None:
                    chosen = self.private.sample(now.step, self.order_keys)
                else:
                    if k == 0 or not len(order):
                        order = self.order(epoch)
                    chosen = order[k * self.batch : (k + 1) * self.batch]
                rate = learning_rate(now.step, self.total, self.warmup, self.config.lr)
                loss = self._step(epoch, chosen, rate)
                now.spend(time.monotonic() - started)
                self._count(loss)
                progress("train", now.step, self.total)
                if (k + 1) % self.per_epoch == 0 or now.step == self.total:
                    self._end_epoch(epoch, k + 1, rate)
                    if epoch + 1 in self.snapshots and k + 1 == self.per_epoch:
                        # Before the state that has it behind it, so that none is passed over.
                        snapshot(epoch + 1)
                # A state with a step behind it that was not finite is not one to go back to.
                due = now.step < self.total and time.monotonic() - stored >= self.config.save_every
                if states and now.in_a_row == 0 and (due or work.wanted is not None):
                    self._store(states)
                    stored = time.monotonic()
                if work.wanted is not None:
                    break
        if now.skipped:
            done = "skipped" if self.private is None else "made of noise alone"
            log.warning("%d steps with a loss that was not finite were %s.", now.skipped, done)
        last = now.log[-1]
        return {
            "loss": last["loss"],
            "steps": self.total,
            "epochs": last["epoch"],
            "skipped": now.skipped,
            "seconds": round(now.seconds, 3),
        }

    def order(self, epoch: int) -> np.ndarray:
        """Return the order of the samples in an epoch; what fills no batch is left for another."""
        key = randomness.stream(self.seed, "order", epoch)
        return np.argsort(randomness.hash64(key, self.order_keys), kind="stable")

    def _count(self, loss: float | None) -> None:
        """Count a step and its loss, None where nothing was shown.

        Raises:
            DivergedError: If it was the last of too many in a row that were not finite.
        """
        now = self.progress
        now.step += 1
        if loss is None:
            return
        if math.isfinite(loss):
            now.in_a_row = 0
            now.loss_sum, now.counted = now.loss_sum + loss, now.counted + 1
            return
        now.skipped, now.in_a_row = now.skipped + 1, now.in_a_row + 1
        if now.in_a_row >= PATIENCE:
            raise DivergedError(
                f"training diverged: the loss was not finite for {PATIENCE} steps in a row "
                f"(step {now.step} of {self.total}); lower train.lr or set train.clip_norm."
            )

    def _end_epoch(self, epoch: int, steps: int, rate: float) -> None:
        """Add a line to the log."""
        now = self.progress
        spent, images = now.epoch_seconds, self.batch * steps
        now.log.append(
            {
                "epoch": epoch + 1,
                "step": now.step,
                "loss": now.loss_sum / now.counted if now.counted else None,
                "lr": rate,
                "images_per_second": round(images / spent, 1) if spent > 0 else None,
                "seconds": round(spent, 4),
            }
        )
        now.loss_sum, now.counted, now.epoch_seconds = 0.0, 0, 0.0

    def _step(self, epoch: int, chosen: np.ndarray, rate: float) -> float | None:
        """Make one step; returns its loss, None where ``chosen`` is empty.

        One that is not finite leaves everything as it was, unless the step is private.
        """
        batch = self._batch(epoch, chosen)
        if self.private is not None:
            loss = self.private.backward(batch, self.progress.step, self.batch)
        else:
            loss = self._backward(batch)
            if math.isnan(loss):
                return loss
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.method.after_step(batch)
        return loss

    def _backward(self, batch: Batch) -> float:
        """Set the gradients; returns the loss, NaN if one of them is not finite."""
        self.buffers.keep()
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.autocast):
            loss = self._loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        limit = self.config.clip_norm if self.config.clip_norm is not None else float("inf")
        norm = nn.utils.clip_grad_norm_(self.method.parameters(), limit)
        if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
            self.buffers.put_back()
            return float("nan")
        return float(loss.detach())

    def _loss(self, batch: Batch) -> Tensor:
        """Return the method's loss, and Eq. 3's where the recipe asks for it."""
        loss: Tensor = self.method(batch)
        if self.weight:
            loss = (1 - self.weight) * loss - self.weight * self._alignment(batch)
        return loss

    def _alignment(self, batch: Batch) -> Tensor:
        """Return the mean distance of two views' representations (arXiv 2401.12233, Eq. 3)."""
        encoder = self.method.encoder
        z_1, z_2 = represent(encoder, torch.cat(list(batch.extra)), "full").chunk(2)
        return distance(z_1, z_2, "l2").mean()

    def _batch(self, epoch: int, chosen: np.ndarray) -> Batch:
        """Return the views of some samples, by their place among those trained on."""
        pixels = torch.from_numpy(self.images[self.rows[chosen]]).to(self.device)
        words = torch.from_numpy(self.keys[chosen].view(np.int64)).to(self.device)
        first = epoch * len(self.specs)
        taught = None
        if self.labels is not None:
            taught = torch.from_numpy(self.labels[chosen]).to(self.device)
        shown = [
            augment(pixels, spec, key=self.key, keys=words, view=first + v)
            for v, spec in enumerate(self.specs)
        ]
        n = self.method.n_views
        return Batch(
            views=shown[:n],
            extra=shown[n:],
            draws=[Draws.of(self.key, words, first + v) for v in range(n)],
            labels=taught,
            epoch=self.progress.step / self.per_epoch,
            done=self.progress.step / self.total,
        )


def learning_rate(step: int, total: int, warmup: int, peak: float) -> float:
    """Return the learning rate of step 0 to total - 1: linear warm-up, then half a cosine to 0."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def optimizer(method: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the recipe's optimizer; biases and normalisation are not decayed (nor adapted)."""
    trained = [p for p in method.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.95), fused=True)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9)
    from timm.optim.lars import Lars

    # timm adapts only what is decayed, which is LARS as SimCLR uses it.
    return Lars(groups, lr=config.lr, momentum=0.9)
