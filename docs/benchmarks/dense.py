"""Does an encoder help to segment? CamVid's street scenes, a trained encoder against a random one.

    python docs/benchmarks/dense.py CAMVID [--seeds 5] [--epochs 100] [--frozen true false]

For each seed it trains an encoder on CamVid's 367 training images (recipe ``cifar10-cpu`` at 32x32
pixels: SimCLR on a small convolutional network), without their masks, and holds it against the
weights that this training began with: a UNet of 32 channels is trained upon both from the masks of
the same images, with the same decoder and order for a seed, and tested once on the 233 test images.
It prints mean IoU in % over 11 classes, void left out, with its standard deviation over seeds, and
the difference with its 95 % interval over seeds and test images (``evaluation/crossed.py``); what
each seed gave goes to stderr.
Hardware: 2 CPU cores. Needs ``pip install 'curate[seg]'``.
"""

# ruff: noqa: T201 (a script talks on stdout)
from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from curate.data.canvas import Canvas
from curate.encoders.backbone import Encoder, load_encoder
from curate.encoders.training import train_encoder
from curate.evaluation.config import ProbeConfig
from curate.evaluation.crossed import Gaps
from curate.evaluation.dense import measure_dense, measured
from curate.evaluation.dense.base import DenseSet
from curate.runs.recipe import Recipe, load_recipe
from curate.stages.context import Context
from curate.stages.dense import Shown
from curate.stages.probe import dense_data

SIZE = 32
VOID = 11
DECODER = {"decoder": "unet", "width": 32, "epochs": 20, "lr": 0.05, "threads": 1}
"""A schedule for minutes of a CPU, not the paper's."""


def both(data: DenseSet, recipe: Recipe, seed: int, home: Path) -> dict[str, Encoder]:
    """Return an encoder trained on a set's images, and the one that its training began with."""
    names = np.array([f"{row:032x}" for row in range(len(data.images))], dtype=np.bytes_)
    out = home / str(seed)
    train_encoder(
        Canvas(data.images, names),
        names.astype(str),
        recipe.training_spec(),
        seed=seed,
        out=out,
        device="cpu",
    )
    torch.manual_seed(seed)
    begun = Encoder(recipe.encoder.backbone, size=SIZE, channels=3)
    return {"trained": load_encoder(out), "random": begun.eval().requires_grad_(False)}


def main() -> None:
    """Train, probe, and print a row for each way to probe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--frozen", nargs="+", choices=["true", "false"], default=["true", "false"])
    asked = parser.parse_args()
    recipe = load_recipe(
        "cifar10-cpu",
        {
            "data.size": SIZE,
            "train.epochs": asked.epochs,
            "train.batch_size": 64,
            "train.threads": 1,
        },
    )
    config = ProbeConfig.model_validate({"seg": {"void": (VOID,), **DECODER}})
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        name, home = f"seg:{asked.camvid}", Path(folder)
        data = dense_data(name, config, Context("cpu"), Shown(home, SIZE, 3))
        pairs = [both(data, recipe, seed, home) for seed in range(asked.seeds)]
        print(f"trained after {time.monotonic() - started:.0f} s", file=sys.stderr)
        print("| encoder | trained | random | difference | p |\n|---|---|---|---|---|")
        for frozen in asked.frozen:
            settings = config.seg.model_copy(update={"frozen": frozen == "true"})
            gaps, reached = Gaps(), []
            for seed, encoders in enumerate(pairs):
                values = {}
                for which, encoder in encoders.items():
                    sums = measure_dense(encoder, data, settings, seed=seed)
                    ((_, values[which]),) = measured(data, settings, sums)
                gaps.add(values["trained"], values["random"])
                reached.append([100 * float(values[w].mean()) for w in ("trained", "random")])
                mine, other = reached[-1]
                print(f"frozen {frozen}, seed {seed}: {mine:.1f}, {other:.1f}", file=sys.stderr)
            (a, b), (a_sd, b_sd) = np.mean(reached, axis=0), np.std(reached, axis=0, ddof=1)
            gap = gaps.paired()
            assert gap.low is not None and gap.high is not None
            print(
                f"| {'frozen' if frozen == 'true' else 'fine-tuned'} | {a:.1f} ± {a_sd:.1f} | "
                f"{b:.1f} ± {b_sd:.1f} | {100 * gap.mean:+.1f} [{100 * gap.low:+.1f}, "
                f"{100 * gap.high:+.1f}] | {gap.p:.2g} |"
            )
    print(f"done after {time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
