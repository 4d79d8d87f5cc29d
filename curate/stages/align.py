"""Alignment of every encoder on every sample of a plan, shard by shard, on whatever machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from curate.encoders.backbone import Encoder, load_encoder
from curate.encoders.compiled import measuring_pays
from curate.encoders.schedule import snapshot_name
from curate.errors import DivergedError
from curate.runs import added, dataset, more_views, units
from curate.runs.alignments import OnShard
from curate.runs.recipe import digest
from curate.runs.run import Run
from curate.runtime import randomness
from curate.runtime.engines.base import Unit
from curate.runtime.files import on_disk
from curate.runtime.options import option
from curate.runtime.progress import Progress, silent
from curate.runtime.threads import torch_threads
from curate.scores.alignment import Alignment, align_images, centres_of
from curate.scores.covariates import REFERENCES, drawn
from curate.scores.plan import Plan
from curate.stages import shard, train
from curate.stages.context import Context
from curate.stages.placement import Part, Placed, by_shard, placed

HELD_WEIGHTS = 1 << 32
"""Weights of encoders that are held at a time, in bytes: the samples are gone through again for
those that are left."""
SPREAD = 16
"""Units that an engine is given at least, where there are as many encoders or shards: nobody knows
how many machines it has, nor how fast each is."""


@dataclass(frozen=True)
class Moment:
    """When in their training the encoders are measured.

    Attributes:
        epoch: After how many epochs; None for its end.
    """

    epoch: int | None = None

    @property
    def place(self) -> str:
        """What units and files of this moment begin with."""
        return "" if self.epoch is None else f"{snapshot_name(self.epoch)}/"

    def encoder(self, run: Run, name: str) -> Path:
        """Return the folder of an encoder as it was then."""
        return run.path / "encoders" / name / self.place

    def unit(self, name: str) -> str:
        """Return the name of a unit of work."""
        return f"{self.place}{name}"

    def file(self, run: Run, name: str) -> Path:
        """Return a file of the run."""
        return run.path / self.place / name


END = Moment()


def align(run: Run, context: Context, when: Moment = END) -> Placed:
    """Measure the alignment of every encoder on every sample of the plan."""
    plan = placed(run, train.train_run(run, context))
    _align(run, context, when, plan, further=False)
    if when == END and len(more_views.more_views(run).uids):
        _align(run, context, when, plan, further=True)
    return plan


def _shown(run: Run, further: bool) -> Callable[[Part], list[tuple[Part, int]]]:
    """Return what gives the samples of a shard that are measured, by their number of views.

    Args:
        run: The run.
        further: Whether only those that get more views than the others are, with these.
    """
    if not further:
        return lambda part: [(part, run.recipe.score.views)]
    more = more_views.more_views(run)

    def some(part: Part) -> list[tuple[Part, int]]:
        views = more.of(part.uids)
        return [(part.only(views == k), int(k)) for k in np.unique(views) if k]

    return some


def _align(run: Run, context: Context, when: Moment, plan: Placed, *, further: bool) -> None:
    """Measure samples of every shard, where that is not done yet.

    Encoders are gone through in groups, whose weights are held at a time. A unit of work, of which
    there are several where there are several cards or an engine, is a group on some of the shards.

    Args:
        run: The run.
        context: Device, workers, progress.
        when: When in their training encoders are measured.
        plan: The plan.
        further: As ``_shown`` has it.
    """
    shown = _shown(run, further)
    sizes = {part.name: sum(len(p.rows) for p, _ in shown(part)) for part in by_shard(run, plan)}
    on_shard = on_shards(run, plan.encoders, when, further=further)
    on = {s: on_shard(s) for s, size in sizes.items() if size}
    missing: dict[str, list[str]] = {}
    device = context.device_of_units()
    for s, stored in on.items():
        if names := stored.missing():
            stored.forget()  # Here: no attempt deletes what another one wrote.
            if not stored.unit.fetch(device):
                missing[s] = names
    if not missing:
        return
    run.check_records("align", (r for stored in on.values() for r in stored.records()), device)
    pixels = shard.pixels(run, context)
    used = [e for e in plan.encoders if any(e in names for names in missing.values())]
    places = SPREAD if context.engine else len(context.cards())
    parts = min(places, len(missing))
    groups = _together(
        {e: train.encoder_folder(run, context, e) / when.place for e in used}, -(-places // parts)
    )
    todo = [
        {s: here for s in shards if (here := [e for e in missing[s] if e in group])}
        for group in groups
        for shards in (list(missing)[i::parts] for i in range(parts))
    ]
    todo = [work for work in todo if work]
    with run.timed("align"):
        if places > 1:
            # Elsewhere there may be other cores than here: as many as for a training.
            threads = run.recipe.train.threads if context.engine else torch.get_num_threads()
            jobs = []
            for i, work in enumerate(todo, 1):
                arguments = {
                    "path": run.path,
                    "work": work,
                    "epoch": when.epoch,
                    "further": further,
                    "device": device,
                    "threads": threads,
                }
                keys = [on[s].keys[e] for s, here in work.items() for e in here]
                jobs.append(
                    Unit(
                        f"align {i}",
                        align_some,
                        arguments,
                        digest({"units": keys}),
                        cpus=threads if device == "cpu" else 1,
                        gpus=int(device != "cpu"),
                    )
                )
            context.do(run, jobs, places, what="align", of="parts")
            if any(on[s].missing() for s in missing):
                # Without locks between machines, one attempt may have undone what another one did.
                _align(run, context, when, plan, further=further)
            return
        done, total = 0, sum(sizes[s] for work in todo for s in work)
        context.progress("align", done, total)
        for work in todo:
            for n in _measure(run, plan, pixels, work, when, device, further=further):
                done += n
                context.progress("align", done, total)


def align_some(
    path: Path,
    work: Mapping[str, Sequence[str]],
    epoch: int | None,
    further: bool,
    device: str,
    threads: int,
    progress: Progress = silent,
) -> None:
    """Measure some encoders on some shards: a unit of work.

    Args:
        path: The run's.
        work: The encoders that are measured on each shard.
        epoch: After which they are measured, None for the end of their training.
        further: As ``_shown`` has it.
        device: ``cuda``, or ``cpu``.
        threads: To compute with on a CPU.
        progress: Progress callback.
    """
    run = Run.open(path)
    plan = placed(run, Plan.read(run.path / "plan.parquet", scratch=run.path / "cache"))
    shown = _shown(run, further)
    parts = (part for part in by_shard(run, plan) if part.name in work)
    done, total = 0, sum(len(p.rows) for part in parts for p, _ in shown(part))
    pixels = shard.pixels(run, Context("cpu"))
    progress("align", done, total)
    with torch_threads(threads, device):
        for n in _measure(run, plan, pixels, work, Moment(epoch), device, further=further):
            done += n
            progress("align", done, total)


def on_shards(
    run: Run, encoders: Sequence[str], when: Moment = END, *, further: bool = False
) -> Callable[[str], OnShard]:
    """Return what gives what encoders are to be measured to be on a shard, by its stem.

    Args:
        run: The run.
        encoders: All of the plan's, in its order.
        when: When in their training they are measured.
        further: As ``_shown`` has it.
    """
    digests = dataset.shard_digests(run)

    def on(s: str) -> OnShard:
        stem = _stem(s, further)
        keys = {
            e: units.align(run, when.unit(f"align/{e}/{stem}"), e, digests[s], more=further).key
            for e in encoders
        }
        return OnShard(run, stem, keys, when.place)

    return on


def _stem(s: str, further: bool) -> str:
    """Return the stem of a shard's file."""
    return more_views.further(s) if further else s


