"""Learned: do the encoders of a run tell its classes apart better than random weights do?"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from curate.encoders.backbone import Encoder, load_encoder
from curate.errors import DataError
from curate.evaluation.probing import measure_probes
from curate.runs import units
from curate.runs.run import Run
from curate.runtime import randomness, versions
from curate.runtime.files import write_json
from curate.runtime.intervals import normal_quantile
from curate.runtime.results import Result
from curate.scores.plan import Plan
from curate.stages import train
from curate.stages.context import Context
from curate.stages.dense import Shown
from curate.stages.probe import probe_data

ENCODERS = 4
"""Encoders of the plan that are probed, and networks of random weights beside them."""
FILE = "learned.json"


@dataclass(frozen=True)
class Learned(Result):
    """k-NN probes of encoders beside the same network with random weights.

    Attributes:
        trained: Mean accuracy of the encoders, in [0, 1].
        random: The same of random weights.
        encoders: How many of each were probed.
        n_test: Test images.
        low: Where the 95 % interval of the difference begins. It counts encoders and test images
            as independent, and so is too wide where both networks err on the same images.
        high: Where that ends.
        verdict: ``better``, ``worse`` or ``open`` where the interval holds 0.
    """

    trained: float
    random: float
    encoders: int
    n_test: int
    low: float
    high: float
    verdict: str


def learned_run(run: Run, context: Context, plan: Plan) -> Learned | None:
    """Probe some encoders of a run on its own labels; None where it has none to probe on."""
    names = _spread(plan)
    parts = {
        "encoders": [[name, units.train(run, name).key] for name in names],
        "shards": units.shard(run).key,
        "code": versions.of_stage("learned"),
    }
    unit, path = units.Unit(run, "learned", parts), run.path / FILE
    if unit.intact() is not None:
        return Learned.load(path)
    try:
        labelled = probe_data(run, "self", context, Shown.of(run))
    except DataError:
        # No labels, or too few: nothing can be said, and the report says nothing.
        return None
    device = context.resolved_device()
    accuracy: dict[bool, list[float]] = {True: [], False: []}
    with unit.making("learned"):
        for number, name in enumerate(names):
            folder = train.encoder_folder(run, context, name)
            for trained in (True, False):
                network = load_encoder(folder, device=device) if trained else _random(run, number)
                ((result, _),) = measure_probes(network.to(device), labelled, ("knn",))
                accuracy[trained].append(result.accuracy)
            context.progress("probe against random weights", number + 1, len(names))
        verdict = judged(accuracy[True], accuracy[False], len(labelled.test))
        write_json(path, verdict.to_json())
        unit.complete([path])
    return verdict


def judged(trained: list[float], random: list[float], n_test: int) -> Learned:
    """Return what accuracies of encoders and of random weights say.

    Args:
        trained: Accuracy of each encoder, in [0, 1].
        random: The same of as many networks with random weights.
        n_test: Test images that both were tested on.
    """
    sides = [np.array(trained), np.array(random)]
    a, b = (float(side.mean()) for side in sides)
    spread = sum(side.var(ddof=1) / len(side) for side in sides if len(side) > 1)
    images = (a * (1 - a) + b * (1 - b)) / n_test
    reach = normal_quantile() * float(np.sqrt(spread + images))
    low, high = a - b - reach, a - b + reach
    verdict = "better" if low > 0 else "worse" if high < 0 else "open"
    return Learned(a, b, len(trained), n_test, low, high, verdict)


def _spread(plan: Plan) -> list[str]:
    """Return some encoders of a plan, evenly chosen."""
    names = list(plan.encoders)
    steps = np.linspace(0, len(names), min(ENCODERS, len(names)) + 1).astype(int)
    return [names[start] for start, _ in pairwise(steps)]


def _random(run: Run, number: int) -> Encoder:
    """Return the run's network with random weights, others for each number."""
    config = run.recipe
    seed = randomness.seed_for(config.train.seed, "random weights", number)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Encoder(
            config.encoder.backbone,
            size=config.data.size,
            channels=config.data.channels,
            patch=config.encoder.patch,
        )
    return network.eval().requires_grad_(False)
