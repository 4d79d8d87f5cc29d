"""What the samples of a run can be chosen by: numbers, places in a space, lists, selections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.data.chunks import one_chunk
from curate.data.sample import packed_uids
from curate.errors import DataError, UsageError
from curate.inspection import triage
from curate.inspection.spaces import embeddings, space_of
from curate.runs import dataset
from curate.runs.run import Run
from curate.runtime.options import option
from curate.scores.measures import MEASURES, column
from curate.scores.plan import Plan
from curate.scores.posterior import prior
from curate.selection import copied
from curate.selection.columns import COLUMNS, file_of, listed, numbers_of
from curate.selection.config import SelectConfig
from curate.selection.manifest import Manifest
from curate.selection.modifiers import Given
from curate.selection.strategies import STRATEGIES
from curate.stages.context import Context
from curate.stages.inspect import inspect_run
from curate.stages.measure import measure_run
from curate.stages.shard import canvas
from curate.stages.train import encoder_folder

COPIED = {"duplicates": copied.redundant, "leaks": copied.leaking}
"""Kinds of samples that a folder of copies knows, and what finds them there."""


class Chooser:
    """N samples of a run, and what is known of them; each thing is read once, when it is asked for.

    Attributes:
        run: The run; its lock is held.
        uids: (N,) strings, sorted.
    """

    def __init__(self, run: Run, context: Context, uids: pa.Array | pa.ChunkedArray) -> None:
        """Take a scored run, how to work on it, and some of its own samples."""
        self.run, self.uids = run, one_chunk(uids)
        self._context = context
        self._spaces: dict[str | None, np.ndarray] = {}
        self._known_paths: pa.Array | None = None

    def numbers(self, by: str) -> np.ndarray:
        """Return a column of the scores, measures or inspection, or of a file, (N,) float64.

        NaN where it says nothing. Measures and inspections that are missing are made.

        Raises:
            DataError: If it says nothing of any sample.
        """
        file = file_of(by)
        if file is not None:
            return numbers_of(*file, self.uids, self._paths())
        if COLUMNS[by] == "scores":
            values = self._scored(by)
            advice = (
                "one encoder on each side cannot show how far off a score is; give the plan "
                f"repeats ({option(overrides={'plan.repeats': 3})}), or leave {option(by=...)} out"
            )
        elif COLUMNS[by] == "measures":
            kind = next(kind for kind in MEASURES if column(kind) == by)
            path = measure_run(self.run, self._context, [kind]).path
            values = self._taken(pq.read_table(path, columns=["uid", by]), by)
            advice = f"'curate measure {self.run.name}' says what it has"
        else:
            values = self._inspected(by)
            advice = f"'curate inspect {self.run.name}' says what it has"
        if np.isnan(values).all():
            raise DataError(f"run {self.run.path} has no {by} of any sample: {advice}.")
        return values

    def given(self, config: SelectConfig) -> Given:
        """Return what a selection is made with beside its numbers.

        Raises:
            UsageError: If its space or the manifest that it is like is not there.
            DataError: If a list names none, or what there is not.
        """
        needs = STRATEGIES[config.strategy].needs
        like = None
        if "like" in needs and config.match is not None:
            like = self.kept(self.manifest(config.match))
        return Given(
            embeddings=self.space(config.space) if "points" in needs else None,
            like=like,
            always=self._list(config.always),
            never=self._list(config.never),
            drop={kind: self._of_kind(kind, config.copies) for kind in config.drop},
        )

    def space(self, name: str | None) -> np.ndarray:
        """Return where the samples lie in a space, (N, D) float32; None is that of inspection."""
        if name not in self._spaces:
            plan = Plan.read(self.run.path / "plan.parquet")
            inspect = self.run.recipe.inspect
            config = inspect.model_copy(update={"encoder": name or inspect.encoder})
            space = space_of(config, plan.encoders, key="space" if name else "inspect.encoder")
            if space.kind == "plan":
                encoder_folder(self.run, self._context, space.name)
            images = canvas(self.run, self._context)
            self._spaces[name] = embeddings(
                space,
                self.run.path / "encoders",
                images,
                dataset.index(self.run, ["uid"])["uid"],
                images.rows(packed_uids(self.uids)),
                self._context.resolved_device(),
                self._context.progress,
            )
        return self._spaces[name]

    def manifest(self, name: str) -> Manifest:
        """Return a manifest of the run's dataset, by its path or by its name in the run.

        Raises:
            UsageError: If there is none.
            MismatchError: If it was made from another dataset.
        """
        return dataset.read_for(self.run, manifest_path(self.run, name))

    def kept(self, manifest: Manifest) -> np.ndarray:
        """Return which of the samples a manifest keeps, (N,) bool."""
        uids = pa.array(manifest.kept(), pa.string())
        return np.asarray(pc.is_in(self.uids, value_set=uids).to_numpy(zero_copy_only=False))

    def _list(self, file: str | None) -> np.ndarray | None:
        return None if file is None else listed(Path(file), self.uids, self._paths())

    def _of_kind(self, kind: str, copies: str | None) -> np.ndarray:
        """Return which samples are of a kind that can be dropped, (N,) bool."""
        if kind not in COPIED:
            return self._triaged(kind)
        if copies is not None:
            return COPIED[kind](Path(copies), self.uids)
        path = inspect_run(self.run, self._context).path
        table = pq.read_table(path, columns=["uid", "duplicate_group", "duplicate_split"])
        table = table.take(pc.index_in(self.uids, value_set=one_chunk(table["uid"])))
        if kind == "leaks":
            return np.asarray(table["duplicate_split"].is_valid().to_numpy())
        index = dataset.index(self.run, ["uid", "width", "height", "size"])
        index = index.take(pc.index_in(self.uids, value_set=one_chunk(index["uid"])))
        width, height, size = (index[name].to_numpy() for name in ("width", "height", "size"))
        group = table["duplicate_group"].fill_null(-1).to_numpy()
        stands = triage.representatives(group, width.astype(np.int64) * height, size)
        return np.asarray((group >= 0) & ~stands)

    def _triaged(self, kind: str) -> np.ndarray:
        """Return which samples are of a kind, by the inspection, (N,) bool."""
        inspection = inspect_run(self.run, self._context)
        table = pq.read_table(inspection.path, columns=["uid", "triage"])
        which = table["uid"].filter(pc.equal(table["triage"], kind))
        isin = pc.is_in(self.uids, value_set=one_chunk(which))
        return np.asarray(isin.to_numpy(zero_copy_only=False))

    def _scored(self, by: str) -> np.ndarray:
        names = ("expected", "memorization", "weight") if by == "prior" else (by,)
        scores = self.run.scores(("uid", *names))
        columns = [self._taken(scores, name) for name in names]
        return prior(*columns) if by == "prior" else columns[0]

    def _inspected(self, by: str) -> np.ndarray:
        path = inspect_run(self.run, self._context).path
        return self._taken(pq.read_table(path, columns=["uid", by]), by)

    def _taken(self, table: pa.Table, name: str) -> np.ndarray:
        """Return a column of a table in the order of the samples, NaN where it is null."""
        place = pc.index_in(self.uids, value_set=one_chunk(table["uid"]))
        values = table[name].take(place).cast(pa.float64()).to_numpy()
        return np.where(np.isfinite(values), values, np.nan)

    def _paths(self) -> pa.Array:
        if self._known_paths is None:
            index = dataset.index(self.run, ["uid", "path"])
            place = pc.index_in(self.uids, value_set=one_chunk(index["uid"]))
            self._known_paths = one_chunk(index["path"].take(place))
        return self._known_paths


def manifest_path(run: Run, name: str) -> Path:
    """Return where a manifest lies that is named by its path, or by its name in a run.

    Raises:
        UsageError: If there is none.
    """
    path = Path(name)
    places = [path, path.with_name(f"{path.name}.parquet")]
    if path.name == name:
        places.insert(0, run.path / "manifests" / f"{name.removesuffix('.parquet')}.parquet")
    for place in places:
        if place.is_file():
            return place
    raise UsageError(f"there is no manifest {name}; make one with 'curate select'.")