def _measure(
    run: Run,
    plan: Placed,
    pixels: np.ndarray,
    work: Mapping[str, Sequence[str]],
    when: Moment,
    device: str,
    *,
    further: bool,
) -> Iterator[int]:
    """Measure the encoders that are named for each shard; yields the samples that are done."""
    shown, on_shard = _shown(run, further), on_shards(run, plan.encoders, when, further=further)
    names = [e for e in plan.encoders if any(e in here for here in work.values())]
    encoders = {e: load_encoder(when.encoder(run, e), device=device) for e in names}
    centres = _centres(run, plan, encoders, pixels, device)
    n_encoded = len(plan.rows) * len(plan.encoders) * (run.recipe.score.views + 1)
    compiles = measuring_pays(n_encoded, device)
    for part in by_shard(run, plan):
        if part.name not in work:
            continue
        stored = on_shard(part.name)
        # Another attempt may have been there first.
        here = {e: encoders[e] for e in stored.missing() if e in work[part.name]}
        if not here:
            continue
        tables: dict[str, list[pa.Table]] = {e: [] for e in here}
        for some, views in shown(part):
            measured = _measured(run, here, some, views, pixels, device, centres, compiles)
            for name, alignment in measured:
                tables[name].append(alignment.to_table(some.uids, views))
            yield len(some.uids)
        stored.add({e: pa.concat_tables(parts) for e, parts in tables.items()}, device)


