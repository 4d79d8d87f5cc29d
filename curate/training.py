"""Training: one loop for every method and plan."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from curate import keyed, methods, views
from curate.atomic import replacing, write_json, write_text
from curate.backbone import Encoder
from curate.errors import DataError, DivergedError
from curate.images import Canvas
from curate.methods.base import Method
from curate.progress import Report, silent
from curate.recipe import Recipe, Train
from curate.views.apply import augment
from curate.views.draws import Draws

log = logging.getLogger("curate")

PATIENCE = 10
"""Steps in a row whose loss may be not finite before a training is given up."""


def train_encoder(
    canvas: Canvas,
    uids: np.ndarray,
    recipe: Recipe,
    *,
    seed: int,
    out: Path,
    device: str,
    report: Report = silent,
    steps: int | None = None,
) -> dict[str, Any]:
    """Train an encoder on some samples and write it.

    The order of samples is a pure function of (seed, epoch) and the views of a sample one of (seed,
    uid, epoch): trainings with one seed show a sample they share the same views.

    Args:
        canvas: Decoded images.
        uids: (n,) uids to train on; their order does not matter.
        recipe: Gives encoder, method, views and schedule.
        seed: Seed of initialisation, order and views.
        out: Folder for ``weights.safetensors``, ``config.json`` and ``log.jsonl``.
        device: ``cpu`` or ``cuda``.
        report: Gets (``train``, steps done, steps in all).
        steps: Train for so many steps instead of the recipe's epochs.

    Returns:
        Final loss (mean of the last epoch), steps, epochs, skipped steps, seconds.

    Raises:
        DataError: If there are too few samples to train on.
        DivergedError: If the loss stays not finite.
    """
    started = time.monotonic()
    if device == "cpu":
        torch.set_num_threads(recipe.train.threads)
    torch.manual_seed(seed)
    config = recipe.encoder
    encoder = Encoder(
        config.backbone, size=recipe.data.size, channels=recipe.data.channels, patch=config.patch
    )
    method = methods.build(config.method, encoder, recipe.method_config).to(device).train()
    uids = np.array(sorted(uids), dtype=object)
    if len(uids) < 2:
        raise DataError(f"{out.name}: training needs at least 2 samples; here is {len(uids)}.")
    loop = _Loop(method, canvas, uids, recipe, seed, device, steps)
    facts = loop.run(report)
    weights = {name: t.detach().cpu().contiguous() for name, t in encoder.state_dict().items()}
    with replacing(out / "weights.safetensors") as temporary:
        save_file(weights, temporary)
    write_text(out / "log.jsonl", "".join(json.dumps(line) + "\n" for line in loop.log))
    write_json(
        out / "config.json",
        {
            "encoder": {
                "backbone": config.backbone,
                "patch": config.patch,
                "size": recipe.data.size,
                "channels": recipe.data.channels,
                "representation": config.representation,
            },
            "method": {"name": config.method, **recipe.method_config.model_dump(mode="json")},
            "recipe_fingerprint": recipe.fingerprint(),
            "seed": seed,
            "samples": len(uids),
        },
    )
    return {**facts, "seconds": round(time.monotonic() - started, 3)}


class _Loop:
    """The steps of one training."""

    def __init__(
        self,
        method: Method,
        canvas: Canvas,
        uids: np.ndarray,
        recipe: Recipe,
        seed: int,
        device: str,
        steps: int | None,
    ) -> None:
        self.method, self.config, self.device = method, recipe.train, device
        self.images = canvas.array
        self.rows = canvas.rows(uids)
        self.words = keyed.uid_words(uids)
        self.order_words = keyed.uid_words(uids, repeats=True)
        self.seed, self.key = seed, keyed.stream(seed, "views")
        self.spec = views.spec(recipe.views.train, recipe.views.settings)
        self.batch = min(self.config.batch_size, len(uids))
        self.per_epoch = len(uids) // self.batch
        self.total = steps or self.config.epochs * self.per_epoch
        self.warmup = min(self.total, self.config.warmup_epochs * self.per_epoch)
        self.optimizer = optimizer(method, self.config)
        self.autocast = self.config.precision == "bfloat16" or (
            self.config.precision == "auto" and device == "cuda"
        )
        self.log: list[dict[str, Any]] = []

    def run(self, report: Report) -> dict[str, Any]:
        """Make every step; returns what the completion record says."""
        skipped = in_a_row = 0
        loss_sum, counted, epoch_started = 0.0, 0, time.monotonic()
        for step, (epoch, batch) in enumerate(self._batches(), 1):
            rate = learning_rate(step - 1, self.total, self.warmup, self.config.lr)
            loss = self._step(epoch, batch, rate)
            if math.isfinite(loss):
                in_a_row = 0
                loss_sum, counted = loss_sum + loss, counted + 1
            else:
                skipped, in_a_row = skipped + 1, in_a_row + 1
                if in_a_row >= PATIENCE:
                    raise DivergedError(
                        f"training diverged: the loss was not finite for {PATIENCE} steps in a row "
                        f"(step {step} of {self.total}); lower train.lr or set train.clip_norm."
                    )
            report("train", step, self.total)
            if step % self.per_epoch == 0 or step == self.total:
                spent = time.monotonic() - epoch_started
                images = self.batch * ((step - 1) % self.per_epoch + 1)
                mean = loss_sum / counted if counted else None
                self.log.append(
                    {
                        "epoch": epoch + 1,
                        "step": step,
                        "loss": mean,
                        "lr": rate,
                        "images_per_second": round(images / spent, 1) if spent > 0 else None,
                        "seconds": round(spent, 4),
                    }
                )
                loss_sum, counted, epoch_started = 0.0, 0, time.monotonic()
        if skipped:
            log.warning("%d steps with a loss that was not finite were skipped.", skipped)
        last = self.log[-1]
        return {
            "loss": last["loss"],
            "steps": self.total,
            "epochs": last["epoch"],
            "skipped": skipped,
        }

    def _batches(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield epoch and positions of each step; what does not fill a batch waits for its turn."""
        for step in range(self.total):
            epoch, k = divmod(step, self.per_epoch)
            if k == 0:
                key = keyed.stream(self.seed, "order", epoch)
                order = np.argsort(keyed.hash64(key, self.order_words), kind="stable")
            yield epoch, order[k * self.batch : (k + 1) * self.batch]

    def _step(self, epoch: int, batch: np.ndarray, rate: float) -> float:
        """Make one step; returns its loss. One that is not finite leaves the weights alone."""
        pixels = torch.from_numpy(self.images[self.rows[batch]]).to(self.device)
        words = torch.from_numpy(self.words[batch].view(np.int64)).to(self.device)
        n = self.method.n_views
        shown = [
            augment(pixels, self.spec, key=self.key, words=words, view=epoch * n + v)
            for v in range(n)
        ]
        draws = [Draws.of(self.key, words, epoch * n + v) for v in range(n)]
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.autocast):
            loss: Tensor = self.method(shown, draws)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        limit = self.config.clip_norm if self.config.clip_norm is not None else float("inf")
        norm = nn.utils.clip_grad_norm_(self.method.parameters(), limit)
        if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
            return float("nan")
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        return float(loss.detach())


def learning_rate(step: int, total: int, warmup: int, peak: float) -> float:
    """Return the learning rate of step 0 to total - 1: linear warm-up, then half a cosine to 0."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def optimizer(method: nn.Module, config: Train) -> torch.optim.Optimizer:
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
