"""Plan: which encoder is trained on which sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.data.sample import longest, packed
from curate.errors import DataError
from curate.runtime import randomness
from curate.runtime.files import on_disk
from curate.runtime.options import option
from curate.scores.config import FoldsPlan, HalvesPlan, PairPlan, PartsPlan, SubsetsPlan

BATCH = 2**13
"""Rows of a file that are written and read at a time: a reader holds a part of a row group."""


@dataclass(frozen=True)
class Plan:
    """The inclusion matrix of a run.

    Attributes:
        kind: ``pair``, ``halves``, ``folds``, ``parts`` or ``subsets``.
        uids: (N,) bytes, sorted uids, held-out extra samples included.
        group: (N,) str, ``S C I E`` for pairs, ``f``/``g`` for halves, the number of the fold or
            part, ``-`` for subsets; a held-out extra sample is ``E`` everywhere.
        encoders: Names of the E encoders, e.g. ``("f", "g")``.
        inclusion: (N, E) bool; ``inclusion[i, e]`` where encoder e was trained on sample i.
    """

    kind: str
    uids: np.ndarray
    group: np.ndarray
    encoders: tuple[str, ...]
    inclusion: np.ndarray

    def members(self, encoder: str) -> np.ndarray:
        """Return the uids that ``encoder`` is trained on, (n,) object, strings, sorted."""
        mine: np.ndarray = self.uids[self.inclusion[:, self.encoders.index(encoder)]]
        return mine.astype(np.str_).astype(object)

    @property
    def repeats(self) -> np.ndarray:
        """Which repeat of the plan each encoder belongs to, (E,) int64."""
        return np.array([self.repeat(name) for name in self.encoders], dtype=np.int64)

    def to_table(self) -> pa.Table:
        """Return the plan as a table: uid, group, one boolean column per encoder."""
        columns: dict[str, pa.Array] = {
            "uid": pa.array(self.uids).cast(pa.string()),
            "group": pa.array(self.group.astype(np.str_)),
        }
        for e, name in enumerate(self.encoders):
            columns[name] = pa.array(self.inclusion[:, e])
        return pa.table(columns).replace_schema_metadata({"curate.plan": self.kind})

    @classmethod
    def read(cls, path: Path, *, scratch: Path | None = None) -> Plan:
        """Read ``plan.parquet``.

        Args:
            path: The file.
            scratch: A folder to hold the arrays in; None holds them in memory.

        Raises:
            DataError: If the file is not a plan.
            ResourceError: If ``scratch`` has no room.
        """

        def empty(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
            return np.empty(shape, dtype) if scratch is None else on_disk(shape, dtype, scratch)

        try:
            return cls._read(path, empty)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            state = "damaged" if path.is_file() else "missing"
            raise DataError(f"{path} is {state}; make it again with 'curate train'.") from error

    @classmethod
    def _read(cls, path: Path, empty: Callable[[Any, Any], np.ndarray]) -> Plan:
        with pq.ParquetFile(path, buffer_size=2**16, pre_buffer=False) as file:
            metadata = file.schema_arrow.metadata or {}
            if b"curate.plan" not in metadata:
                raise DataError(f"{path} is not a plan; make it again with 'curate train'.")
            encoders = tuple(n for n in file.schema_arrow.names if n not in ("uid", "group"))
            n = file.metadata.num_rows
            inclusion = empty((n, len(encoders)), bool)
            for e, name in enumerate(encoders):
                for rows, batch in _batches(file, name):
                    inclusion[rows, e] = batch.to_numpy(zero_copy_only=False)
            return cls(
                kind=metadata[b"curate.plan"].decode(),
                uids=_strings(file, "uid", "S", empty),
                group=_strings(file, "group", "U", empty),
                encoders=encoders,
                inclusion=inclusion,
            )

    @staticmethod
    def repeat(encoder: str) -> int:
        """Return which repeat of the plan an encoder belongs to: 0 for ``f``, 1 for ``f-1``."""
        return int(encoder.rpartition("-")[2]) if "-" in encoder else 0


def _batches(file: pq.ParquetFile, name: str) -> Iterator[tuple[slice, pa.Array]]:
    """Yield a column a few rows at a time, and which they are."""
    start = 0
    for batch in file.iter_batches(BATCH, columns=[name], use_threads=False):
        yield slice(start, start + len(batch)), batch[name]
        start += len(batch)


def _strings(
    file: pq.ParquetFile, name: str, kind: str, empty: Callable[[int, str], np.ndarray]
) -> np.ndarray:
    """Return a column of ASCII strings, (N,) bytes or str, as ``kind`` is S or U."""
    width = max((longest(batch) for _, batch in _batches(file, name)), default=1)
    out = empty(file.metadata.num_rows, f"{kind}{width}")
    for rows, batch in _batches(file, name):
        out[rows] = packed(batch, width).astype(out.dtype)
    return out


ADDED = "added"
"""Group of a sample that came after every encoder was trained."""


@dataclass(frozen=True)
class Later:
    """Samples that came later.

    Attributes:
        uids: (n,) bytes or strings.
        first_repeat: The first repeat that may be trained on them.
    """

    uids: np.ndarray
    first_repeat: int


PlanConfig = PairPlan | HalvesPlan | FoldsPlan | PartsPlan | SubsetsPlan


def build_plan(
    config: PlanConfig,
    uids: Sequence[str] | np.ndarray,
    extra: Sequence[str] | np.ndarray = (),
    later: Sequence[Later] = (),
) -> Plan:
    """Return the plan that ``config`` describes.

    What came later changes no repeat before its first: those stay as they were drawn, and none of
    their encoders is trained on it. Repeats from then on are drawn from all samples; of a pair and
    of halves, whose groups stay, it is divided by itself.

    Args:
        config: The recipe's ``plan`` section.
        uids: uids of the samples that encoders may be trained on, strings or bytes.
        extra: uids of a held-out split, seen by no encoder (S_E). One whose content is also among
            ``uids`` is left out: it would not be held out.
        later: What was added, in its order; none of it has the content of a sample before.

    Raises:
        DataError: If there are fewer samples than the plan needs.
    """
    own_uids = np.sort(np.asarray(uids, dtype=np.bytes_))
    n = len(own_uids)
    pieces = _pieces(config)
    need(n, max(2, pieces), f"{pieces} {config.kind}" if pieces else config.kind)
    drawn = [_draw(config, own_uids, r, held_out=len(extra) > 0) for r in range(config.repeats)]
    group = drawn[0][0]
    inclusion = np.concatenate([columns for _, columns, _ in drawn], axis=1)
    names = [
        n if r == 0 else f"{n}-{r}" for r, (_, _, encoders) in enumerate(drawn) for n in encoders
    ]
    for name, count in zip(names, inclusion.sum(axis=0), strict=True):
        if not count:
            raise DataError(
                f"plan {config.kind}: encoder {name} would be trained on no sample, since {n} "
                "samples with exact duplicates kept together do not fill it; give it more data."
            )
    held_out = _held_out(config, own_uids, extra)
    for more in later:
        own_uids, group, inclusion = _with(config, own_uids, group, inclusion, more)
    all_uids = np.concatenate([own_uids, held_out])
    group = np.concatenate([group, np.full(len(held_out), "E")])
    nothing = np.zeros((len(held_out), len(names)), dtype=bool)
    inclusion = np.concatenate([inclusion, nothing])
    by_uid = np.argsort(all_uids, kind="stable")
    return Plan(
        kind=config.kind,
        uids=all_uids[by_uid],
        group=group[by_uid],
        encoders=tuple(names),
        inclusion=inclusion[by_uid],
    )


def _with(
    config: PlanConfig, own_uids: np.ndarray, group: np.ndarray, inclusion: np.ndarray, more: Later
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return uids (N,), group (N,) and inclusion (N, E) with what came later, sorted by uid."""
    new = np.sort(np.asarray(more.uids, dtype=np.bytes_))
    every = np.sort(np.concatenate([own_uids, new]))
    old_rows, new_rows = np.searchsorted(every, own_uids), np.searchsorted(every, new)
    groups = np.full(len(every), ADDED, dtype=np.promote_types(group.dtype, np.dtype("U5")))
    groups[old_rows] = group
    out = np.zeros((len(every), inclusion.shape[1]), dtype=bool)
    out[old_rows] = inclusion
    width = inclusion.shape[1] // config.repeats
    for repeat in range(more.first_repeat, config.repeats):
        here = slice(repeat * width, (repeat + 1) * width)
        if isinstance(config, PairPlan | HalvesPlan):
            theirs, seen = _apart(config, new, repeat, len(own_uids))
            out[new_rows, here] = seen
        else:
            drawn, out[:, here], _ = _draw(config, every, repeat, held_out=False)
            theirs = drawn[new_rows]
        if repeat == more.first_repeat:
            groups[new_rows] = theirs
    return every, groups, out


