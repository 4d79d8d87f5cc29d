"""A run directory made from scikit-learn's digits: everything that training would leave, in 1 s."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from sklearn.datasets import load_digits

from curate.data import canvas as images
from curate.data import shards
from curate.data.sample import Entry
from curate.data.sources.base import Whole
from curate.evaluation import comparison
from curate.inspection.neighbours import INSPECT_SCHEMA
from curate.runtime.files import read_json, write_json, write_table
from curate.scores import estimator, separation
from curate.scores.alignment import Alignment
from curate.scores.config import FoldsPlan, HalvesPlan, PairPlan, SubsetsPlan
from curate.scores.plan import build_plan
from curate.scores.table import ScoreTable
from curate.selection import strategies
from curate.selection.manifest import Manifest
from tests.answered import answered

PLANS = {
    "pair": PairPlan(kind="pair", shared=0.4, candidates=0.2, independent=0.2, extra=0.1),
    "halves": HalvesPlan(kind="halves"),
    "folds": FoldsPlan(kind="folds", folds=4, repeats=3),
    "subsets": SubsetsPlan(kind="subsets", subsets=6),
}
VIEWS = 10


@dataclass
class Digits(Whole):
    """A source of digits, in grey or in colour, whose names are as given."""

    n: int
    classes: tuple[str, ...]
    hostile: str = ""
    scale: int = 1
    colour: bool = False
    name: str = "digits"
    split: str = "all"
    splits: tuple[str, ...] = ("all",)
    rejected: list = field(default_factory=list)

    def paths(self):
        return (entry.path for entry in self.entries())

    def entries(self, select=None):
        found = load_digits()
        for i, image in enumerate(found.images[: self.n]):
            grey = np.kron(np.round(image * 255 / 16), np.ones((self.scale, self.scale)))
            pixels = np.stack([grey, 255 - grey, grey * 0], axis=2) if self.colour else grey
            stream = io.BytesIO()
            Image.fromarray(pixels.astype(np.uint8)).save(stream, format="PNG")
            path = f"digits/{i:05d}{self.hostile}.png"
            if select is None or select(path):
                yield Entry(path, stream.getvalue(), int(found.target[i]) if self.classes else None)


def make_run(
    path: Path,
    *,
    kind: str = "folds",
    effect: float = 0.02,
    n: int = 300,
    classes: tuple[str, ...] = tuple("0123456789"),
    hostile: str = "",
    scale: int = 1,
    colour: bool = False,
    inspect: bool = True,
    planned: float = 0.9,
) -> Path:
    """Write a run with planted memorization ``effect`` (in l2 distance) and return its path."""
    source = Digits(n, classes, hostile, scale, colour)
    facts = shards.write([(source, "train")], path / "shards")
    index = shards.Reader(path / "shards").index()
    uids = index["uid"].to_pylist()
    cut = round(len(uids) * planned)
    plan = build_plan(PLANS[kind], uids[:cut], uids[cut:] if kind == "pair" else ())
    write_table(path / "plan.parquet", plan.to_table())
    random = np.random.default_rng(0)
    align, left_out = _alignments(plan, effect, random)
    fit = estimator.OffsetFit(len(plan.encoders))
    used = estimator.calibrates(plan.group)
    fit.add(align[used], plan.inclusion[used])
    found = estimator.estimate(
        align,
        left_out,
        plan.inclusion,
        fit.offsets(),
        repeat=plan.repeats,
        calibrate=True,
        pair=kind in ("pair", "halves"),
    )
    ranks = estimator.rank(found.memorization, path)
    scores = ScoreTable.build(
        index, plan.uids, plan.group, found, ranks, VIEWS, classes=facts["classes"]
    )
    write_table(path / "scores.parquet", scores.table)
    errors = estimator.Errors()
    errors.add(found)
    delta = found.delta if kind == "pair" else None
    summary = separation.summarise(found.memorization, errors, plan.group, delta=delta).to_json()
    summary |= {
        "views": VIEWS,
        "pairing": "anchored",
        "distance": "l2",
        "representation": "full",
        "calibrated": True,
        "encoders": list(plan.encoders),
        "interval": {"confidence": 0.95, "freedom": None, "quantile": 1.96},
        "offsets": dict(zip(plan.encoders, fit.offsets().tolist(), strict=True)),
    }
    write_json(path / "scores.json", summary)
    for encoder in plan.encoders:
        record = {"loss": 1.25, "seconds": 15.5, "n": int(plan.members(encoder).size), "epochs": 50}
        write_json(path / "records" / "train" / f"{encoder}.json", record)
    columns = {}
    for k, encoder in enumerate(plan.encoders):
        measured = Alignment(align[:, k], left_out[:, k].astype(np.float32))
        table = measured.to_table(plan.uids, VIEWS)
        columns |= {name: table[name] for name in ("uid", "n_views")}
        columns |= {f"{encoder}/{n}": table[n] for n in ("align", "se", "leave_one_out")}
    write_table(path / "alignment" / "00000.parquet", pa.table(columns))
    canvas = path / "cache" / "canvas.npy"
    images.build_canvas(path / "shards", canvas, size=8, channels=3 if colour else 1)
    if inspect:
        _inspect(path, plan.uids, random)
    write_json(path / "run.json", _facts(kind, path.name, facts["fingerprint"], 3 if colour else 1))
    return path


def _alignments(plan, effect: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return alignments (N, E) and those with one view left out (N, E, K)."""
    size, n_encoders = len(plan.uids), len(plan.encoders)
    own = effect * random.gamma(1.0, 1.0, size)
    level = random.normal(0.6, 0.12, size)[:, None] - own[:, None] * plan.inclusion
    level = (
        level + random.normal(0, 0.012, (size, n_encoders)) + np.linspace(-0.01, 0.01, n_encoders)
    )
    views = level[:, :, None] + random.normal(0, 0.03, (size, 1, VIEWS))
    views += random.normal(0, 0.02, (size, n_encoders, VIEWS))
    return views.mean(axis=2), (views.sum(axis=2, keepdims=True) - views) / (VIEWS - 1)


