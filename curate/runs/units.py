"""Units of work: what shapes the result of each, and whether it is made.

The key of a unit is a digest of the settings that it reads and of what it is made from, and of
nothing else: settings that it does not read leave it what it is. A unit is done when its record has
the key that is wanted now and every file that the record names is there in its size. There are no
lists of what to forget when something changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.encoders import views
from curate.runs import added
from curate.runs.recipe import NOT_SHAPING, digest, training_settings
from curate.runs.store import Entry
from curate.runtime import randomness, versions
from curate.runtime.files import file_sha256, sealed, write_json

if TYPE_CHECKING:
    from curate.runs.run import Run

log = logging.getLogger("curate")

NEUTRAL = ("name", "views.train", *NOT_SHAPING)
"""Settings that shape no result; of a view set its values do, not its name."""
READ_BY = {
    "shard": ("data.source", "data.split", "data.extra", "data.test", "data.limit"),
    "canvas": ("data.size", "data.channels", "data.fit", "data.interpolation"),
    "plan": ("plan",),
    "train": ("encoder", "train", "views"),
    "align": (
        *("encoder.representation", "score.views", "score.pairing", "score.distance"),
        *("score.seed", "score.precision", "score.centre", "views.measure"),
    ),
    "score": ("score.calibrate", "score.covariates"),
    "inspect": ("inspect",),
    "select": ("select",),
    "compare": ("compare", "probe"),
}
"""The settings that each stage reads and none before it: a setting, or all of a section."""
MADE_FROM = {
    "canvas": ("shard",),
    "plan": ("shard",),
    "train": ("canvas", "plan"),
    "align": ("train",),
    "score": ("align", "canvas"),
    "inspect": ("train", "score"),
    "select": ("score",),
    "compare": ("score", "train"),
}
"""The stages whose results each stage reads. Of a plan an encoder reads its own samples alone."""


def stage_of(setting: str) -> str | None:
    """Return the first stage that reads a setting such as ``train.lr``; None for a neutral one."""
    if setting in NEUTRAL:
        return None
    for stage in ("align", *READ_BY):
        for key in READ_BY[stage]:
            if setting == key or setting.startswith(f"{key}."):
                return stage
    raise AssertionError(f"no stage reads {setting}")


def stages_after(first: Iterable[str]) -> list[str]:
    """Return the stages that are redone when some are, in their order."""
    redone = set(first)
    for stage in READ_BY:
        if redone & set(MADE_FROM.get(stage, ())):
            redone.add(stage)
    return [stage for stage in READ_BY if stage in redone]


@dataclass(frozen=True)
class Unit:
    """One piece of work of a run, and what shapes it.

    Attributes:
        run: The run that it belongs to.
        name: Name of its record, such as ``train/fold0``.
        parts: What its result depends on, by name: settings, keys of other units, digests.
    """

    run: Run
    name: str
    parts: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The digest of ``parts``, 32 hex digits, the same on every machine."""
        return digest(self.parts, digits=32)

    @property
    def stage(self) -> str:
        """The stage that makes it, such as ``align``, also of a snapshot."""
        parts = self.name.split("/")
        return parts[2] if parts[0] == "snapshots" and len(parts) > 2 else parts[0]

    def same_but_code(self, record: Mapping[str, Any]) -> bool:
        """Return whether a record is of this unit, made by whatever code."""
        then, now = (
            {k: v for k, v in p.items() if k != "code"} for p in (record["parts"], self.parts)
        )
        return then == now

    def done(self) -> dict[str, Any] | None:
        """Return the record, or None where the unit is still to be made."""
        record = self.run.done(self.name)
        return record if record is not None and record.get("key") == self.key else None

    def intact(self, only: Sequence[str] | None = None) -> dict[str, Any] | None:
        """Return the record if the files are what was recorded, too; each is read once a process.

        Args:
            only: Names of the files, relative to the run, that are checked; None checks all.
        """
        record = self.done()
        return record if record is not None and whole(self.run, record, only) else None

    @contextlib.contextmanager
    def making(self, stage: str | None = None) -> Iterator[None]:
        """Make the unit: what was recorded of an earlier one holds no more.

        Args:
            stage: The time is added to this stage of ``run.json``; None counts none.
        """
        self.run.record_path(self.name).unlink(missing_ok=True)
        with self.run.timed(stage) if stage else contextlib.nullcontext():
            yield

    def entry(self, device: str) -> Entry:
        """Return the unit's place in the store: by its key, its code, and the kind of device."""
        whole = {"key": self.key, "device": device, "code": versions.of_stage(self.stage)}
        return Entry(self.run.path.parent, self.stage, digest(whole, digits=32))

    def fetch(self, device: str) -> bool:
        """Take the unit from the store, if another run has made it; returns whether it did."""
        entry = self.entry(device)
        record = entry.take(self.run.path, self.name)
        if record is None:
            return False
        write_json(self.run.record_path(self.name), sealed({**record, "parts": dict(self.parts)}))
        # Of a making that was cut short when all was in the store, and only the record missing.
        shutil.rmtree(self.run.states(self.name), ignore_errors=True)
        return True

    def complete(
        self,
        outputs: Iterable[Path],
        device: str | None = None,
        *,
        keep: bool = True,
        by_content: bool = False,
        **facts: Any,
    ) -> None:
        """Write the record, with the size and digest of every file that was made.

        Args:
            outputs: The files.
            device: Kind of the device that made them, ``cpu`` or ``cuda``, where that changes them.
            keep: Whether a unit with a device goes into the store.
            by_content: Whether the files go into the store by their own digests, where they can be
                linked: nothing less says what a source holds, and they are too large for a copy.
            facts: What else the record says.
        """
        written = {}
        for path in sorted(outputs):
            sha256 = file_sha256(path)
            remember(path, sha256)
            name = path.relative_to(self.run.path).as_posix()
            written[name] = {"bytes": path.stat().st_size, "sha256": sha256}
        about = {
            "unit": self.name,
            "key": self.key,
            "parts": dict(self.parts),
            "code": versions.of_stage(self.stage),
            "outputs": written,
        }
        record = {**facts, **about}
        if device is not None:
            record["device"] = device
        if by_content:
            entry = Entry(self.run.path.parent, self.stage, digest(written, digits=32))
            record["stored"] = f"{entry.kind}/{entry.key}"
            if entry.take(self.run.path, self.name) is None:
                entry.keep(self.run.path, record, copy=False)
        elif device is not None and keep:
            entry = self.entry(device)
            record["stored"] = f"{entry.kind}/{entry.key}"
            # Before the record: without it the unit is taken from the store, and is the same.
            entry.keep(self.run.path, record)
        write_json(self.run.record_path(self.name), sealed(record))
        shutil.rmtree(self.run.states(self.name), ignore_errors=True)