def _together(folders: Mapping[str, Path], at_least: int = 1) -> list[list[str]]:
    """Return the names of encoders in groups whose weights ``HELD_WEIGHTS`` hold, one at least.

    Args:
        folders: Where the encoders are, by their names.
        at_least: How many groups there are, if there are as many encoders.
    """
    groups: list[list[str]] = []
    group_size, most = 0, -(-len(folders) // at_least)
    for name, folder in folders.items():
        size = (folder / "weights.safetensors").stat().st_size
        if not groups or group_size + size > HELD_WEIGHTS or len(groups[-1]) >= most:
            groups.append([])
            group_size = 0
        groups[-1].append(name)
        group_size += size
    return groups


def _measured(
    run: Run,
    encoders: Mapping[str, Encoder],
    part: Part,
    views: int,
    pixels: np.ndarray,
    device: str,
    centres: Mapping[str, torch.Tensor] | None,
    compiles: bool,
) -> Iterator[tuple[str, Alignment]]:
    """Yield the alignment of each of some encoders on the samples of a part.

    Raises:
        DivergedError: If an encoder's is not finite.
    """
    config = run.recipe
    by_encoder = align_images(
        encoders,
        pixels[part.places],
        randomness.uid_keys(part.uids),
        config.measuring_views(),
        config.score.model_copy(update={"views": views}),
        representation=config.encoder.representation,
        device=device,
        centres=centres,
        compiles=compiles,
    )
    for name, alignment in by_encoder.items():
        if not np.isfinite(alignment.align).all():
            raise DivergedError(
                f"encoder {name} of {run.path} gives representations that are not finite; lower "
                f"train.lr or set train.clip_norm, and start over with {option(fresh=True)}."
            )
        yield name, alignment


def _centres(
    run: Run,
    plan: Placed,
    encoders: Mapping[str, Encoder],
    pixels: np.ndarray,
    device: str,
) -> dict[str, torch.Tensor] | None:
    """Return what is taken off the representations of some encoders; None where nothing is."""
    config = run.recipe
    if not config.score.centre:
        return None
    # As it was before anything was added: encoders that were measured stay as they were measured.
    first = [s for s in dataset.shard_digests(run) if not added.generation(run, s)]
    plan = plan.of_shards(len(first))
    n = len(plan.rows)
    keys, places = (on_disk(n, kind, run.path / "cache") for kind in (np.uint64, np.int32))
    for part in by_shard(run, plan):
        keys[part.rows], places[part.rows] = randomness.uid_keys(part.uids), part.places
    return centres_of(
        encoders,
        pixels[places[drawn(keys, REFERENCES)]],
        config.score,
        representation=config.encoder.representation,
        device=device,
    )
