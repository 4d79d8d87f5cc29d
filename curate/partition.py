"""Plans: build the inclusion matrix from a seed and the samples' ids, never from their order.

Samples with the same content always fall on the same side: a copy in the other encoder's training
set would hide a sample's memorization.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curate.errors import DataError
from curate.records.plan import Plan
from curate.runtime import randomness
from curate.scores.config import FoldsPlan, HalvesPlan, PairPlan, PartsPlan, SubsetsPlan

PlanConfig = PairPlan | HalvesPlan | FoldsPlan | PartsPlan | SubsetsPlan


def build_plan(
    config: PlanConfig,
    uids: Sequence[str] | np.ndarray,
    extra: Sequence[str] | np.ndarray = (),
) -> Plan:
    """Return the plan that ``config`` describes.

    Args:
        config: The recipe's ``plan`` section.
        uids: uids of the samples that encoders may be trained on, strings or bytes.
        extra: uids of a held-out split, seen by no encoder (S_E). One whose content is also among
            ``uids`` is left out: it would not be held out.

    Raises:
        DataError: If there are fewer samples than the plan needs.
    """
    own = np.sort(np.asarray(uids, dtype=np.bytes_))
    n = len(own)
    pieces = _pieces(config)
    need(n, max(2, pieces), f"{pieces} {config.kind}" if pieces else config.kind)
    drawn = [_draw(config, own, r, held_out=len(extra) > 0) for r in range(config.repeats)]
    group = drawn[0][0]
    inclusion = np.concatenate([columns for _, columns, _ in drawn], axis=1)
    names = [n if r == 0 else f"{n}-{r}" for r, (_, _, some) in enumerate(drawn) for n in some]
    for name, count in zip(names, inclusion.sum(axis=0), strict=True):
        if not count:
            raise DataError(
                f"plan {config.kind}: encoder {name} would be trained on no sample, since {n} "
                "samples with exact duplicates kept together do not fill it; give it more data."
            )
    held_out = _held_out(config, own, extra)
    all_uids = np.concatenate([own, held_out])
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


def _draw(
    config: PlanConfig,
    own: np.ndarray,
    repeat: int,
    *,
    held_out: bool,
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return group (N,), inclusion (N, encoders of one repeat) and their names.

    A pair's and halves' groups are the same in every repeat, since ``delta`` is between them. The
    others are drawn anew: which others a sample is trained with moves its score as well, and
    only then do repeats average over it and the standard errors see it.
    """
    n = len(own)
    if isinstance(config, PairPlan):
        return _pair(config, n, *_shuffled(own, config.seed, "plan"), held_out=held_out)
    if isinstance(config, HalvesPlan):
        part = _parts([n // 2], *_shuffled(own, config.seed, "plan"), n)
        group = np.array(["f", "g"])[part]
        return group, np.stack([part == 0, part == 1], axis=1), ["f", "g"]
    again = (repeat,) if repeat else ()
    if isinstance(config, FoldsPlan | PartsPlan):
        pieces = _pieces(config)
        bounds = [n * j // pieces for j in range(1, pieces)]
        part = _parts(bounds, *_shuffled(own, config.seed, "plan", *again), n)
        group = np.array([str(j) for j in range(pieces)])[part]
        own_part = part[:, None] == np.arange(pieces)[None]
        if isinstance(config, PartsPlan):
            return group, own_part, [f"part{j}" for j in range(pieces)]
        return group, ~own_part, [f"fold{j}" for j in range(pieces)]
    size = max(1, round(n * config.fraction))
    columns = [
        _parts([size], *_shuffled(own, config.seed, "subset", j, *again), n) == 0
        for j in range(config.subsets)
    ]
    names = [f"subset{j}" for j in range(config.subsets)]
    return np.full(n, "-"), np.stack(columns, axis=1), names


def _pieces(config: PlanConfig) -> int:
    """Return how many folds or parts a plan divides the samples into, 0 for other plans."""
    if isinstance(config, FoldsPlan):
        return config.folds
    return config.parts if isinstance(config, PartsPlan) else 0


def need(have: int, least: int, what: str) -> None:
    """Check that there are samples enough.

    Raises:
        DataError: If there are not.
    """
    if have < least:
        raise DataError(f"the plan ({what}) needs at least {least} samples; the data has {have}.")


def _shuffled(own: np.ndarray, seed: int, *purpose: str | int) -> tuple[np.ndarray, np.ndarray]:
    """Order groups of equal content by keyed hash.

    Returns:
        For each sample the position at which its group starts, and the same for sorting: both
        (N,), the second being the sample's group rank.
    """
    words = randomness.uid_words(own)
    unique, inverse, counts = np.unique(words, return_inverse=True, return_counts=True)
    order = np.argsort(randomness.hash64(randomness.stream(seed, *purpose), unique), kind="stable")
    starts = np.empty(len(unique), dtype=np.int64)
    starts[order] = np.concatenate([[0], np.cumsum(counts[order])[:-1]]) if len(unique) else []
    return starts, inverse


def _parts(bounds: list[int], starts: np.ndarray, inverse: np.ndarray, n: int) -> np.ndarray:
    """Return the part of each sample, (n,): group j of positions lies between two bounds."""
    return np.searchsorted(np.array(bounds), starts, side="right")[inverse].reshape(n)


def _pair(
    config: PairPlan, n: int, starts: np.ndarray, inverse: np.ndarray, *, held_out: bool
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    asked = [config.shared, config.candidates, config.independent]
    asked.append(0 if held_out else config.extra)
    sizes = [s if isinstance(s, int) else int(s * n + 1e-9) for s in asked]
    if sum(sizes) > n:
        raise DataError(
            f"the plan needs {sum(sizes)} samples (shared {sizes[0]}, candidates {sizes[1]}, "
            f"independent {sizes[2]}, extra {sizes[3]}); the data has {n}. Use smaller numbers "
            "(--set plan.shared=...) or fractions."
        )
    need(min(sizes[1:3]), 1, "pair: candidates and independent")
    part = _parts(list(np.cumsum(sizes)), starts, inverse, n)
    group = np.array(["S", "C", "I", "E", "-"])[part]
    inclusion = np.stack([(part == 0) | (part == 1), (part == 0) | (part == 2)], axis=1)
    return group, inclusion, ["f", "g"]


def _held_out(
    config: PlanConfig,
    own: np.ndarray,
    extra: Sequence[str] | np.ndarray,
) -> np.ndarray:
    """Return the held-out samples to measure: all, or as many as a pair's ``extra`` says."""
    if not len(extra):
        return np.array([], dtype=np.bytes_)
    held_out = np.sort(np.asarray(extra, dtype=np.bytes_))
    fresh = held_out[~np.isin(randomness.uid_words(held_out), randomness.uid_words(own))]
    if isinstance(config, PairPlan) and config.extra:
        asked = config.extra
        count = asked if isinstance(asked, int) else int(asked * len(own) + 1e-9)
        need(len(fresh), count, "pair: extra")
        hashes = randomness.hash64(
            randomness.stream(config.seed, "extra"), randomness.uid_words(fresh)
        )
        fresh = fresh[np.sort(np.argsort(hashes, kind="stable")[:count])]
    return fresh
