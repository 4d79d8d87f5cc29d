"""Benchmark: how fast each stage of a recipe is on this machine, and how near to its ceiling."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from curate.data import shards, sources
from curate.data.canvas import Canvas, build_canvas, open_canvas
from curate.encoders.backbone import Encoder
from curate.encoders.stepping import ALIKE
from curate.encoders.training import train_encoder
from curate.encoders.views import spec
from curate.encoders.views.apply import augment
from curate.errors import DataError
from curate.runs.opening import recipe_of
from curate.runs.recipe import Recipe
from curate.runtime import randomness
from curate.runtime.progress import Progress, silent
from curate.runtime.results import Result
from curate.runtime.threads import cores, torch_threads
from curate.scores.alignment import align_images
from curate.stages.context import Context
from curate.stages.train import device_name

ROUNDS = 5
"""Timed rounds of a stage, behind one that warms it up; an odd number has a middle one."""
IMAGES = 1000
"""So many of the source's images are measured with, or a batch of the recipe where that is more."""
SMALL = 8
"""Images of the try that tells how many fit into a round."""
SECONDS = 1.0
"""About how long a round takes at most."""
CLASSES = 10
"""Labels that supervised methods are given."""


@dataclass(frozen=True)
class Rate(Result):
    """How fast a stage is.

    Attributes:
        stage: Its name.
        per: What is counted: ``images``, or ``views``.
        images: Images of one round.
        rate: Median of ``per`` a second over the rounds.
        low: Of the slowest round.
        high: Of the fastest round.
        threads: CPU threads of the numerical library; decoding has as many as there are cores.
        work: What one of ``per`` takes at the least: floating-point operations where ``ceiling`` is
            ``matmul``, bytes read and written where it is ``copy``; None where it is neither.
        ceiling: What of the machine bounds the stage.
        share: Share of that ceiling that the median reaches, in [0, 1] but for noise.
    """

    stage: str
    per: str
    images: int
    rate: float
    low: float
    high: float
    threads: int
    work: float | None = None
    ceiling: str | None = None
    share: float | None = None


@dataclass(frozen=True)
class Ceiling(Result):
    """What a machine does at best.

    Attributes:
        matmul: Floating-point operations a second of a plain matrix product.
        copy: Bytes read and written a second of a plain copy.
        dtype: Of the numbers of the product.
        threads: CPU threads of the product.
    """

    matmul: float
    copy: float
    dtype: str
    threads: int


@dataclass(frozen=True)
class Benchmark(Result):
    """How fast the stages of a recipe are on a machine.

    Attributes:
        recipe: Its name.
        device: ``cpu``, or CUDA with the card's name.
        cores: CPU cores.
        rounds: Timed rounds of each stage.
        ceiling: What the machine does at best.
        stages: ``shard``, ``decode``, ``views``, ``train``, ``score``, and ``one at a time``: the
            same scores, one image and one encoder at a time.
        times_one_at_a_time: How many times as fast the scoring is, the median of rounds in turn.
    """

    recipe: str
    device: str
    cores: int
    rounds: int
    ceiling: Ceiling
    stages: tuple[Rate, ...]
    times_one_at_a_time: float