def whole(run: Run, record: Mapping[str, Any], only: Sequence[str] | None = None) -> bool:
    """Return whether the files that a record names are what was recorded; it says so if not.

    Args:
        run: The run.
        record: Of a unit.
        only: Names of the files that are checked; None checks all.
    """
    for name, output in record["outputs"].items():
        path = run.path / name
        if (only is None or name in only) and not unchanged(path, output["sha256"]):
            log.warning("%s changed since it was made; it is made again.", path)
            return False
    return True


_SEEN: dict[tuple[str, int, int, int], str] = {}
"""Digests of files that this process has read, by path, inode, size and time."""


def unchanged(path: Path, sha256: str) -> bool:
    """Return whether a file has the digest that was recorded of it."""
    try:
        at = _at(path)
        if at not in _SEEN:
            _SEEN[at] = file_sha256(path)
    except OSError:
        return False
    return _SEEN[at] == sha256


def remember(path: Path, sha256: str) -> None:
    """Take the digest of a file that this process has just written as read."""
    _SEEN[_at(path)] = sha256


def _at(path: Path) -> tuple[str, int, int, int]:
    stat = path.stat()
    return str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns


# What shapes the units of each stage


def shard(run: Run) -> Unit:
    """Return the unit of the tars and their index."""
    parts: dict[str, Any] = {"data": _read(run, "shard")}
    if run.added:
        parts["added"] = [addition.fingerprint for addition in added.additions(run)]
    return Unit(run, "shard", parts)


