"""Add: write further images behind a run's own, and measure them by the encoders that are there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.data import addresses, shards, sources
from curate.data.sample import Entry
from curate.data.sources import Source
from curate.data.sources.base import Select
from curate.errors import DataError
from curate.inspection import duplicates, thumbnails
from curate.runs import dataset, units
from curate.runs.added import Addition
from curate.runs.ledger import SCORING
from curate.runs.run import Run
from curate.runtime.files import read_json, replacing
from curate.runtime.options import option
from curate.runtime.progress import Progress, silent
from curate.runtime.results import Result
from curate.runtime.text import short
from curate.scores.plan import ADDED
from curate.scores.summary import ScoreSummary
from curate.scores.table import SCORE_SCHEMA
from curate.stages import align, score, shard
from curate.stages.context import Context

CLASSES_NAMED = 5
"""Classes that a message names."""
PAIRS_LISTED = 100
"""Near-duplicates that are named, the most alike first."""


@dataclass(frozen=True)
class Alike(Result):
    """A new image that is nearly one that was there.

    Attributes:
        uid: Of the new one.
        path: Where it came from.
        other: Uid of the one that was there.
        other_path: Where that came from.
        similarity: Correlation of their pixels, at most 1.
    """

    uid: str
    path: str
    other: str
    other_path: str
    similarity: float


@dataclass(frozen=True)
class Added(Result):
    """What was added to a run.

    Attributes:
        run: Its directory.
        written: New images.
        there: Images that the run had already, which keep their place.
        rejected: Images that could not be read: ``shards/rejected.jsonl`` says why.
        near_duplicates: How many new images are nearly one that was there.
        alike: Those that are most alike, at most 100.
        seconds: What it took.
        anew_seconds: What the scores of all images would take from the beginning, by what the
            run's took.
    """

    run: Path
    written: int
    there: int
    rejected: int
    near_duplicates: int
    alike: tuple[Alike, ...]
    seconds: float
    anew_seconds: float


def add(
    run: Run,
    source: str,
    *,
    split: str = "train",
    label: str | None = None,
    image: str | None = None,
    outside: bool = False,
    data: str | Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Added:
    """Add images to a scored run: no encoder is trained, and no score that is there changes.

    The new images are shown to the encoders as images that none of them was trained on, so that
    they have an ``align_out`` and no memorization. More repeats of the plan train on them as well.

    Args:
        run: A scored run.
        source: A SOURCE, or the path of a folder, of parquet files or of tars.
        split: Split of the source: a name, a pattern of paths, or ``all``.
        label: Column of labels, or ``none``.
        image: Column of images.
        outside: Whether links and rows may lead out of the source's folder.
        data: Where the source lies on this machine.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Progress callback.

    Raises:
        UsageError: For an unknown source, or what can be read in two ways.
        DataError: If the run has no scores, all images are in it already, none could be read, too
            many could not, or one is of a class that the run does not know.
    """
    with run.lock():
        context = Context.of(run, None, device, 1, progress)
        shard.go_on_adding(run)
        if not (run.path / "scores.json").is_file():
            raise DataError(f"run {run.path} has no scores yet; type 'curate score {run.name}'.")
        started, before = time.monotonic(), sum(run.facts()["seconds"].get(s, 0.0) for s in SCORING)
        opened = sources.open_source(
            source,
            split=split,
            data=addresses.placed(data),
            label=label,
            image=image,
            outside=outside,
        )
        _check_code(run, context)
        begun = run.added[-1] if run.added else {}
        if begun.get("source") == opened.name and begun.get("seconds") is None:
            # The same command, cut short when its images were written.
            facts = read_json(run.path / "shards" / "dataset.json")
        else:
            scored = units.score(run).intact() is not None
            facts = _written(run, opened, context)
            if scored:
                _score_new(run, context)
        score.score_run(run, context)
        near, alike = _near_duplicates(run, context)
        seconds = time.monotonic() - started
        added = [*run.added]
        n, new = facts["splits"]["train"]["written"], added[-1]["samples"]
        spent = {
            "seconds": round(seconds, 3),
            "anew_seconds": round(before * n / max(1, n - new), 3),
        }
        added[-1] = {**added[-1], **spent}
        run.note(added=added)
        account = [*facts["account"].values()][-1]
        return Added(
            run=run.path,
            written=new,
            there=account["left_out_for"].get(shards.THERE, 0),
            rejected=account["rejected"],
            near_duplicates=near,
            alike=alike,
            **spent,
        )


def labels_of(here: Sequence[str], theirs: Sequence[str]) -> dict[int, int] | None:
    """Return the label of a run that each label of a source is; None where they are the same.

    Args:
        here: Names of the run's classes.
        theirs: Names of the source's; empty where its labels have no names.

    Raises:
        DataError: If the source has a class that the run has not.
    """
    unknown = [name for name in theirs if name not in here]
    if unknown:
        have = ", ".join(short(name) for name in here[:CLASSES_NAMED]) or "none that has a name"
        more = ", ..." if len(here) > CLASSES_NAMED else ""
        raise DataError(
            f"class {short(unknown[0])} is none of the run's: {have}{more}. Add images of classes "
            f"that it has, or without their labels: {option(label='none')}."
        )
    return {label: here.index(name) for label, name in enumerate(theirs)} if theirs else None


def _written(run: Run, source: Source, context: Context) -> dict[str, Any]:
    """Write what is new into tars behind those of a run; returns the facts of all its shards."""
    folder, beside = run.path / "shards", run.path / shard.ADDING
    if not units.shard(run).intact(shard.INDEX):
        raise DataError(
            f"the shards of run {run.path} are not what was recorded; 'curate verify {run.path}' "
            "says what changed."
        )
    shutil.rmtree(beside, ignore_errors=True)
    there = read_json(folder / "dataset.json")
    labels = labels_of(there["classes"], source.classes)
    with run.timed("shard"):
        facts = shards.write(
            [(Relabelled(source, labels, tuple(there["classes"])), "train")],
            beside,
            max_bad=run.recipe.data.max_bad,
            onto=folder,
            progress=context.progress,
        )
    shard.say({**facts, "account": dict([[*facts["account"].items()][-1]])})
    samples = facts["splits"]["train"]["written"] - there["splits"]["train"]["written"]
    addition = Addition(
        source=source.name,
        samples=samples,
        first_shard=len(there["shards"]),
        first_repeat=run.recipe.plan.repeats,
        before=there["fingerprint"],
        fingerprint=facts["fingerprint"],
    )
    # From here on the images belong to the run: what is cut short is gone on with.
    run.note(added=[*run.added, addition.to_json()])
    shard.go_on_adding(run)
    return facts


def _check_code(run: Run, context: Context) -> None:
    """Refuse to write what this code, or this kind of device, could not measure as the rest was.

    Raises:
        MismatchError: If so; what changed is shown.
    """
    on_shard = align.on_shards(run, tuple(units.members(run)))
    records = (r for s in dataset.shard_digests(run) for r in on_shard(s).records())
    run.check_records("align", records, context.resolved_device())


def _score_new(run: Run, context: Context) -> None:
    """Measure what was added, and write its rows behind the scores that are there.

    Scores of samples that encoders may know do not depend on others: computed again, as they are
    where this is cut short, they are the same.
    """
    plan = align.align(run, context)
    path, beside, unit = run.path / "scores.parquet", run.path / "scores.json", units.score(run)
    with unit.making("score"):
        by_encoder = ScoreSummary.read(run.path).offsets
        offsets = np.array([by_encoder[name] for name in plan.encoders])
        with (
            pq.ParquetFile(path) as old,
            replacing(path) as temporary,
            pq.ParquetWriter(temporary, SCORE_SCHEMA, compression="zstd") as out,
        ):
            for number in range(old.num_row_groups):
                rows = old.read_row_group(number)
                rows = rows.filter(pc.not_equal(rows["group"], ADDED))
                if len(rows):
                    out.write_table(rows)
            for rows in score.unseen(run, plan.known()[1], offsets):
                out.write_table(rows)
        unit.complete([path, beside])


@dataclass(frozen=True)
class Relabelled:
    """A source whose labels are numbered as a run's classes are.

    Attributes:
        source: The source.
        labels: The run's label of each of its own; None where they are the same.
        classes: The run's classes.
    """

    source: Source
    labels: Mapping[int, int] | None
    classes: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the source is called."""
        return self.source.name

    @property
    def split(self) -> str:
        """Which split it is."""
        return self.source.split

    @property
    def splits(self) -> Sequence[str]:
        """Every split that it has."""
        return self.source.splits

    @property
    def rejected(self) -> list[tuple[str, str]]:
        """What could not be read."""
        return self.source.rejected

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """What lies there and is no sample."""
        return self.source.left_out

    @property
    def chosen(self) -> Mapping[str, str]:
        """What was chosen, and why."""
        return self.source.chosen

    def paths(self) -> Iterator[str]:
        """Return the path of every sample."""
        yield from self.source.paths()

    def entries(self, select: Select | None = None) -> Iterator[Entry]:
        """Yield the samples with the run's labels."""
        for entry in self.source.entries(select):
            if self.labels is None or entry.label is None:
                yield entry
            else:
                yield replace(entry, label=self.labels[entry.label])


