"""The losses of every method's first 20 steps on digits, and the command that stores them.

``python -m tests.golden.losses`` trains and rewrites ``losses.json``.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from curate.data.canvas import Canvas
from curate.data.sample import content_uid
from curate.encoders import methods, training
from curate.encoders.ranks import ALONE, Ranks
from curate.runs import recipe

STORED = Path(__file__).with_name("losses.json")
N, BATCH, STEPS = 40, 32, 20
# One batch fits into the samples: an epoch is one step, and each has another 32 of the 40.
DIGITS = load_digits()
IMAGES = np.round(DIGITS.images[:N, None] * 255 / 16).astype(np.uint8)
LABELS = DIGITS.target[:N].astype(np.int64)
UIDS = np.array([content_uid(image.tobytes()) for image in IMAGES], dtype=object)
# At 1e-3 a rectifier, or an AdamW step whose sign hangs on the last bit, drives SimCLR's losses
# 6e-4 apart between processors within 15 steps.
LR = 1e-4

SMALL = {
    "dino": {"local_views": 2, "hidden_dim": 64, "bottleneck_dim": 32, "out_dim": 64,
             "batch_norm": True},
    "mae": {"backbone": "vit_micro", "decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 4},
    "simsiam": {"projection": 64, "bottleneck": 16},
}  # fmt: skip
"""What a method needs to be tried in a second, where its defaults do not do."""

PRIVATE = "mae-dp"
CASES = [*sorted(methods.METHODS), PRIVATE]


def trained(
    case: str, out: Path, *, ranks: Ranks = ALONE, **changes: object
) -> tuple[list[float], bytes]:
    """Train a case, with changes to its recipe, and return its losses and its encoder's file."""
    method = case.removesuffix("-dp")
    train = {"epochs": STEPS, "warmup_epochs": 2, "batch_size": BATCH, "lr": LR, "threads": 1}
    if case == PRIVATE:
        train["dp"] = {"noise": 1.0, "delta": 1e-3, "clip": 0.5}
    content = {
        "name": "golden",
        "data": {"source": "digits", "size": 8, "channels": 1},
        "plan": {"kind": "halves"},
        "encoder": {"backbone": "convnet", "method": method} | SMALL.get(method, {}),
        "train": train,
        "views": {"train": "digits"},
    }
    training.train_encoder(
        Canvas(IMAGES, UIDS.astype(np.bytes_)), UIDS,
        recipe.build(content, changes, where="test").training_spec(),
        seed=0, out=out, device="cpu", labels=LABELS, ranks=ranks,
    )  # fmt: skip
    if ranks.rank:
        return [], b""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    return [line["loss"] for line in lines], (out / "weights.safetensors").read_bytes()


def store() -> None:
    """Train every case and write ``losses.json``."""
    with tempfile.TemporaryDirectory() as folder:
        found = {case: trained(case, Path(folder) / case)[0] for case in CASES}
    rows = (f'  "{case}": [{", ".join(f"{x:.8g}" for x in found[case])}]' for case in CASES)
    STORED.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    store()