def canvas(run: Run) -> Unit:
    """Return the unit of the decoded images."""
    record = run.record("shard") if _dataset(run) else None
    # The order of the images is that of the index.
    index = record["outputs"]["shards/index.parquet"]["sha256"] if record else None
    return Unit(run, "canvas", {"data": _read(run, "canvas"), "index": index})


def plan(run: Run) -> Unit:
    """Return the unit of the plan."""
    return Unit(run, "plan", {"plan": run.resolved["plan"], "images": _dataset(run)})


def train(run: Run, encoder: str) -> Unit:
    """Return the unit of an encoder of the plan, which reads its own samples and no others.

    One that was trained elsewhere is made of its weights, its network, how it wants images, and the
    list of what it saw.
    """
    from curate.scores.plan import Plan

    if settings := adopted(run, encoder):
        parts = {
            "adopted": {key: settings[key] for key in ("weights", "backbone", "preprocessing")},
            "data": training(run)["data"],
            "samples": members(run).get(encoder),
        }
        return Unit(run, f"train/{encoder}", parts)
    repeat = Plan.repeat(encoder)
    parts = {
        **training(run, added.dataset_of(run, repeat)),
        "seed": randomness.seed_for(run.resolved["train"]["seed"], "train", repeat),
        "samples": members(run).get(encoder),
    }
    return Unit(run, f"train/{encoder}", parts)


def adopted(run: Run, encoder: str) -> dict[str, Any] | None:
    """Return the settings of an encoder that was trained elsewhere; None where it was not."""
    encoders = run.resolved["plan"].get("encoders", ())
    return next((dict(one) for one in encoders if one["name"] == encoder), None)


def trained_on(
    run: Run, name: str, uids: np.ndarray, *, seed: int, steps: int | None = None
) -> Unit:
    """Return the unit of a training on samples that no plan names: of a manifest, or of an arm.

    Args:
        run: Gives the settings.
        name: Name of the unit.
        uids: (n,) uids to train on.
        seed: Of initialisation, order and views.
        steps: Instead of the recipe's epochs; None for these.
    """
    samples = samples_digest(uids)
    parts = {**training(run), "seed": seed, "samples": samples, "steps": steps}
    # Encoders of the plan alone are trained side by side.
    parts["train"].pop("stack", None)
    return Unit(run, name, parts)


def samples_digest(uids: np.ndarray) -> str:
    """Return 32 hex digits of some samples, whatever their order."""
    whole = np.sort(np.asarray(uids, dtype=np.bytes_))
    return hashlib.sha256(b"\n".join(whole.tolist())).hexdigest()[:32]


def members(run: Run) -> dict[str, str]:
    """Return the digest of the samples of each encoder of the plan; empty without a plan."""
    record = run.done("plan")
    return dict(record["members"]) if record else {}


def training(run: Run, dataset: str | None = None) -> dict[str, Any]:
    """Return the settings that a training reads.

    Args:
        run: The run.
        dataset: Fingerprint of the dataset that it is drawn from; None for that of all images.
    """
    parts = training_settings(run.resolved)
    if parts["encoder"]["method"] == "supervised":
        parts["labels"] = dataset or _dataset(run)
    return parts


def align(run: Run, name: str, encoder: str, shard_sha256: str, *, more: bool) -> Unit:
    """Return the unit of the alignment of an encoder on the samples of a shard.

    Args:
        run: The run.
        name: Name of the unit.
        encoder: An encoder of the plan.
        shard_sha256: Digest of the shard.
        more: Whether the samples in doubt are measured, which get more views than the others.
    """
    parts = {
        **measuring(run),
        "encoder": train(run, encoder).key,
        "shard": shard_sha256,
        "samples": _planned(run, name),
        "more": views_digest(run) if more else None,
        "moment": _moment(name),
    }
    return Unit(run, name, parts)