def _near_duplicates(run: Run, context: Context) -> tuple[int, tuple[Alike, ...]]:
    """Return how many of the newest images are nearly ones that were there, and the most alike."""
    new = run.added[-1]["samples"]
    pixels = shard.pixels(run, context)
    first = len(pixels) - new
    device = context.resolved_device()
    pairs = duplicates.find(
        thumbnails.of_canvas(pixels, progress=context.progress, device=device),
        run.recipe.inspect.duplicate_threshold,
        device=device,
        progress=context.progress,
        of=np.arange(first, len(pixels)),
    )
    across = (pairs.a < first) & (pairs.b >= first)
    old, late, similar = pairs.a[across], pairs.b[across], pairs.similarity[across]
    order = np.lexsort((old, -similar, late))
    late, once = np.unique(late[order], return_index=True)
    old, similar = old[order][once], similar[order][once]
    listed = np.lexsort((late, -similar))[:PAIRS_LISTED]
    names = dataset.index(run, ["uid", "path"])
    late_names, old_names = (names.take(pa.array(rows[listed])).to_pylist() for rows in (late, old))
    return len(late), tuple(
        Alike(a["uid"], a["path"], b["uid"], b["path"], round(float(s), 6))
        for a, b, s in zip(late_names, old_names, similar[listed], strict=True)
    )
