"""Training: one loop for every method and plan."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curate.data.canvas import Canvas
from curate.encoders import dp_sgd, methods
from curate.encoders.backbone import Encoder, allow_tf32, computed_in
from curate.encoders.captured import Capture, Captured, Work, captured, cuda_graph, own_stream
from curate.encoders.checkpoint import (
    Kept,
    newest,
    restore,
    statistics_of,
    store,
    stored_at,
    tensors_of,
    trained_by,
    write_tensors,
)
from curate.encoders.classifier import write_head
from curate.encoders.compiled import CompiledLoss, pays
from curate.encoders.config import TrainingSpec
from curate.encoders.feed import feed_of
from curate.encoders.gradients import Gradients, PlainGradients
from curate.encoders.history import History, Trained
from curate.encoders.methods.base import Batch, Method
from curate.encoders.part_gradients import PartGradients
from curate.encoders.parts import averaged
from curate.encoders.ranks import ALONE, Ranks
from curate.encoders.representation import distance, represent
from curate.encoders.schedule import Now, Steps, Tables, optimizer, snapshot_epochs, snapshot_name
from curate.encoders.views.apply import orders, view_of
from curate.encoders.views.draws import Draws, hash64
from curate.errors import DataError
from curate.runtime import randomness, signals, versions
from curate.runtime.files import TEMPORARY, write_json, write_text
from curate.runtime.progress import Progress, silent

log = logging.getLogger("curate")

ALIKE = 3
"""Steps of a kind that are made before a card repeats one: the first makes moments, the second
their copies."""
UNREAD = 50
"""Most steps that a card is ahead of the host, which reads their losses together."""


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
    if device == "cpu":
        torch.set_num_threads(spec.train.threads)
    torch.manual_seed(seed)
    config = spec.encoder
    uids = np.array(sorted(uids), dtype=object)
    if len(uids) < (least := max(2, spec.train.parts)):
        raise DataError(
            f"{out.name}: training needs at least {least} samples; here is {len(uids)}."
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
        "seed": seed,
        "samples": len(uids),
    }
    loop = Loop(
        method.to(device).train(),
        spec,
        canvas=canvas,
        uids=uids,
        labels=labels,
        seed=seed,
        device=device,
        steps=steps,
        ranks=ranks,
    )
    about |= {"device": device, "precision": loop.precision, **loop.gradients.promise()}
    if loop.compiles:
        about["compiled"] = True
    if states is not None:
        loop.resume(states)

    # Beside the states: what goes on from one does not make an earlier snapshot again.
    snapshots = states or out

    def snapshot(epoch: int) -> None:
        if not ranks.rank:
            facts = {**about, "epoch": epoch}
            write_encoder(snapshots / snapshot_name(epoch), loop.method.kept, facts)

    trained = loop.run(states, snapshot=snapshot, progress=progress)
    if ranks.rank:
        return trained
    for name in map(snapshot_name, loop.snapshots if states else ()):
        shutil.copytree(
            snapshots / name, out / name, ignore=shutil.ignore_patterns(f"*{TEMPORARY}")
        )
    write_encoder(out, loop.method.kept, about)
    write_head(out, loop.method.classifier)
    write_text(out / "log.jsonl", "".join(json.dumps(line) + "\n" for line in loop.progress.log))
    return trained


def write_encoder(out: Path, encoder: Encoder, about: Mapping[str, Any]) -> None:
    """Write ``weights.safetensors`` and ``config.json``, which ``load_encoder`` reads."""
    write_tensors(out / "weights.safetensors", encoder.state_dict())
    write_json(out / "config.json", about)


class Loop:
    """The steps of one training."""

    def __init__(
        self,
        method: Method,
        spec: TrainingSpec,
        *,
        canvas: Canvas,
        uids: np.ndarray,
        labels: np.ndarray | None = None,
        seed: int = 0,
        device: str = "cpu",
        steps: int | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        """Prepare the training of ``method``; the arguments are those of ``train_encoder``."""
        self.method, self.config, self.device = method, spec.train, device
        self.ranks = ranks
        private = self.config.dp is not None
        self.precision = "float32" if private else computed_in(self.config.precision, device)
        allow_tf32(self.precision)
        self.rows, self.key = canvas.rows(uids), randomness.stream(seed, "views")
        self.labels = self._labels(labels).to(device) if method.supervised else None
        keys = torch.from_numpy(randomness.uid_keys(uids).view(np.int64))
        self.states = hash64(self.key, keys).to(device)
        self.specs = [method.view(v, spec.views) for v in range(method.n_views)]
        if self.config.alignment_lambda:
            self.specs += [spec.views, spec.views]
        # Private steps draw on the host, and ranks talk through it.
        by_host = private or self.config.parts > 1
        self.capture: Capture | None = None if device == "cpu" or by_host else cuda_graph
        self.batch_size = self.config.batch_of(len(uids))
        self.per_epoch = len(uids) // self.batch_size
        self.total = steps or self.config.epochs * self.per_epoch
        self.warmup = min(self.total, self.config.warmup_epochs * self.per_epoch)
        # Trainings of equal steps on fewer samples have epochs of their own; they keep none.
        self.snapshots = range(0) if steps else snapshot_epochs(self.config)
        self.steps = Steps(
            method, self.config.lr, self.total, self.warmup, self.per_epoch, len(self.specs)
        )
        self.optimizer = optimizer(method, self.config, device)
        # A number on the CPU is there once it is asked for; a card would be waited for.
        self.ahead = 1 if device == "cpu" else UNREAD
        self.kept, self._moments = Kept(statistics_of(method)), 0
        self._unread: list[tuple[int, Tensor | None]] = []
        self.compiles = not by_host and pays(self.total, device)
        # The best of cuDNN's ways is looked for once a shape, of which a training has few.
        torch.backends.cudnn.benchmark = device != "cpu"
        self._alike: tuple[Tables, Work] | None = None
        self._made = 0
        self.repeated: Captured | None = None
        self.gradients = self._gradients(spec.encoder.method, uids, seed)
        self.feed = feed_of(
            canvas.array, self.rows, self.gradients.sample, steps=self.total, device=device
        )
        self.progress = History()
        self.identity = {
            "settings": spec.fingerprint,
            "seed": seed,
            "samples": hashlib.sha256("\n".join(uids).encode()).hexdigest(),
            "steps": self.total,
            **self.gradients.identity(),
        }

    def _gradients(self, name: str, uids: np.ndarray, seed: int) -> Gradients:
        """Return how samples are drawn and gradients found, as the recipe asks for it."""
        keys, dp = randomness.uid_keys(uids, repeats=True), self.config.dp
        if dp is None:
            of_batch: dict[str, Any] = {
                "keys": keys,
                "seed": seed,
                "config": self.config,
                "device": self.device,
            }
            if self.config.parts == 1:
                return PlainGradients(self.method, self.loss, **of_batch)
            return PartGradients(self.method, self.loss, ranks=self.ranks, **of_batch)
        dp_sgd.check(name, self.method)
        size = self.batch_size
        guarantee = dp_sgd.guarantee(dp, batch=size, samples=len(uids), steps=self.total)
        return dp_sgd.PrivateGradients(
            self.method, self.loss, keys=keys, seed=seed, guarantee=guarantee, batch=size
        )

    def _labels(self, labels: np.ndarray | None) -> Tensor:
        """Return the label of each sample, (n,) int64, for a method that needs them.

        Raises:
            DataError: If one has none.
        """
        n = len(self.rows)
        taught = labels[self.rows] if labels is not None else np.full(n, -1)
        if missing := int((taught < 0).sum()):
            raise DataError(
                f"a supervised method needs labels; {missing:,} of {n:,} samples have none."
            )
        return torch.from_numpy(taught)

    def resume(self, states: Path) -> None:
        """Go on from the newest state of this very training; of another one, states are deleted.

        Rank 0 chooses; the others read the state that it names.

        Raises:
            DataError: If another rank does not see that state.
            MismatchError: If other code stored it, or another kind of device.
        """
        if self.ranks.rank:
            if step := self.ranks.told(0):
                self._go_on(*stored_at(states, step))
            return
        if (state := newest(states)) is not None:
            self._go_on_from(*state, states)
        self.ranks.told(self.progress.step)

    def _go_on_from(self, about: dict[str, Any], tensors: dict[str, Tensor], states: Path) -> None:
        """Go on from a state if it is of this very training."""
        if about.get("identity") != self.identity:
            shutil.rmtree(states)
            return
        versions.refuse_other_code(about.get("code", {}), "train", f"the training in {states}")
        versions.refuse_other_device(about.get("device"), self.device, f"the training in {states}")
        self._go_on(about, tensors)

    def _go_on(self, about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        restore(self.method, self.optimizer, tensors)
        self.progress = History(**about["progress"])

    def run(
        self,
        states: Path | None,
        *,
        snapshot: Callable[[int], None] = lambda epoch: None,
        progress: Progress = silent,
    ) -> Trained:
        """Make every step that is left.

        Args:
            states: Where states are stored; None stores none.
            snapshot: Called with the epoch after which an encoder is to be kept.
            progress: Progress callback.
        """
        now, stored = self.progress, time.monotonic()
        at_hand = "a step of training, and its state is stored"
        # What stores no state loses nothing where it is cut.
        holding = signals.held(at_hand) if states else contextlib.nullcontext(signals.Held(at_hand))
        with holding as work, own_stream(self.device):
            while now.step < self.total:
                started = time.monotonic()
                epoch, k = divmod(now.step, self.per_epoch)
                loss = self.advance()
                now.step += 1
                self._unread.append((now.step, loss))
                ended = (k + 1) % self.per_epoch == 0 or now.step == self.total
                if ended or len(self._unread) >= self.ahead:
                    self._count()
                now.spend(time.monotonic() - started)
                progress("train", now.step, self.total)
                if ended:
                    rate = self.steps.at(now.step - 1).rate
                    now.end_epoch(epoch, float(rate), self.batch_size * (k + 1))
                    if epoch + 1 in self.snapshots and k + 1 == self.per_epoch:
                        # A later state would pass the snapshot over, so this comes first.
                        snapshot(epoch + 1)
                # A training does not go back to a state behind a step that was not finite.
                due = now.step < self.total and time.monotonic() - stored >= self.config.save_every
                # The signal that came to one rank is obeyed by all, after the same step.
                wanted, due = self.ranks.agreed(work.wanted, due)
                if states and (due or wanted is not None):
                    self._count()
                    if now.in_a_row == 0:
                        self._store(states)
                        stored = time.monotonic()
                if wanted is not None:
                    work.wanted = wanted
                    break
        if now.skipped:
            log.warning(
                "%d steps with a loss that was not finite were %s.",
                now.skipped,
                self.gradients.skipping,
            )
        last = now.log[-1]
        return Trained(
            loss=last["loss"],
            steps=self.total,
            epochs=last["epoch"],
            skipped=now.skipped,
            seconds=round(now.seconds, 3),
            **self.gradients.promise(),
        )

    def advance(self) -> Tensor | None:
        """Make the next step on the samples that it draws; returns its loss, as ``step`` does.

        A card is asked for the first steps kernel by kernel. What is alike from then on it repeats
        by itself.
        """
        at = self.progress.step
        places, pixels = self.feed.take(at)
        if self.repeated is not None:
            return self.repeated(at, places, pixels)
        now = self.steps.at(at)
        if self.capture is None or not now.settled:
            return self.step(self.batch(now, places, pixels), now.rate)
        if self._alike is None:
            self._alike = self._settle()
        tables, work = self._alike
        self._made += 1
        if self._made == ALIKE + 1:
            self.repeated = captured(work, tables.step, places, pixels, self.capture)
            if self.repeated is not None:
                return self.repeated(at, places, pixels)
        tables.step.fill_(at)
        return work(places, pixels)

    def _settle(self) -> tuple[Tables, Work]:
        """Return the tables of all steps, and the step that they make of its samples alone."""
        views = (self.total // self.per_epoch + 1) * len(self.specs)
        tables = Tables(self.steps, orders(self.key, views), self.device)
        for group in self.optimizer.param_groups:
            if "capturable" in group:
                group["capturable"] = self.device != "cpu"
        if self.compiles:
            self.gradients.loss = CompiledLoss(self.loss)

        def work(places: Tensor, pixels: Tensor) -> Tensor:
            now = tables.now()
            loss = self.step(self.batch(now, places, pixels), now.rate)
            assert loss is not None
            return loss

        return tables, work

    def batch(self, now: Now, places: Tensor, pixels: Tensor) -> Batch:
        """Return the views of some samples, by their places and images as the feed gives them."""
        if not isinstance(self.gradients, PartGradients):
            return self._views(now, places, pixels)
        k = self.gradients.parts
        parts = zip(places.chunk(k), pixels.chunk(k), strict=True)
        return self.gradients.together([self._views(now, *part) for part in parts])

    def _views(self, now: Now, places: Tensor, pixels: Tensor) -> Batch:
        n = self.method.n_views
        draws = Draws.of_views(self.key, self.states[places], now.view, len(self.specs), now.orders)
        x = pixels.float() / 255
        shown = [view_of(x, spec, d) for spec, d in zip(self.specs, draws, strict=True)]
        return Batch(
            views=shown[:n],
            extra=shown[n:],
            draws=draws[:n],
            labels=None if self.labels is None else self.labels[places],
            numbers=now.own,
            settled=now.settled,
        )

    def step(self, batch: Batch, rate: float | Tensor) -> Tensor | None:
        """Make one step; returns its loss, NaN if it was not finite, None for an empty batch.

        A step that is not finite leaves everything as it was. A card, which alone knows, makes it
        and takes it back; the host is not told.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.ahead > 1 and self._moments != len(self.optimizer.state):
            self._moments = len(self.optimizer.state)
            self.kept = Kept(trained_by(self.method, self.optimizer))
        self.kept.keep()
        loss = self.gradients.backward(batch, self.progress.step)
        # What has no moments yet cannot go back to them.
        told = self.ahead == 1 or any(
            p.grad is not None and p not in self.optimizer.state
            for group in self.optimizer.param_groups
            for p in group["params"]
        )
        if loss is None or not self.gradients.skips:
            self._update(batch)
        elif not told:
            self._update(batch)
            self.kept.put_back(unless=torch.isfinite(loss))
        elif bool(torch.isfinite(loss)):
            self._update(batch)
        else:
            self.kept.put_back()
        return loss

    def _update(self, batch: Batch) -> None:
        self.optimizer.step()
        self.method.after_step(batch)

    def loss(self, batch: Batch) -> Tensor:
        """Return the method's loss, and Eq. 3's where the recipe asks for it."""
        loss: Tensor = self.method(batch)
        if weight := self.config.alignment_lambda:
            loss = (1 - weight) * loss - weight * averaged(
                mean_alignment(self.method.encoder, batch)
            )
        return loss

    def _count(self) -> None:
        """Read and count the losses of the steps that were made; there may be none."""
        unread, self._unread = self._unread, []
        self.progress.count(unread, self.total)

    def _store(self, states: Path) -> None:
        if self.ranks.rank:
            return
        about = {
            "identity": self.identity,
            "code": versions.of_stage("train"),
            "device": self.device,
            "progress": dataclasses.asdict(self.progress),
        }
        store(states, self.progress.step, tensors_of(self.method, self.optimizer), about)


def mean_alignment(encoder: Encoder, batch: Batch) -> Tensor:
    """Return the mean distance of two further views' representations (arXiv 2401.12233, Eq. 3)."""
    z_1, z_2 = represent(encoder, torch.cat(list(batch.extra)), "full").chunk(2)
    return distance(z_1, z_2, "l2").mean()