class _Bench:
    """The measurements of one recipe."""

    def __init__(self, recipe: Recipe, context: Context, folder: Path, threads: int) -> None:
        self.recipe, self.context, self.folder, self.threads = recipe, context, folder, threads
        self.device, self.progress = context.resolved_device(), context.progress

    def measured(self) -> Benchmark:
        """Measure every stage."""
        stored = [self.shard(), self.decode()]
        index = shards.Reader(self.folder / "shards").index(["uid"])
        canvas = open_canvas(self.folder / "canvas.npy", index)
        if len(canvas.uids) < 2:
            raise DataError(f"{self.recipe.data.source} has too few images to measure with.")
        shown = self.views(canvas)
        trained = self.train(canvas)
        scored, single, times = self.score(canvas)
        ceiling = _ceiling(self.device, self.threads)
        # A training has threads of its own, and is held against what so many can do.
        own = trained.threads
        of_training = ceiling if own == self.threads else _ceiling(self.device, own)
        rates = [*stored, _with_share(shown, ceiling), _with_share(trained, of_training)]
        rates += [_with_share(scored, ceiling), _with_share(single, ceiling)]
        return Benchmark(
            recipe=self.recipe.name,
            device=device_name(self.device),
            cores=cores(),
            rounds=ROUNDS,
            ceiling=ceiling,
            stages=tuple(rates),
            times_one_at_a_time=times,
        )

    def shard(self) -> Rate:
        """Measure the writing of shards."""
        data = self.recipe.data
        source = sources.open_data(data, data=self.context.data)
        images = max(IMAGES, self.recipe.train.batch_size)
        limit = min(images, data.limit or images)
        count = 0

        def write(turn: int) -> None:
            nonlocal count
            out = self.folder / ("shards" if turn == 0 else f"shards-{turn}")
            written = shards.write([(source, "train")], out, limit=limit, max_bad=data.max_bad)
            count = int(written["written"])

        seconds = _rounds("shard", write, self.progress)
        return self._rate("shard", count, seconds)

    def decode(self) -> Rate:
        """Measure the decoding of shards to the canvas."""
        data = self.recipe.data

        def decode(turn: int) -> None:
            build_canvas(
                self.folder / "shards",
                self.folder / "canvas.npy",
                size=data.size,
                channels=data.channels,
                fit=data.fit,
            )

        seconds = _rounds("decode", decode, self.progress)
        return self._rate("decode", len(shards.Reader(self.folder / "shards")), seconds)

    def views(self, canvas: Canvas) -> Rate:
        """Measure the making of training views on the device."""
        view_spec = spec(self.recipe.views.train, self.recipe.views.settings)
        batch = min(self.recipe.train.batch_size, len(canvas.uids))
        pixels = torch.from_numpy(np.array(canvas.array[:batch])).to(self.device)
        words = torch.from_numpy(randomness.uid_keys(canvas.uids[:batch]).view(np.int64))
        words, key = words.to(self.device), randomness.stream(0, "views")
        shape = augment(pixels[:1], view_spec, key=key, keys=words[:1], view=0).shape

        def show(turns: int) -> None:
            with torch.inference_mode():
                for view in range(turns):
                    augment(pixels, view_spec, key=key, keys=words, view=view)

        turns = as_many(lambda n: self._synchronised(show, n), most=200)
        seconds = _rounds("views", lambda _: self._synchronised(show, turns), self.progress)
        # Bytes read and numbers of four bytes written, each once.
        least = pixels[0].numel() + 4 * shape[1:].numel()
        return self._rate("views", batch, seconds, times=turns, per="views", work=least,
                          ceiling="copy")  # fmt: skip

    def train(self, canvas: Canvas) -> Rate:
        """Measure whole training steps."""
        config = self.recipe.train
        full = config.batch_of(len(canvas.uids))
        small = config.batch_of(min(SMALL, full)) or full
        batch, step = full, self._train(canvas, small, 1, 1)[-1]
        if self.device == "cpu":
            # A GPU takes hardly longer for many images than for few.
            batch = config.batch_of(int(np.clip(small * SECONDS / step, small, full)))
            step *= batch / small
        # The block that is not counted has the steps that a card makes before it repeats one.
        least = 1 if self.device == "cpu" else ALIKE + 2
        block = int(np.clip(SECONDS / step, least, 20))
        seconds = self._train(canvas, batch, block, ROUNDS)
        with FlopCounterMode(display=False) as counter:
            self._train(canvas, small, 1, 0, device="cpu")
        work = counter.get_total_flops() / small
        return self._rate("train", batch, seconds, times=block, work=work, ceiling="matmul",
                          threads=config.threads)  # fmt: skip

    def _train(
        self, canvas: Canvas, batch: int, block: int, rounds: int, *, device: str | None = None
    ) -> list[float]:
        """Train for a block of steps that is not counted, and more; returns the seconds of each."""
        device = device or self.device
        times: list[float] = []

        def report(what: str, done: int, total: int) -> None:
            if done % block == 0:
                _synchronise(device)
                times.append(time.perf_counter())
                self.progress("bench train", len(times), rounds + 1)

        # As many samples as a batch where that is smaller than the recipe's.
        whole = batch == self.recipe.train.batch_size
        train_encoder(
            canvas,
            np.array([uid.decode() for uid in canvas.uids[: None if whole else batch]], object),
            self.recipe.training_spec(),
            seed=0,
            out=self.folder / "encoder",
            device=device,
            labels=np.arange(len(canvas.uids)) % CLASSES,
            progress=report,
            steps=block * (1 + rounds),
        )
        return np.diff(times).tolist()

    def score(self, canvas: Canvas) -> tuple[Rate, Rate, float]:
        """Measure the scoring of images on f and g, all together and one at a time, in turn."""
        data, config, score = self.recipe.data, self.recipe.encoder, self.recipe.score
        torch.manual_seed(0)
        encoders = {
            name: Encoder(
                config.backbone, size=data.size, channels=data.channels, patch=config.patch
            ).eval()
            for name in ("f", "g")
        }
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            encoders["f"].forward_float(torch.zeros(1, data.channels, data.size, data.size))
        shown = score.views + (score.pairing == "anchored")
        work = counter.get_total_flops() * shown * len(encoders)
        encoders = {name: encoder.to(self.device) for name, encoder in encoders.items()}
        images, words = np.array(canvas.array), randomness.uid_keys(canvas.uids)

        def measure(names: Sequence[str], start: int, n: int) -> None:
            align_images(
                {name: encoders[name] for name in names},
                images[start : start + n],
                words[start : start + n],
                self.recipe.measuring_views(),
                score,
                representation=config.representation,
                device=self.device,
            )

        def together(n: int) -> None:
            measure(list(encoders), 0, n)

        def one_at_a_time(n: int) -> None:
            for i in range(n):
                for name in encoders:
                    measure([name], i, 1)

        counts, seconds = [], []
        for work_on in (together, one_at_a_time):
            counts.append(as_many(work_on, most=len(images)))
            seconds.append([0.0] * (ROUNDS + 1))
        for turn in range(ROUNDS + 1):
            for which, work_on in enumerate((together, one_at_a_time)):
                started = time.perf_counter()
                work_on(counts[which])
                _synchronise(self.device)
                seconds[which][turn] = time.perf_counter() - started
            self.progress("bench score", turn + 1, ROUNDS + 1)
        rates = [
            self._rate(name, n, spent[1:], work=work, ceiling="matmul")
            for name, n, spent in zip(("score", "one at a time"), counts, seconds, strict=True)
        ]
        times = [
            (counts[0] / fast) / (counts[1] / slow)
            for fast, slow in zip(seconds[0][1:], seconds[1][1:], strict=True)
        ]
        return rates[0], rates[1], statistics.median(times)

    def _synchronised(self, work: Callable[[int], None], n: int) -> None:
        work(n)
        _synchronise(self.device)

    def _rate(
        self,
        stage: str,
        images: int,
        seconds: Sequence[float],
        *,
        times: int = 1,
        per: str = "images",
        work: float | None = None,
        ceiling: str | None = None,
        threads: int | None = None,
    ) -> Rate:
        """Return the rate of rounds that took so long, each of ``images`` so many times."""
        rates = [images * times / spent for spent in seconds]
        return Rate(
            stage,
            per,
            images * (times if per == "images" else 1),
            statistics.median(rates),
            min(rates),
            max(rates),
            threads or self.threads,
            work,
            ceiling,
        )