def _planned(run: Run, name: str) -> str:
    """Return the digest of the plan's samples that came when those of a shard did."""
    record = run.done("plan") or {}
    which = added.generation(run, name.rpartition("/")[2].partition(".")[0])
    return str(record["samples"] if not which else record["added"][which - 1])


def _moment(name: str) -> str | None:
    """Return the snapshot that the name of a unit begins with; None for the end of a training."""
    return name.split("/")[1] if name.startswith("snapshots/") else None


def measuring(run: Run) -> dict[str, Any]:
    """Return the settings that a measurement of alignment reads."""
    recipe = run.resolved
    view_settings = recipe["views"]
    shown = {k: v for k, v in view_settings.items() if k not in ("train", "measure")}
    if view_settings["measure"] != "train":
        shown = views.spec(view_settings["measure"], {}).model_dump(mode="json")
    unread = ("batch_size", "calibrate", "covariates")
    score = {k: v for k, v in recipe["score"].items() if k not in unread}
    representation = recipe["encoder"]["representation"]
    return {"views": shown, "score": score, "representation": representation}


def views_digest(run: Run) -> str | None:
    """Return the digest of the table of the samples that get more views; None without one."""
    record = run.done("views")
    if record is None or record.get("views") != run.resolved["score"]["views"]:
        return None
    return str(record["outputs"]["views.parquet"]["sha256"])


def score(run: Run, place: str = "") -> Unit:
    """Return the unit of the scores.

    Args:
        run: The run.
        place: What names of a snapshot begin with; nothing for the end of the training.
    """
    parts = {
        **measuring(run),
        "calibrate": run.resolved["score"]["calibrate"],
        "covariates": list(run.recipe.score.covariates),
        "canvas": _read(run, "canvas"),
        "plan": plan(run).key,
        "encoders": {name: train(run, name).key for name in members(run)},
        "more": None if place else views_digest(run),
        "looks": run.looks(),
        "code": versions.code_of("score"),
    }
    return Unit(run, f"{place}score", parts | {"moment": _moment(place)})


def inspect(run: Run, space: str | None) -> Unit:
    """Return the unit of the inspection, in the space of an encoder with this digest."""
    parts = {
        "inspect": run.resolved["inspect"],
        "images": _dataset(run),
        "size": _read(run, "canvas"),
        "space": space,
        "scores": scores_digest(run),
        "code": versions.code_of("inspect"),
    }
    return Unit(run, "inspect", parts)


def scores_digest(run: Run) -> str | None:
    """Return the digest of the scores that a run has now; None where they are to be made."""
    record = score(run).done() if members(run) else None
    return str(record["outputs"]["scores.parquet"]["sha256"]) if record else None


def measure(run: Run, encoder: str, number: int, kinds: Sequence[str], device: str) -> Unit:
    """Return the unit of what some measures say by one encoder.

    Args:
        run: The run.
        encoder: An encoder of the plan.
        number: Its place there.
        kinds: Names of the measures.
        device: ``cpu`` or ``cuda``.
    """
    planned = run.done("plan") or {}
    parts = {
        "kinds": list(kinds),
        "encoder": train(run, encoder).key,
        "number": number,
        "samples": [planned.get("samples"), *planned.get("added", [])],
        "images": _dataset(run),
        "tests": run.facts().get("test_role"),
        "device": device,
        "code": versions.of_stage("measure"),
    }
    return Unit(run, f"measure/{encoder}", parts)


def _read(run: Run, stage: str) -> dict[str, Any]:
    """Return the settings of a section that a stage reads, by name."""
    dotted = [setting.partition(".") for setting in READ_BY[stage]]
    # Settings that came late are left out where they have their default (``Section.LATER``).
    sections = ((run.resolved[section], key) for section, _, key in dotted)
    return {key: section[key] for section, key in sections if key in section}


def _dataset(run: Run) -> str | None:
    """Return the fingerprint of the samples that the shards hold; None before they are written."""
    record = run.record("shard")
    if record is None or record["key"] != shard(run).key:
        return None
    fingerprint: str = record["fingerprint"]
    return fingerprint