def _inspect(path: Path, uids: np.ndarray, random: np.random.Generator) -> None:
    groups = [0, 0, 0, 1, 1] + [None] * (len(uids) - 5)
    write_table(
        path / "inspect.parquet",
        pa.table(
            {
                "uid": uids.tolist(),
                "outlier_score": random.gamma(9.0, 0.05, len(uids)),
                "neighbour_uid": np.roll(uids, 1).tolist(),
                "neighbour_distance": random.gamma(7.0, 0.05, len(uids)),
                "duplicate_group": groups,
            },
            schema=INSPECT_SCHEMA,
        ),
    )


def _facts(kind: str, name: str, fingerprint: str, channels: int) -> dict:
    return {
        "schema_version": 2,
        "name": name,
        "recipe": {
            "name": "digits",
            "description": "scikit-learn's digits on 2 cores; planted memorization",
            "data": {"source": "digits", "split": "train", "size": 8, "channels": channels},
            "plan": PLANS[kind].model_dump(),
            "encoder": {"backbone": "convnet", "method": "simclr", "representation": "full"},
            "train": {"epochs": 50},
            "views": {"train": "digits"},
            "inspect": {"neighbours": 10, "duplicate_threshold": 0.98, "encoder": None},
        },
        "recipe_fingerprint": "0123456789abcdef",
        "dataset_fingerprint": fingerprint,
        "seconds": {"shard": 1.2, "train": 124.0, "align": 9.5, "score": 0.3},
        "versions": {"python": "3.11.0", "curate": "0.1.0", "torch": "2.15.0"},
        "command": "curate run digits",
        "device": "cpu",
        "cores": 2,
    }


def add_selection(
    path: Path, name: str, strategy: str, *, keep: int, unscored: bool = True
) -> None:
    """Add a manifest that keeps so many of the scored samples, and all unscored ones or none."""
    table = ScoreTable.read(path / "scores.parquet").table
    scored = table["memorization"].is_valid().to_numpy()
    m = table["memorization"].to_numpy()[scored]
    uids = np.array(table["uid"].to_pylist(), dtype=object)
    chosen = np.full(len(uids), unscored)
    chosen[scored] = strategies.choose(strategy, m, uids[scored], keep, 0)
    made = Manifest.build(
        table,
        chosen,
        strategy=strategy,
        parameters={"count": keep},
        provenance={key: read_json(path / "scores.json")[key] for key in ("separation", "verdict")},
    )
    made.write(path / "manifests" / f"{name}.parquet")


def add_comparison(path: Path, *, seeds: int, source: str = "self") -> None:
    """Add a comparison whose linear difference excludes 0 and whose k-NN one does not."""
    rows = []
    for seed in range(seeds):
        for kind, gap in (("linear", -0.02 - 0.002 * seed), ("knn", 0.01 * (-1) ** seed)):
            for strategy in ("drop-top", "random"):
                accuracy = 0.9 + 0.004 * seed + (gap if strategy == "drop-top" else 0.0)
                rows.append(
                    {"strategy": strategy, "remove": 50, "seed": seed, "source": source,
                     "kind": kind, "accuracy": accuracy, "n_test": 1000, "held_out": False}
                )  # fmt: skip
    answers = answered(rows)
    summary = comparison.summarise(rows, answers, 270)
    folder = path / "comparisons" / "remove-50"
    comparison.write(folder, rows, answers, summary, {"budget": "epochs"})


def add_probe(path: Path, encoder: str) -> None:
    """Add a probe of one encoder."""
    results = [{"source": "self", "kind": "linear", "accuracy": 0.9125, "n_test": 80}]
    write_json(path / "probes" / "f-on-self.json", {"encoder": encoder, "results": results})