def _apart(
    config: PairPlan | HalvesPlan, new: np.ndarray, repeat: int, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return group and inclusion of what came later, divided as ``n`` were; "-" if too few."""
    if isinstance(config, PairPlan):
        sizes = {name: getattr(config, name) for name in ("shared", "candidates", "independent")}
        sizes["extra"] = config.extra
        shares = {k: v / n if isinstance(v, int) else v for k, v in sizes.items()}
        config = config.model_copy(update=shares)
        if min(int(shares[k] * len(new) + 1e-9) for k in ("candidates", "independent")) < 1:
            return np.full(len(new), "-"), np.zeros((len(new), 2), dtype=bool)
    group, inclusion, _ = _draw(config, new, repeat, held_out=False)
    return group, inclusion


def adopted_plan(names: Sequence[str], saw: np.ndarray, uids: np.ndarray, late: np.ndarray) -> Plan:
    """Return the plan of encoders that were trained elsewhere.

    Args:
        names: Of the E encoders. Two are f and g of a pair, and have its groups.
        saw: (N, E) bool, which of the samples each was trained on.
        uids: (N,) bytes, uids of the samples, held-out ones included.
        late: (N,) bool, which were added after that; no encoder was trained on them.
    """
    saw = saw & ~late[:, None]
    group = np.where(saw.any(axis=1), "-", "E")
    if len(names) == 2:
        group = np.array([["E", "I"], ["C", "S"]])[saw[:, 0].astype(int), saw[:, 1].astype(int)]
    group = np.where(late, ADDED, group)
    by_uid = np.argsort(uids, kind="stable")
    return Plan(
        kind="pair" if len(names) == 2 else "subsets",
        uids=uids[by_uid],
        group=group[by_uid],
        encoders=tuple(names),
        inclusion=saw[by_uid],
    )


def _draw(
    config: PlanConfig,
    own_uids: np.ndarray,
    repeat: int,
    *,
    held_out: bool,
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return group (N,), inclusion (N, encoders of one repeat) and their names.

    A pair's and halves' groups are the same in every repeat, since ``delta`` is between them. The
    others are drawn anew: which others a sample is trained with moves its score as well, and
    only then do repeats average over it and the standard errors see it.
    """
    n = len(own_uids)
    if isinstance(config, PairPlan):
        return _pair(config, n, *_shuffled(own_uids, config.seed, "plan"), held_out=held_out)
    if isinstance(config, HalvesPlan):
        part = _parts([n // 2], *_shuffled(own_uids, config.seed, "plan"), n)
        group = np.array(["f", "g"])[part]
        return group, np.stack([part == 0, part == 1], axis=1), ["f", "g"]
    again = (repeat,) if repeat else ()
    if isinstance(config, FoldsPlan | PartsPlan):
        pieces = _pieces(config)
        bounds = [n * j // pieces for j in range(1, pieces)]
        part = _parts(bounds, *_shuffled(own_uids, config.seed, "plan", *again), n)
        group = np.array([str(j) for j in range(pieces)])[part]
        own_part = part[:, None] == np.arange(pieces)[None]
        if isinstance(config, PartsPlan):
            return group, own_part, [f"part{j}" for j in range(pieces)]
        return group, ~own_part, [f"fold{j}" for j in range(pieces)]
    size = max(1, round(n * config.fraction))
    columns = [
        _parts([size], *_shuffled(own_uids, config.seed, "subset", j, *again), n) == 0
        for j in range(config.subsets)
    ]
    names = [f"subset{j}" for j in range(config.subsets)]
    return np.full(n, "-"), np.stack(columns, axis=1), names


def _pieces(config: PlanConfig) -> int:
    """Return how many folds or parts a plan divides the samples into, 0 for other plans."""
    if isinstance(config, FoldsPlan):
        return config.folds
    return config.parts if isinstance(config, PartsPlan) else 0


def need(have: int, least: int, plan: str) -> None:
    """Check that there are samples enough.

    Raises:
        DataError: If there are not.
    """
    if have < least:
        raise DataError(f"the plan ({plan}) needs at least {least} samples; the data has {have}.")


def _shuffled(
    own_uids: np.ndarray, seed: int, *purpose: str | int
) -> tuple[np.ndarray, np.ndarray]:
    """Order groups of equal content by keyed hash.

    Returns:
        For each sample the position at which its group starts, and the same for sorting: both
        (N,), the second being the sample's group rank.
    """
    keys = randomness.uid_keys(own_uids)
    unique, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    order = np.argsort(randomness.hash64(randomness.stream(seed, *purpose), unique), kind="stable")
    starts = np.empty(len(unique), dtype=np.int64)
    starts[order] = np.concatenate([[0], np.cumsum(counts[order])[:-1]]) if len(unique) else []
    return starts, inverse


def _parts(bounds: list[int], starts: np.ndarray, inverse: np.ndarray, n: int) -> np.ndarray:
    """Return the part of each sample, (n,): group j of positions lies between two bounds."""
    part: np.ndarray = np.searchsorted(np.array(bounds), starts, side="right")[inverse]
    return part.reshape(n)


def _pair(
    config: PairPlan, n: int, starts: np.ndarray, inverse: np.ndarray, *, held_out: bool
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    requested = [config.shared, config.candidates, config.independent]
    requested.append(0 if held_out else config.extra)
    sizes = [s if isinstance(s, int) else int(s * n + 1e-9) for s in requested]
    if sum(sizes) > n:
        raise DataError(
            f"the plan needs {sum(sizes)} samples (shared {sizes[0]}, candidates {sizes[1]}, "
            f"independent {sizes[2]}, extra {sizes[3]}); the data has {n}. Use smaller numbers "
            f"({option(overrides={'plan.shared': '...'})}) or fractions."
        )
    need(min(sizes[1:3]), 1, "pair: candidates and independent")
    part = _parts(list(np.cumsum(sizes)), starts, inverse, n)
    group = np.array(["S", "C", "I", "E", "-"])[part]
    inclusion = np.stack([(part == 0) | (part == 1), (part == 0) | (part == 2)], axis=1)
    return group, inclusion, ["f", "g"]


def _held_out(
    config: PlanConfig,
    own_uids: np.ndarray,
    extra: Sequence[str] | np.ndarray,
) -> np.ndarray:
    """Return the held-out samples to measure: all, or as many as a pair's ``extra`` says."""
    if not len(extra):
        return np.array([], dtype=np.bytes_)
    held_out = np.sort(np.asarray(extra, dtype=np.bytes_))
    fresh = held_out[~np.isin(randomness.uid_keys(held_out), randomness.uid_keys(own_uids))]
    if isinstance(config, PairPlan) and config.extra:
        requested = config.extra
        count = requested if isinstance(requested, int) else int(requested * len(own_uids) + 1e-9)
        need(len(fresh), count, "pair: extra")
        key = randomness.stream(config.seed, "extra")
        hashes = randomness.hash64(key, randomness.uid_keys(fresh))
        fresh = fresh[np.sort(np.argsort(hashes, kind="stable")[:count])]
    return fresh
