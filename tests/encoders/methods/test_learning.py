"""Every method's first 20 steps on digits, held against losses that were stored."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from curate.data.canvas import Canvas
from curate.data.sample import content_uid
from curate.encoders import methods, training
from curate.runs import recipe

N, BATCH, STEPS = 40, 32, 20
# One batch fits into the samples: an epoch is one step, and each has another 32 of the 40.
DIGITS = load_digits()
IMAGES = np.round(DIGITS.images[:N, None] * 255 / 16).astype(np.uint8)
LABELS = DIGITS.target[:N].astype(np.int64)
UIDS = np.array([content_uid(image.tobytes()) for image in IMAGES], dtype=object)

SMALL = {
    "dino": {"local_views": 2, "hidden_dim": 64, "bottleneck_dim": 32, "out_dim": 64,
             "batch_norm": True},
    "mae": {"backbone": "vit_micro", "decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 4},
    "simsiam": {"projection": 64, "bottleneck": 16},
}  # fmt: skip
"""What a method needs to be tried in a second, where its defaults do not do."""

# Losses of every step as they were when the method was last changed on purpose.
#
# On one machine they come out bit for bit, which the first test asserts of two trainings. Across
# machines they cannot: which instructions a processor has decides in which order PyTorch, oneDNN
# and MKL add up, and so the last bit. Measured with those three held to SSE and to AVX2, these
# trainings stay within 1e-6 of each other (of 1, where a loss is near 0) for all 20 steps. That
# takes the low learning rate: at 1e-3, a rectifier or an AdamW step whose sign hangs on the last
# bit drives SimCLR's losses 6e-4 apart within 15 steps. So 1e-4 has room for any processor, and
# still shows a change of a loss, a view, a draw, an order, an optimizer or a schedule.
TOLERANCE = {"rel": 1e-4, "abs": 1e-5}
LR = 1e-4

GOLDEN = {
    "barlow-twins": """
        196.15932 185.92558 236.37277 202.54912 235.26262 220.09314 204.56161 237.82365
        226.95732 227.51549 180.13379 196.72958 183.48828 206.50638 183.69263 202.52757
        180.48911 238.38162 203.79991 191.93843
    """,
    "dino": """
        4.8600974 4.9343567 4.9626021 4.8807931 5.0390058 4.9975076 5.2502036 5.0979004 5.069488
        4.951817 5.2397838 5.205492 5.1188073 5.262629 5.2278466 5.2299914 5.1896424 5.0143051
        5.0431409 5.1707067
    """,
    "mae": """
        1.4997374 1.3470116 1.2307559 1.197818 1.1246227 1.0258342 1.0210301 0.9384349
        0.94297487 0.9160853 0.85491973 0.86599201 0.86455542 0.89576215 0.83219904 0.82568663
        0.8623051 0.86960125 0.84322315 0.8196106
    """,
    "simclr": """
        3.9083133 3.8800559 4.0884776 3.8774757 3.9336793 3.93696 3.8911994 4.0036039 4.0338874
        3.9205215 3.832763 3.7584686 3.8310657 3.9554322 3.9063382 3.7841024 3.8265035 4.0349069
        3.8854759 3.821857
    """,
    "simsiam": """
        -0.0048716506 -0.0010164615 -0.0076877293 -0.00060748216 -0.00018879562 0.016892627
        -0.011005887 0.011875887 0.0054435609 0.0087413825 -0.01730082 -0.010558021 -0.013063636
        -0.021474298 -0.005707697 -0.0095500443 -0.0022763314 0.0066153118 0.0031376788
        -0.00076256227
    """,
    "supervised": """
        2.3324564 2.2979941 2.4045973 2.363724 2.3966229 2.3871562 2.3758717 2.3532717 2.3348112
        2.3101482 2.2561905 2.2606168 2.3464119 2.3068357 2.3850148 2.297441 2.2499001 2.3259361
        2.3510046 2.3276553
    """,
    "vicreg": """
        21.616596 21.52717 22.260212 21.743486 22.134449 21.905355 21.70075 22.064005 21.9783
        21.954161 21.337444 21.62969 21.460775 21.742817 21.440762 21.618814 21.346292 22.04423
        21.620621 21.547964
    """,
}

FIRST_WEIGHTS = {"dino": "2.14"}
"""The oldest torch known to draw the first weights that the losses were stored with.

2.10 draws others from the same truncated normal distribution.
"""


def losses(method, out):
    """Train and return the loss of every step, and the weights of the encoder that is kept."""
    content = {
        "name": "golden",
        "data": {"source": "digits", "size": 8, "channels": 1},
        "plan": {"kind": "halves"},
        "encoder": {"backbone": "convnet", "method": method} | SMALL.get(method, {}),
        "train": {"epochs": STEPS, "warmup_epochs": 2, "batch_size": BATCH, "lr": LR, "threads": 1},
        "views": {"train": "digits"},
    }
    training.train_encoder(
        Canvas(IMAGES, UIDS.astype(np.bytes_)),
        UIDS,
        recipe.build(content, {}, where="test").training_spec(),
        seed=0,
        out=out,
        device="cpu",
        labels=LABELS,
    )
    lines = [json.loads(line) for line in Path(out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    return [line["loss"] for line in lines], (out / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_losses_are_the_stored_ones_and_bit_for_bit_their_own(method, tmp_path):
    found, weights = losses(method, tmp_path / "a")
    assert losses(method, tmp_path / "b") == (found, weights)
    shown = " ".join(f"{loss:.8g}" for loss in found)
    assert method in GOLDEN, f"store the losses of {method!r} in GOLDEN:\n{shown}"
    if torch.__version__ < FIRST_WEIGHTS.get(method, "0"):
        pytest.skip(f"torch {torch.__version__} starts {method} otherwise than the stored losses")
    stored = [float(loss) for loss in GOLDEN[method].split()]
    assert found == pytest.approx(stored, **TOLERANCE), (
        f"{method} trains differently; if that is wanted, store\n{shown}"
    )


def test_only_methods_that_exist_have_stored_losses():
    assert set(GOLDEN) | set(SMALL) <= set(methods.METHODS)
