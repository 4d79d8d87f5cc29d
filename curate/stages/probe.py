"""Probe: fit linear and k-NN probes on the frozen features of an encoder and test them once."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.data import addresses, remote, shards, sources
from curate.data.canvas import build_canvas, open_canvas
from curate.encoders.backbone import Encoder, load_encoder
from curate.encoders.pretrained import TIMM, TIMM_RANDOM, Given, read_encoder
from curate.errors import UsageError, unknown
from curate.evaluation import probes
from curate.evaluation.config import ProbeConfig
from curate.evaluation.dense.base import DenseResult, DenseSet
from curate.evaluation.leaks import leaked
from curate.evaluation.probing import INDEXED, ProbeResult, ProbeSet, measure_probes, probe_set
from curate.runs import dataset, recipe
from curate.runs import run as run_directory
from curate.runs.opening import open_run
from curate.runs.run import Run
from curate.runtime import versions
from curate.runtime.files import read_json, sealed, write_json, write_table
from curate.runtime.options import option
from curate.runtime.progress import Progress, silent
from curate.runtime.results import Result, plain
from curate.runtime.settings import Section, checked
from curate.stages import shard
from curate.stages.context import Context
from curate.stages.dense import Shown, dense_set, place_of, probe_dense, settings_of, sums_table

log = logging.getLogger("curate")

SEARCHED = 100_000
"""Images of a probe set up to which copies are looked for unasked: minutes, and not hours."""

NAMED = 4
"""Names in a file that are told of those that are no part of an encoder."""


def slug(text: str) -> str:
    """Return ``text`` as a file name; texts that differ have names that differ."""
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.") or "x"
    return name if name == text else f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def probe_data(run: Run | None, name: str, context: Context, shown: Shown) -> ProbeSet:
    """Return the probe set of ``self`` or of a SOURCE, decoded at an encoder's size.

    Args:
        run: The run the encoder belongs to; None for an encoder on its own.
        name: ``self``, a SOURCE, or SOURCE=DIR.
        context: Where a SOURCE's data lies, and how to report.
        shown: How the encoder is shown images.

    Raises:
        DataError: If samples have no labels, or are too few.
        UsageError: If ``self`` is asked for without a run.
    """
    if name == "self":
        if run is None:
            raise UsageError("probe on 'self' needs an encoder inside a run; probe on a SOURCE.")
        images = shard.canvas(run, context)
        rows = dataset.index(run, INDEXED)
        return probe_set("self", images, rows, run.facts()["test_role"])
    set_name, (name, place) = name, placed_source(name)
    context = context if place is None else replace(context, data=place)
    provenance = {
        "source": name,
        "data": addresses.lasting(context.data) if context.data else None,
        "files": _files(name, context.data),
        "canvas": shown.canvas(),
    }
    folder = _kept(shown.home, name, provenance)
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
        build_canvas(folder / "shards", images_path, **shown.canvas(), progress=context.progress)
        write_json(ready, sealed({**provenance, "test_role": "test" if test else None}))
    rows = shards.Reader(folder / "shards").index(INDEXED)
    return probe_set(set_name, open_canvas(images_path, rows), rows, read_json(ready)["test_role"])


def dense_data(name: str, asked: ProbeConfig, context: Context, shown: Shown) -> DenseSet:
    """Return ``seg:DIR`` or ``depth:DIR`` at an encoder's size.

    Args:
        name: The source.
        asked: The settings of probes.
        context: How to report.
        shown: How the encoder is shown images.

    Raises:
        DataError: If something is missing, cannot be read, or has no size in common.
        ResourceError: If the decoders are not installed.
        UsageError: If there is no such folder.
    """
    config = settings_of(asked, name)
    kind_and_place = place_of(name)
    assert kind_and_place is not None
    provenance = {
        "source": kind_and_place[0],
        "data": str(kind_and_place[1].resolve()),
        "files": _files("", kind_and_place[1]),
        "canvas": shown.canvas(),
        "numbers": config.model_dump(mode="json", include={"void", "unit"}),
    }
    folder = _kept(shown.home, name, provenance)
    return dense_set(name, config, folder, provenance, shown, context.progress)


def _kept(home: Path, name: str, provenance: Mapping[str, Any]) -> Path:
    """Return the folder that keeps what was read of a source."""
    digest = hashlib.sha256(repr(sorted(provenance.items())).encode()).hexdigest()[:8]
    return home / f"{slug(name)}-{digest}"


def _files(name: str, data: Path | None) -> str | None:
    """Return a digest of the names, sizes and times of a source's files; None for one without."""
    if addresses.holds_address(name) or (data and remote.is_remote(data)):
        where = name if addresses.is_address(name) else name.partition(":")[2]
        return remote.digest_of(data or addresses.place(where))
    place = data or Path(name.partition(":")[2] or name)
    # Tars may be named by a pattern.
    places = [place] if place.exists() else sorted(place.parent.glob(place.name or "*"))
    if not places:
        return None
    digest = hashlib.sha256(str(place.resolve()).encode())
    for path in (p for root in places for p in [root, *sorted(root.rglob("*"))]):
        stat = path.lstat()  # a link may lead nowhere
        digest.update(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def placed_source(text: str) -> tuple[str, Path | None]:
    """Return the source of ``SOURCE=DIR`` and where it lies; of a SOURCE alone, None.

    Raises:
        UsageError: If there is no such folder.
    """
    name, sign, place = text.partition("=")
    if sign and addresses.is_address(place):
        return name, addresses.place(place)
    if not sign or addresses.holds_address(text) or Path(text.partition(":")[2] or text).exists():
        return text, None
    folder = Path(place).expanduser()
    if not name or not folder.exists():
        argument = option(on=[text])
        raise UsageError(f"{argument}: expected SOURCE=DIR; there is no folder {place!r}.")
    return name, folder


def probe_sets(
    run: Run, context: Context, sources: Sequence[str] | None = None
) -> list[ProbeSet | DenseSet]:
    """Return what a run's probes are fitted and tested on.

    Args:
        run: The run.
        context: Device, workers, progress, and where the run's own images lie.
        sources: ``self``, SOURCEs, SOURCE=DIR, ``seg:DIR`` or ``depth:DIR``; None takes the
            recipe's.

    Raises:
        DataError: If samples have no labels, or are too few.
        UsageError: If a source is not there.
    """
    names = list(dict.fromkeys(sources or run.recipe.probe.sources))
    # The context's data says where the run's own source lies, and nothing of another's.
    elsewhere = Context(context.device, context.workers, None, context.progress)
    return [
        _set(run, name, run.recipe.probe, context if name == "self" else elsewhere, Shown.of(run))
        for name in names
    ]


def _set(
    run: Run | None, name: str, config: ProbeConfig, context: Context, shown: Shown
) -> ProbeSet | DenseSet:
    """Return a source of any kind; of one with labels it is known what leaks."""
    if place_of(name) is not None:
        return dense_data(name, config, context, shown)
    return with_leaks(probe_data(run, name, context, shown), shown.home, context)


def with_leaks(data: ProbeSet, home: Path, context: Context) -> ProbeSet:
    """Return a probe set that knows which of its test samples leak, unless it is too large to look.

    Args:
        data: What probes are fitted and tested on.
        home: Folder that keeps what was found.
        context: Device and progress.
    """
    n = len(data.train) + len(data.test)
    if n > SEARCHED:
        log.info(
            "%s: %s images are not searched for leaks; 'curate copies' does", data.name, f"{n:,}"
        )
        return data
    digest, code = hashlib.sha256(), {"code": versions.code_of("inspect")}
    for part in (data.train, data.test):
        digest.update(hashlib.sha256(part.tobytes()).digest())
    digest.update(repr(data.canvas.array.shape).encode())
    path = home / f"leaks-{digest.hexdigest()[:12]}.parquet"
    stored = pq.read_table(path) if path.is_file() else None
    if stored is not None and (stored.schema.metadata or {}).get(b"code") == code["code"].encode():
        leaks = np.isin(data.test, np.array(stored["uid"].to_pylist(), dtype=data.test.dtype))
    else:
        leaks = leaked(
            data.canvas,
            data.train,
            data.test,
            device=context.resolved_device(),
            progress=context.progress,
        )
        uids = pa.table({"uid": pa.array(data.test[leaks]).cast(pa.string())})
        # Other code finds others, in whose place these go.
        write_table(path, uids.replace_schema_metadata(code))
    return replace(data, leaked=leaks)


class _Alone(Section):
    """The settings that an encoder of no run has."""

    probe: ProbeConfig = ProbeConfig()


def _without_run(encoder: str | Path, overrides: Mapping[str, Any]) -> ProbeConfig:
    """Return the settings of probes for an encoder of no run.

    Raises:
        UsageError: If others are replaced, which only a run has, or a value does not fit.
    """
    content: dict[str, Any] = {}
    recipe.replace(content, overrides)
    if content.keys() - {"probe"}:
        raise UsageError(
            f"{encoder} belongs to no run whose settings could be replaced; "
            f"{option(overrides=...)} takes those of probe alone."
        )
    return checked(_Alone, content).probe


@dataclass(frozen=True)
class Probed(Result):
    """Probes of an encoder.

    Attributes:
        encoder: Its folder.
        results: One a source and kind; of a dense source, one a measure.
        path: Where they are stored; None for an encoder outside a run.
    """

    encoder: Path
    results: tuple[ProbeResult | DenseResult, ...]
    path: Path | None


def probe(
    encoder: str | Path,
    *,
    backbone: str | None = None,
    given: Given | None = None,
    on: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Probed:
    """Fit linear and k-NN probes on an encoder's frozen features and test them once.

    On ``seg:DIR`` and ``depth:DIR`` it is a decoder that is trained, by default with the encoder,
    as ``probe.seg`` and ``probe.depth`` of the recipe say. Results go to ``probes/*.json`` of the
    run that the encoder belongs to, and sums by test image beside them (``*.parquet``).

    Args:
        encoder: An encoder's folder, ``timm:NAME``, or a file of weights.
        backbone: Network of a file of weights: ``timm:NAME``, or a backbone of ours.
        given: How such a network wants images, where that is not as it says itself.
        on: ``self`` (the labels of the encoder's run), SOURCEs, ``seg:DIR`` or ``depth:DIR``; None
            takes ``probe.sources`` of the run's recipe.
        kinds: ``linear`` or ``knn``; None takes ``probe.kinds`` of the run's recipe, or both.
        overrides: Late settings of the encoder's run, ``{"section.key": value}``; of an encoder
            without a run those of ``probe`` alone.
        data: Where a SOURCE's data lies on this machine.
        device: ``auto``, ``cpu``, ``cuda``, or cards: ``cuda:0-7``.
        progress: Progress callback.

    Raises:
        UsageError: For an unknown kind, or settings of an encoder that belongs to no run.
        DataError: If samples have no labels, or no masks or depths.
        DivergedError: If the training of a decoder diverged.
        ResourceError: If decoders are not installed.
        MismatchError: If settings would train the run's encoders anew.
    """
    elsewhere = str(encoder).startswith((TIMM, TIMM_RANDOM)) or Path(encoder).is_file()
    folder = Path(encoder)
    home = None if elsewhere else run_directory.enclosing(folder)
    run = open_run(str(home), overrides=overrides, create=False) if home else None
    probe_config = run.recipe.probe if run else _without_run(encoder, overrides or {})
    on, kind_names = tuple(on or probe_config.sources), tuple(kinds or probe_config.kinds)
    for kind in kind_names:
        if kind not in probes.PROBES:
            raise unknown("probe", kind, probes.PROBES)
    with contextlib.ExitStack() as during:
        if run:
            during.enter_context(run.lock())
        context = Context.of(None, data, device, 1, progress)
        device = context.resolved_device()
        if elsewhere:
            foreign, left_out = read_encoder(str(encoder), backbone, given=given or Given())
            network: Encoder = foreign.to(device)
            if left_out:
                log.info("left out of %s: %s", encoder, ", ".join(left_out[:NAMED]))
        elif not (folder / "config.json").is_file():
            raise UsageError(
                f"{folder} holds no encoder (weights.safetensors and config.json); give its "
                "folder, a file of weights, or timm:NAME."
            )
        else:
            encoder_folder = run.held_encoder(folder) if run else folder
            network = load_encoder(encoder_folder, device=device)
        if run:
            during.enter_context(run.timed("probe"))
            cache = run.path / "probes" / "data"
        else:
            cache = Path(during.enter_context(tempfile.TemporaryDirectory(prefix="curate-")))
        shown = Shown(cache, network.size, network.channels)
        if run:
            shown = replace(shown, fit=run.recipe.data.fit)
        sets = [_set(run, name, probe_config, context, shown) for name in dict.fromkeys(on)]
        results: list[ProbeResult | DenseResult] = []
        by_image: dict[str, pa.Table] = {}
        for data_set in sets:
            if isinstance(data_set, DenseSet):
                config = settings_of(probe_config, data_set.name)
                dense_results, sums = probe_dense(network, data_set, config, progress)
                results += dense_results
                by_image[data_set.name] = sums_table(data_set, sums)
            else:
                results += [
                    result
                    for result, _ in measure_probes(
                        network, data_set, kind_names, progress=progress
                    )
                ]
        if run is None or home is None:
            return Probed(folder, tuple(results), None)
        place = folder.resolve().relative_to(home)
        path = run.path / "probes" / f"{slug(str(place))}-on-{slug('-'.join(on))}.json"
        for source, table in by_image.items():
            write_table(path.with_name(f"{slug(str(place))}-on-{slug(source)}.parquet"), table)
        write_json(path, sealed({"encoder": str(place), "results": plain(results)}))
        return Probed(folder, tuple(results), path)