def _with_share(rate: Rate, ceiling: Ceiling) -> Rate:
    assert rate.work is not None and rate.ceiling is not None
    return replace(rate, share=rate.rate * rate.work / getattr(ceiling, rate.ceiling))


def _rounds(stage: str, work: Callable[[int], None], progress: Progress) -> list[float]:
    """Return the seconds of ``ROUNDS`` rounds behind one that is not counted."""
    seconds = []
    for turn in range(ROUNDS + 1):
        started = time.perf_counter()
        work(turn)
        seconds.append(time.perf_counter() - started)
        progress(f"bench {stage}", turn + 1, ROUNDS + 1)
    return seconds[1:]


def as_many(work: Callable[[int], None], most: int) -> int:
    """Return how many fit into a round, by how long a few take the second time; at least one."""
    few = min(SMALL, most)
    for _ in range(2):
        started = time.perf_counter()
        work(few)
        spent = time.perf_counter() - started
    return int(np.clip(few * SECONDS / max(spent, 1e-9), 1, most))


def _synchronise(device: str) -> None:
    """Wait until a device has done what it was given."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def _ceiling(device: str, threads: int) -> Ceiling:
    """Return what the machine does at best on a plain matrix product and a plain copy."""
    gpu = device != "cpu"
    side, size, turns = (8192, 2**30, 20) if gpu else (1024, 2**27, 8)
    # The fastest numbers that encoders are computed with there.
    dtype = torch.bfloat16 if gpu else torch.float32
    a, b = torch.ones(2, side, side, dtype=dtype, device=device).unbind()
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = {"matmul": float("inf"), "copy": float("inf")}
    with torch_threads(threads, device):
        for _ in range(ROUNDS + 1):
            for name in best:
                started = time.perf_counter()
                for _ in range(turns):
                    if name == "matmul":
                        torch.matmul(a, b)
                    else:
                        target.copy_(source)
                _synchronise(device)
                best[name] = min(best[name], (time.perf_counter() - started) / turns)
    return Ceiling(
        matmul=2 * side**3 / best["matmul"],
        copy=2 * size / best["copy"],
        dtype=str(dtype).removeprefix("torch."),
        threads=threads,
    )


def bench(
    name: str | Recipe = "digits",
    *,
    runs: str | Path = "runs",
    overrides: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Benchmark:
    """Measure how fast each stage of a recipe is on some of its images; nothing is left behind.

    Args:
        name: A recipe or its name, or a run.
        runs: Folder that holds the runs.
        overrides: ``{"section.key": value}`` that replaces values of the recipe.
        data: Where the recipe's source lies on this machine.
        device: ``auto``, ``cpu``, ``cuda``, or cards: ``cuda:0-7``.
        progress: Progress callback.

    Raises:
        DataError: If the source has fewer than two images.
    """
    recipe, run = recipe_of(name, runs=runs, overrides=overrides, data=data)
    context = Context.of(run, data, device, 1, progress)
    with tempfile.TemporaryDirectory(prefix="curate-") as folder:
        return _Bench(recipe, context, Path(folder), torch.get_num_threads()).measured()
