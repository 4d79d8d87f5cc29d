"""Probe: fit linear and k-NN probes on the frozen features of an encoder and test them once."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.data import shards, sources
from curate.data.canvas import build_canvas, open_canvas
from curate.encoders.backbone import load_encoder
from curate.errors import UsageError, unknown
from curate.evaluation import probes
from curate.evaluation.probing import INDEXED, ProbeSet, measure_probes, probe_set
from curate.runs import dataset
from curate.runs import run as run_directory
from curate.runs.run import Run
from curate.runtime.files import read_json, write_json
from curate.runtime.progress import Progress, silent
from curate.stages import shard
from curate.stages.context import Context

if TYPE_CHECKING:
    from curate.encoders.backbone import Encoder


def slug(text: str) -> str:
    """Return ``text`` as a file name; texts that differ have names that differ."""
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.") or "x"
    return name if name == text else f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def probe_data(
    run: Run | None,
    name: str,
    context: Context,
    home: Path,
    *,
    size: int,
    channels: int,
) -> ProbeSet:
    """Return the probe set of ``self`` or of a SOURCE, decoded at an encoder's size.

    Args:
        run: The run the encoder belongs to; None for an encoder on its own.
        name: ``self`` or a SOURCE.
        context: Where a SOURCE's data lies, and how to report.
        home: Folder that keeps what was read of sources.
        size: Side of the encoder's images.
        channels: 1 or 3.

    Raises:
        DataError: If samples have no labels, or are too few.
        UsageError: If ``self`` is asked for without a run.
    """
    if name == "self":
        if run is None:
            raise UsageError("probe on 'self' needs an encoder inside a run; use --on SOURCE.")
        images = shard.canvas(run, context)
        rows = dataset.index(run, INDEXED)
        return probe_set("self", images, rows, run.facts()["test_role"])
    fit = run.recipe.data.fit if run else "crop"
    wanted = {
        "source": name,
        "data": str(context.data.resolve()) if context.data else None,
        "files": _files(name, context.data),
        "canvas": {"size": size, "channels": channels, "fit": fit},
    }
    digest = hashlib.sha256(repr(sorted(wanted.items())).encode()).hexdigest()[:8]
    folder = home / f"{slug(name)}-{digest}"
    ready, images_path = folder / "ready.json", folder / "canvas.npy"
    if not ready.is_file():
        # An interrupted reading is begun again.
        shutil.rmtree(folder, ignore_errors=True)
        source = sources.open_source(name, split="train", data=context.data)
        parts = [(source, "train")]
        test = shard.split_for_tests("auto", source.splits, "train")
        if test:
            parts.append((sources.open_source(name, split=test, data=context.data), "test"))
        shards.write(parts, folder / "shards", progress=context.progress)
        build_canvas(
            folder / "shards",
            images_path,
            size=size,
            channels=channels,
            fit=fit,
            progress=context.progress,
        )
        write_json(ready, {**wanted, "test_role": "test" if test else None})
    rows = shards.Reader(folder / "shards").index(INDEXED)
    return probe_set(name, open_canvas(images_path, rows), rows, read_json(ready)["test_role"])


def _files(name: str, data: Path | None) -> str | None:
    """Return a digest of the names, sizes and times of a source's files; None for one without."""
    place = data or Path(name.partition(":")[2] or name)
    if not place.exists():
        return None
    digest = hashlib.sha256(str(place.resolve()).encode())
    for path in [place, *sorted(place.rglob("*"))]:
        stat = path.stat()
        digest.update(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def probe_encoder(
    folder: Path,
    context: Context,
    *,
    on: Sequence[str],
    kinds: Sequence[str],
) -> dict[str, Any]:
    """Probe an encoder on sources; writes ``probes/*.json`` where it belongs to a run.

    Args:
        folder: The encoder's.
        context: Device, progress, and where the data of a SOURCE lies.
        on: ``self`` (the labels of the encoder's run) or SOURCEs.
        kinds: As in ``probes.PROBES``.
    """
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder} holds no encoder (weights.safetensors and config.json).")
    encoder = load_encoder(folder, device=context.resolved_device())
    home = run_directory.enclosing(folder)
    if home is None:
        with tempfile.TemporaryDirectory(prefix="curate-") as temporary:
            results = _probe(None, encoder, context, Path(temporary), on, kinds)
        return {"encoder": str(folder), "results": results, "path": None}
    run = Run.open(home)
    with run.timed("probe"):
        results = _probe(run, encoder, context, home / "probes" / "data", on, kinds)
    place = folder.resolve().relative_to(home)
    path = run.path / "probes" / f"{slug(str(place))}-on-{slug('-'.join(on))}.json"
    write_json(path, {"encoder": str(place), "results": results})
    return {"encoder": str(folder), "results": results, "path": str(path)}


def _probe(
    run: Run | None,
    encoder: Encoder,
    context: Context,
    home: Path,
    on: Sequence[str],
    kinds: Sequence[str],
) -> list[dict[str, Any]]:
    size, channels = encoder.size, encoder.channels
    sets = [probe_data(run, name, context, home, size=size, channels=channels) for name in on]
    return [
        r
        for data in sets
        for r in measure_probes(encoder, data, tuple(kinds), progress=context.progress)
    ]


def probe_sets(run: Run, context: Context) -> list[ProbeSet]:
    """Return what the recipe's probes are fitted and tested on.

    Raises:
        DataError: If samples have no labels, or are too few.
    """
    data, home = run.recipe.data, run.path / "probes" / "data"
    # --data says where the run's own source lies, and nothing of another's.
    elsewhere = Context(context.device, context.workers, None, context.progress)
    return [
        probe_data(
            run,
            name,
            context if name == "self" else elsewhere,
            home,
            size=data.size,
            channels=data.channels,
        )
        for name in run.recipe.probe.sources
    ]


def probe(
    encoder: str | Path,
    *,
    on: Sequence[str] = ("self",),
    kinds: Sequence[str] | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Fit linear and k-NN probes on an encoder's frozen features and test them once.

    Args:
        encoder: An encoder's folder.
        on: ``self`` (the labels of the encoder's run) or SOURCEs.
        kinds: ``linear`` or ``knn``; None takes both.
        data: Where a SOURCE's data lies on this machine.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Progress callback.

    Returns:
        ``encoder``, ``results`` (one a source and kind, accuracies in [0, 1]), and the ``path``
        they are stored at (None for an encoder outside a run).

    Raises:
        DataError: If samples have no labels.
    """
    chosen = tuple(kinds or probes.PROBES)
    for kind in chosen:
        if kind not in probes.PROBES:
            raise unknown("probe", kind, probes.PROBES)
    home = run_directory.enclosing(Path(encoder))
    with Run.open(home).lock() if home else contextlib.nullcontext():
        context = Context.of(None, data, device, 1, progress)
        return probe_encoder(Path(encoder), context, on=on, kinds=chosen)
