"""Catalogue: what a run knows of its samples, filtered, ordered and cut into pages."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from curate.data.chunks import one_chunk
from curate.data.decoding import Box, reduced
from curate.data.labels import class_of
from curate.data.shards import Reader
from curate.errors import DataError, UsageError
from curate.reports import words
from curate.runs import sample_lookup
from curate.runs.run import Run
from curate.selection.manifest import Manifest

PAGE = 60
"""Samples of a page."""
SIDES = {"small": 192, "large": 1024}
"""Longest side of an image in pixels, by what is asked for; small images keep their size."""
ORDERS = {"most": 1, "least": -1}


@dataclass(frozen=True)
class Catalogue:
    """The scored samples of a run, in order of rank, those without a score last.

    Attributes:
        run: Where they are.
        table: ``uid``, ``path``, ``label``, ``class``, ``memorization``, ``se``, ``rank``,
            ``triage``.
        rows: (N,) int64, where each image stands in the index of the shards.
        unit: What scores are measured in.
    """

    run: Run
    table: pa.Table
    rows: np.ndarray
    unit: str

    def facts(self) -> dict[str, Any]:
        """Return what there is to filter by."""
        score = self._numbers("memorization")
        known = score[~np.isnan(score)]
        labels = pc.unique(self.table["label"]).drop_null().sort().to_pylist()
        names = Reader(self.run.path / "shards").classes
        return {
            "name": words.shown(self.run.name),
            "total": self.table.num_rows,
            "unit": self.unit,
            "lowest": float(known.min()) if len(known) else None,
            "highest": float(known.max()) if len(known) else None,
            "labels": [
                {"value": label, "text": _named(class_of(names, label), label)} for label in labels
            ],
            "triage": pc.unique(self.table["triage"]).drop_null().sort().to_pylist(),
            "manifests": self.manifests(),
            "verdict": self.run.summary().verdict.to_json(),
        }

    def manifests(self) -> list[str]:
        """Return the names of the run's manifests."""
        return sorted(path.stem for path in (self.run.path / "manifests").glob("*.parquet"))

    def page(self, query: Mapping[str, str], marks: Mapping[str, str]) -> dict[str, Any]:
        """Return one page of the samples that fit.

        Args:
            query: ``low``, ``high`` (score), ``first``, ``last`` (rank), ``label``, ``triage``,
                ``manifest`` and ``decision``, ``mark`` (or ``none``), ``text`` (in uid, class or
                path), ``order`` (``most`` or ``least`` memorized first) and ``page`` from 0.
            marks: Of single samples.

        Raises:
            UsageError: If a value is none that can be asked for.
        """
        fits = np.ones(self.table.num_rows, dtype=bool)
        score, rank = self._numbers("memorization"), self._numbers("rank")
        with np.errstate(invalid="ignore"):
            for name, column, sign in (
                ("low", score, 1), ("high", score, -1), ("first", rank, 1), ("last", rank, -1)
            ):  # fmt: skip
                if query.get(name):
                    fits &= sign * column >= sign * _number(name, query[name])
        if query.get("label"):
            fits &= self._is("label", int(_number("label", query["label"])))
        if query.get("triage"):
            fits &= self._is("triage", query["triage"])
        if query.get("text"):
            matches = [
                pc.match_substring(self.table[name], query["text"], ignore_case=True)
                .fill_null(False)
                .to_numpy()
                for name in ("uid", "class", "path")
            ]
            fits &= np.any(matches, axis=0)
        decision = self._decisions(query.get("manifest"))
        if decision is not None and query.get("decision"):
            fits &= decision == query["decision"]
        uids = self.table["uid"]
        if query.get("mark"):
            chosen = [u for u, m in marks.items() if query["mark"] in (m, "none")]
            among = pc.is_in(uids, value_set=pa.array(chosen, pa.string())).to_numpy()
            fits &= ~among if query["mark"] == "none" else among
        order = ORDERS.get(query.get("order") or "most")
        if order is None:
            raise UsageError(f"order {query['order']!r} is none of {', '.join(ORDERS)}.")
        rows = np.flatnonzero(fits)[::order]
        at = max(0, int(_number("page", query.get("page") or "0")))
        shown = rows[at * PAGE : (at + 1) * PAGE]
        return {
            "total": len(rows),
            "page": at,
            "pages": max(1, -(-len(rows) // PAGE)),
            "samples": [self._sample(int(row), decision, marks) for row in shown],
        }

    def neighbours(self, uid: str, marks: Mapping[str, str]) -> dict[str, Any]:
        """Return the nearest samples to one, with their distances; None if nothing was inspected.

        Raises:
            DataError: If there is no such sample.
        """
        if not self.knows(uid):
            raise DataError(f"no sample {words.shown(uid, limit=40)}.")
        if not self.run.done("inspect"):
            return {"neighbours": None}
        uids = self.table["uid"]
        return {
            "neighbours": [
                {**self._sample(pc.index(uids, other).as_py(), None, marks), "distance": distance}
                for other, distance in sample_lookup.neighbours(self.run, uid)
            ]
        }

    def image(self, uid: str, size: str) -> tuple[bytes, str]:
        """Return a sample's image, decoded and encoded anew, and its type.

        Raises:
            DataError: If there is no such sample, or its shard is damaged.
        """
        row = pc.index(self.table["uid"], uid).as_py()
        if row < 0 or size not in SIDES:
            raise DataError(f"no image of {words.shown(uid, limit=40)}.")
        data = next(iter(Reader(self.run.path / "shards").read([int(self.rows[row])])))
        side, channels = SIDES[size], self.run.recipe.data.channels
        picture = reduced(data, functools.partial(shrunk, side=side, channels=channels), side=side)
        out = io.BytesIO()
        exact = max(picture.size) <= 64
        if exact:
            picture.save(out, format="PNG")
        else:
            picture.save(out, format="JPEG", quality=88)
        return out.getvalue(), "image/png" if exact else "image/jpeg"

    def knows(self, uid: object) -> bool:
        """Return whether there is such a sample."""
        return isinstance(uid, str) and pc.index(self.table["uid"], uid).as_py() >= 0

    def _decisions(self, name: str | None) -> np.ndarray | None:
        """Return what a manifest decided of each sample, in the order of the table."""
        if not name:
            return None
        if name not in self.manifests():
            raise UsageError(f"no manifest {words.shown(name, limit=40)} in this run.")
        manifest = Manifest.read(self.run.path / "manifests" / f"{name}.parquet").table
        at = pc.index_in(self.table["uid"], value_set=one_chunk(manifest["uid"]))
        decided = manifest["decision"].take(at).fill_null("").to_numpy()
        return np.asarray(decided, dtype=object)

    def _sample(
        self, row: int, decision: np.ndarray | None, marks: Mapping[str, str]
    ) -> dict[str, Any]:
        columns = {name: self.table[name][row].as_py() for name in self.table.column_names}
        return {
            **{name: columns[name] for name in ("uid", "rank", "memorization", "se", "triage")},
            "label": "none" if columns["label"] is None else str(columns["label"]),
            "class": _named(columns["class"], columns["label"]),
            "path": words.shown(columns["path"], limit=300),
            "decision": None if decision is None else decision[row] or None,
            "mark": marks.get(columns["uid"]),
        }

    def _is(self, name: str, value: object) -> np.ndarray:
        return np.asarray(pc.equal(self.table[name], value).fill_null(False).to_numpy())

    def _numbers(self, name: str) -> np.ndarray:
        return np.asarray(self.table[name].cast(pa.float64()).to_numpy(zero_copy_only=False))


def shrunk(image: Image.Image, box: Box, *, side: int, channels: int) -> Image.Image:
    """Return an image shrunk until its longest side is ``side``; a smaller one in its own size."""
    width, height = round(box[2] - box[0]), round(box[3] - box[1])
    share = min(1.0, side / max(width, height))
    shape = (max(1, round(width * share)), max(1, round(height * share)))
    if shape != image.size:
        image = image.resize(shape, Image.Resampling.LANCZOS, box)
    return image.convert("L" if channels == 1 else "RGB")


def _named(name: str | None, label: int | None) -> str:
    """Return a class as it is called: by its name, else by its label."""
    if label is None:
        return "none"
    return str(label) if name is None else words.shown(name, limit=80)


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise UsageError(f"{name} {words.shown(text, limit=40)} is no number.")
    return value


def open_catalogue(run: Run) -> Catalogue:
    """Read what a run knows of its samples.

    Raises:
        DataError: If the run has no scores yet.
    """
    scores = run.scores(("label", "class", "path", "memorization", "se", "rank"))
    index = Reader(run.path / "shards").index(["uid"])
    at = pc.index_in(scores["uid"], value_set=one_chunk(index["uid"]))
    if at.null_count:
        raise DataError(f"scores of run {run.path} name samples it does not have; score again.")
    triage = pa.chunked_array([pa.nulls(scores.num_rows, pa.string())])
    inspected = run.held("inspect", "inspect.parquet")
    if inspected.is_file() and "triage" in pq.read_schema(inspected).names:
        triage = pq.read_table(inspected, columns=["uid", "triage"])
        place = pc.index_in(scores["uid"], value_set=one_chunk(triage["uid"]))
        triage = triage["triage"].take(place)
    table = scores.append_column("triage", triage)
    order = pc.sort_indices(table, sort_keys=[("rank", "ascending"), ("uid", "ascending")])
    distance = run.summary().distance
    return Catalogue(
        run,
        table.take(order).combine_chunks(),
        at.take(order).to_numpy().astype(np.int64),
        words.SHORT_UNITS.get(distance, words.shown(distance)),
    )
