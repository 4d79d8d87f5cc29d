"""The steps of one training: its batches, losses and gradients, and how far it is."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curate.data.canvas import Canvas
from curate.encoders import dp_sgd
from curate.encoders.backbone import Encoder, allow_tf32, computed_in
from curate.encoders.captured import cuda_graph, own_stream
from curate.encoders.checkpoint import (
    Kept,
    newest,
    restore,
    statistics_of,
    store,
    stored_at,
    tensors_of,
    trained_by,
)
from curate.encoders.compiled import Compiled, pays, views_pay
from curate.encoders.config import TrainingSpec
from curate.encoders.feed import feed_of
from curate.encoders.gradients import Gradients, PlainGradients
from curate.encoders.history import History, Trained
from curate.encoders.methods.base import Batch, Method
from curate.encoders.part_gradients import PartGradients
from curate.encoders.parts import averaged
from curate.encoders.ranks import ALONE, Ranks
from curate.encoders.representation import distance, represent
from curate.encoders.schedule import Now, Steps, optimizer, snapshot_epochs
from curate.encoders.stepping import Stepping
from curate.encoders.views.apply import orders, shown
from curate.encoders.views.draws import Draws, hash64
from curate.errors import DataError
from curate.runtime import randomness, signals, versions
from curate.runtime.progress import Progress, silent

log = logging.getLogger("curate")

Snapshot = Callable[[int], None]
"""Keeps an encoder as it is after so many epochs."""
UNREAD = 50
"""Most steps that a card is ahead of the host, which reads their losses together."""


class Loop(Stepping):
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
        self.capture = None if device == "cpu" or by_host else cuda_graph
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
        shows = self.total * self.batch_size * len(self.specs)
        self.compiles = not by_host and pays(shows, device)
        self.compiles_views = not by_host and views_pay(self.total, len(self.specs), device)
        self.show = shown
        # The best of cuDNN's ways is looked for once a shape, of which a training has few.
        torch.backends.cudnn.benchmark = device != "cpu"
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
                self.go_on(*stored_at(states, step))
            return
        if (state := newest(states)) is not None:
            if self.continues(state[0], states):
                self.go_on(*state)
            else:
                shutil.rmtree(states)
        self.ranks.told(self.progress.step)

    def continues(self, about: dict[str, Any], states: Path) -> bool:
        """Return whether a stored state is of this very training.

        Raises:
            MismatchError: If it is, but other code stored it, or another kind of device.
        """
        if about.get("identity") != self.identity:
            return False
        versions.refuse_other_code(about.get("code", {}), "train", f"the training in {states}")
        versions.refuse_other_device(about.get("device"), self.device, f"the training in {states}")
        return True

    def go_on(self, about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Go on from a state."""
        restore(self.method, self.optimizer, tensors)
        self.progress = History(**about["progress"])

    def run(
        self,
        states: Path | None,
        *,
        snapshot: Snapshot = lambda epoch: None,
        progress: Progress = silent,
    ) -> Trained:
        """Make every step that is left; arguments as ``run``'s."""
        folders = None if states is None else [states]
        return run([self], self.advance, folders, snapshots=[snapshot], progress=progress)[0]

    def took(self, loss: Tensor | None) -> bool:
        """Count a step that was made, and its loss; returns whether it ended an epoch."""
        now = self.progress
        now.step += 1
        self._unread.append((now.step, loss))
        ended = now.step % self.per_epoch == 0 or now.step == self.total
        if ended or len(self._unread) >= self.ahead:
            self.count()
        return ended

    def end_epoch(self, snapshot: Snapshot) -> None:
        """Write down the epoch that has ended, and keep the encoder where that is asked for."""
        now = self.progress
        epoch, k = divmod(now.step - 1, self.per_epoch)
        rate = self.steps.at(now.step - 1).rate
        now.end_epoch(epoch, float(rate), self.batch_size * (k + 1))
        if epoch + 1 in self.snapshots and k + 1 == self.per_epoch:
            # A later state would pass the snapshot over, so this comes first.
            snapshot(epoch + 1)

    def trained(self) -> Trained:
        """Return how the training went, so far."""
        now = self.progress
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

    def advance(self, at: int | None = None) -> Tensor | None:
        """Make the next step, or step ``at``."""
        return super().advance(self.progress.step if at is None else at)

    def orders(self, views: int) -> Tensor:
        """Return the orders of so many views under the training's key."""
        return orders(self.key, views)

    def compile(self) -> None:
        """Have loss and views compiled from now on, where that pays."""
        if self.compiles:
            self.gradients.loss = Compiled(self.gradients.loss)
        if self.compiles_views:
            self.show = Compiled(shown)

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Return its one optimizer."""
        return [self.optimizer]

    def batch(self, now: Now, places: Tensor, pixels: Tensor) -> Batch:
        """Return the views of some samples, by their places and images as the feed gives them."""
        if not isinstance(self.gradients, PartGradients):
            return self._views(now, places, pixels)
        k = self.gradients.parts
        parts = zip(places.chunk(k), pixels.chunk(k), strict=True)
        return self.gradients.together([self._views(now, *part) for part in parts])

    def _views(self, now: Now, places: Tensor, pixels: Tensor) -> Batch:
        n = self.method.n_views
        state = self.states[places]
        views, *draw_parts = self.show(self.specs, self.key, pixels, state, now.view, now.orders)
        draws = [
            Draws(self.key, state, number, first, now.orders)
            for first, number in zip(*draw_parts, strict=True)
        ]
        return Batch(
            views=views[:n],
            extra=views[n:],
            drawn=self.method.drawn(draws[:n]),
            labels=None if self.labels is None else self.labels[places],
            numbers=now.own,
            settled=now.settled,
        )

    def step(self, batch: Batch, rate: float | Tensor) -> Tensor | None:
        """Make one step; returns its loss, NaN if it was not finite, None for an empty batch.

        A step that is not finite leaves everything as it was. A card, which alone knows, makes it
        and takes it back; the host is not told.
        """
        self.begin(rate)
        loss = self.gradients.backward(batch, self.progress.step)
        self.end(batch, loss)
        return loss

    def begin(self, rate: float | Tensor) -> None:
        """Make ready for a step: it has a learning rate, and may be taken back."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.ahead > 1 and self._moments != len(self.optimizer.state):
            self._moments = len(self.optimizer.state)
            self.kept = Kept(trained_by(self.method, self.optimizer))
        self.kept.keep()

    def end(self, batch: Batch, loss: Tensor | None) -> None:
        """End a step whose gradients are there: make it, or leave all as it was."""
        # What has no moments yet cannot go back to them.
        host_decides = self.ahead == 1 or any(
            p.grad is not None and p not in self.optimizer.state
            for group in self.optimizer.param_groups
            for p in group["params"]
        )
        if loss is None or not self.gradients.skips:
            self._update(batch)
        elif not host_decides:
            self._update(batch)
            self.kept.put_back(unless=torch.isfinite(loss))
        elif bool(torch.isfinite(loss)):
            self._update(batch)
        else:
            self.kept.put_back()

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

    def count(self) -> None:
        """Read and count the losses of the steps that were made; there may be none."""
        unread, self._unread = self._unread, []
        self.progress.count(unread, self.total)

    def keep_state(self, states: Path) -> None:
        """Store the training as it is; of several ranks the first does."""
        if self.ranks.rank:
            return
        about = {
            "identity": self.identity,
            "code": versions.of_stage("train"),
            "device": self.device,
            "progress": dataclasses.asdict(self.progress),
        }
        store(states, self.progress.step, tensors_of(self.method, self.optimizer), about)


