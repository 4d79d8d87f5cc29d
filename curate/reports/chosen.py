"""One sample closely: its neighbours, and its views with what each side's encoder made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from curate.data import canvas as images
from curate.data.index import open_index
from curate.encoders.views.apply import augment
from curate.reports import words
from curate.reports.material import Material
from curate.reports.thumbnails import Thumbnail, thumbnail
from curate.runs import alignments
from curate.runs import recipe as recipes
from curate.runs.run import Run
from curate.runtime import randomness

VIEWS = 8
"""Views that are shown at most."""
NEIGHBOURS = 8


@dataclass(frozen=True)
class Side:
    """What one encoder made of the sample.

    Attributes:
        encoder: Its name.
        trained: Whether it was trained on the sample.
        align: Alignment, the mean over all views.
        by_view: (K,) the part of each view: its distance from the clean image (``anchored``) or
            its mean distance from the other views (``all``).
    """

    encoder: str
    trained: bool
    align: float
    by_view: np.ndarray


def sides(material: Material, uid: str, shard: str) -> list[Side]:
    """Return one encoder that was trained on a sample and one that was not, where both are there.

    Distances of single views come from what is stored for the jackknife, so that no encoder is
    needed.
    """
    plan = pq.read_table(material.path / "plan.parquet", filters=[("uid", "=", uid)])
    if not plan.num_rows:
        return []
    pair: list[Side] = []
    for trained in (True, False):
        for name in material.summary["encoders"]:
            if name not in plan.column_names or plan[name][0].as_py() is not trained:
                continue
            run, stem = Run.open(material.path), Path(shard).stem
            if not run.held(*alignments.where(run, name, stem)).is_file():
                continue
            rows = alignments.read(run, [name], stem, uid=uid)[name]
            if rows.num_rows:
                align = float(rows["align"][0].as_py())
                left_out = np.array(rows["leave_one_out"][0].as_py(), dtype=float)
                pair.append(Side(name, trained, align, by_view(material, align, left_out)))
                break
    return pair if len(pair) == 2 else []


def by_view(material: Material, align: float, left_out: np.ndarray) -> np.ndarray:
    """Return the part of each view (K,) in an alignment, from what it is without each (K,)."""
    k = len(left_out)
    if material.summary.get("pairing", "anchored") == "anchored":
        return np.clip(k * align - (k - 1) * left_out, 0, None)
    if k < 3:
        return np.zeros(0)
    pairs, without = k * (k - 1) / 2, (k - 1) * (k - 2) / 2
    return np.clip((pairs * align - without * left_out) / (k - 1), 0, None)


def views(material: Material, uid: str, count: int) -> list[Thumbnail]:
    """Return the first views of a sample that scores were measured on; empty without a canvas."""
    canvas = material.path / "cache" / "canvas.npy"
    if not canvas.is_file() or not count:
        return []
    index = open_index(material.path / "shards").table(["uid"])["uid"]
    row = pc.index(index, uid).as_py()
    blocks = (Run.open(material.path).record("canvas") or {}).get("blocks")
    pixels = torch.from_numpy(images.open_pixels(canvas, len(index), blocks)[row : row + 1].copy())
    recipe = recipes.parse(material.run["recipe"], where=str(material.path / "run.json"))
    ids = torch.from_numpy(randomness.uid_keys([uid]).astype(np.int64))
    key, spec = randomness.stream(recipe.score.seed, "measure"), recipe.measuring_views()
    drawn = []
    for k in range(1, count + 1):
        view = augment(pixels, spec, key=key, keys=ids, view=k)[0]
        drawn.append(thumbnail((255 * view).round().clamp(0, 255).byte().numpy(), ""))
    return drawn


def nearest(material: Material, uid: str) -> dict[str, float]:
    """Return the nearest other samples of one and their distances, nearest first."""
    table = material.inspected
    if table is None:
        return {}
    path = Run.open(material.path).held("inspect", "inspect_neighbours.parquet")
    row = pc.index(table["uid"], uid).as_py()
    if row < 0:
        return {}
    if path.is_file():
        stored = pq.read_table(path, filters=[("uid", "=", uid)])
        if stored.num_rows:
            rows = stored["neighbours"][0].as_py()[:NEIGHBOURS]
            uids = table["uid"].take(pa.array(rows, pa.int64())).to_pylist()
            distances = stored["distances"][0].as_py()[:NEIGHBOURS]
            return dict(zip(uids, distances, strict=True))
    one = table["neighbour_uid"][row].as_py()
    return {} if one is None else {one: table["neighbour_distance"][row].as_py()}


def view_cards(material: Material, uid: str, shard: str) -> dict[str, Any] | None:
    """Return what the page shows of a sample's views; None where they cannot be shown."""
    both = sides(material, uid, shard)
    if not both or not len(both[0].by_view):
        return None
    shown = views(material, uid, min(VIEWS, len(both[0].by_view)))
    if not shown:
        return None
    decimals = max(3, material.decimals)
    seen, unseen = both
    anchored = material.summary.get("pairing", "anchored") == "anchored"
    gap = unseen.align - seen.align
    note = (
        f"Encoder {words.shown(seen.encoder)} was trained on it: alignment "
        f"{words.fixed(seen.align, decimals)}. Encoder {words.shown(unseen.encoder)} was not: "
        f"{words.fixed(unseen.align, decimals)} ({material.unit}; difference "
        f"{words.fixed(gap, decimals)}, offsets included). Shown: "
        f"{len(shown)} of {words.size(len(seen.by_view), 'view')}, each with its distance from "
        f"{'the clean image' if anchored else 'the other views'} on both."
    )
    cards = [
        {
            "image": image.uri,
            "pixelated": image.exact,
            "alt": f"view {k + 1} of the image",
            "facts": [
                (f"trained ({words.shown(seen.encoder, limit=12)})", _at(seen, k, decimals)),
                (f"not ({words.shown(unseen.encoder, limit=12)})", _at(unseen, k, decimals)),
            ],
        }
        for k, image in enumerate(shown)
    ]
    return {"note": note, "cards": cards}


def _at(side: Side, k: int, decimals: int) -> str:
    return words.fixed(float(side.by_view[k]), decimals)


def neighbour_facts(distances: Mapping[str, float]) -> dict[str, list[tuple[str, str]]]:
    """Return what a gallery says of each neighbour besides its score."""
    return {uid: [("distance", words.fixed(d, 3))] for uid, d in distances.items()}