def run(
    loops: Sequence[Loop],
    advance: Callable[[], Tensor | None],
    states: Sequence[Path] | None,
    *,
    snapshots: Sequence[Snapshot],
    progress: Progress = silent,
) -> list[Trained]:
    """Make every step that is left of one training, or of several that are as far.

    Args:
        loops: The trainings.
        advance: Makes a step of all; returns the loss of the one, or (K,) of all.
        states: Where the states of each are stored; None stores none.
        snapshots: Called with the epoch after which an encoder is to be kept.
        progress: Progress callback.
    """
    first, stored = loops[0], time.monotonic()
    at_hand = "a step of training, and its state is stored"
    # What stores no state loses nothing where it is cut.
    holding = signals.held(at_hand) if states else contextlib.nullcontext(signals.Held(at_hand))
    with holding as work, own_stream(first.device):
        while first.progress.step < first.total:
            started = time.monotonic()
            step_losses = advance()
            losses = (
                step_losses.unbind()
                if step_losses is not None and step_losses.ndim
                else [step_losses]
            )
            ended = [loop.took(loss) for loop, loss in zip(loops, losses, strict=True)]
            for loop in loops:
                loop.progress.spend((time.monotonic() - started) / len(loops))
            progress("train", first.progress.step, first.total)
            if ended[0]:
                for loop, snapshot in zip(loops, snapshots, strict=True):
                    loop.end_epoch(snapshot)
            # A training does not go back to a state behind a step that was not finite.
            left = first.progress.step < first.total
            due = left and time.monotonic() - stored >= first.config.save_every
            # The signal that came to one rank is obeyed by all, after the same step.
            signal, due = first.ranks.agreed(work.wanted, due)
            if states and (due or signal is not None):
                for loop in loops:
                    loop.count()
                if not any(loop.progress.in_a_row for loop in loops):
                    for loop, folder in zip(loops, states, strict=True):
                        loop.keep_state(folder)
                    stored = time.monotonic()
            if signal is not None:
                work.wanted = signal
                break
    return [loop.trained() for loop in loops]


def mean_alignment(encoder: Encoder, batch: Batch) -> Tensor:
    """Return the mean distance of two further views' representations (arXiv 2401.12233, Eq. 3)."""
    z_1, z_2 = represent(encoder, torch.cat(list(batch.extra)), "full").chunk(2)
    return distance(z_1, z_2, "l2").mean()
