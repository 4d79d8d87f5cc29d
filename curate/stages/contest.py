"""The arms of a comparison: which samples each trains on, for every seed and size."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import DataError, UsageError
from curate.evaluation.arms import ALL, CONTROL, Wanted, wanted
from curate.evaluation.comparison import Comparison, Cost, cost_name
from curate.evaluation.config import CompareConfig
from curate.inspection.neighbours import unit
from curate.inspection.spaces import space_of
from curate.runs.ledger import ledger
from curate.runs.run import Run
from curate.runs.units import samples_digest
from curate.scores.plan import Plan
from curate.selection.columns import COLUMNS
from curate.selection.manifest import stored
from curate.selection.selection import labels_of
from curate.selection.strategies import STRATEGIES, choose
from curate.stages.choosing import Chooser, manifest_path


@dataclass(frozen=True)
class Field:
    """What a comparison chooses from.

    Attributes:
        everything: Uids of all that there is to train on, sorted.
        scored: The scores of those that have one, N rows sorted by uid.
        chooser: What else is known of these.
    """

    everything: np.ndarray
    scored: pa.Table
    chooser: Chooser

    @cached_property
    def uids(self) -> np.ndarray:
        """Return the (N,) uids of those that are scored."""
        return np.array(self.scored["uid"].to_pylist(), dtype=object)


@dataclass(frozen=True)
class Arm:
    """One arm with one seed.

    Attributes:
        name: Of the arm.
        remove: How many samples it removes; of ``all`` those of the arms that it stands beside.
        seed: Of the comparison.
        samples: (n,) uids that it is trained on.
    """

    name: str
    remove: int
    seed: int
    samples: np.ndarray


@dataclass(frozen=True)
class Contest:
    """All arms of a comparison.

    Attributes:
        field: What they choose from.
        wanted: The arms, each once.
        config: Sizes, seeds, space.
        numbers: By column, what else than scores is selected by, (N,) float64.
        manifests: By name, the samples of the field that a manifest keeps.
        rankings: By which scores (N,) each seed selects; those of seeds that rank anew take time,
            so that they come later than the rest.
    """

    field: Field
    wanted: tuple[Wanted, ...]
    config: CompareConfig
    numbers: dict[str, np.ndarray]
    manifests: dict[str, np.ndarray]
    rankings: tuple[np.ndarray, ...] = ()

    @classmethod
    def of(cls, field: Field, arms: Sequence[Wanted], config: CompareConfig) -> Contest:
        """Read what the arms go by but for rankings; measures that are missing are made.

        Raises:
            UsageError: If a manifest is not there, or leaves nothing to compare.
            DataError: If a sample lacks a number that an arm goes by.
            MismatchError: If a manifest is of another dataset.
        """
        every = (*arms, *(wanted(arm.like) for arm in arms if arm.like is not None))
        columns = {arm.by for arm in every if "scores" in arm.needs} - {"memorization"}
        numbers = {}
        for by in sorted(columns):
            numbers[by] = field.chooser.numbers(by)
            lacking = int(np.isnan(numbers[by]).sum())
            if lacking:
                raise DataError(
                    f"{lacking:,} of {len(numbers[by]):,} samples have no {by} to select by; "
                    "compare by another number."
                )
        manifests = {arm.name: _kept(field, arm) for arm in arms if arm.is_manifest}
        return cls(field, tuple(arms), config, numbers, manifests)

    def digests(self) -> dict[str, str]:
        """Return digests of what arms go by beside the scores, by name."""
        digests = {
            by: hashlib.sha256(values.tobytes()).hexdigest() for by, values in self.numbers.items()
        }
        digests |= {name: samples_digest(uids) for name, uids in self.manifests.items()}
        if self.config.space is not None:
            plan = Plan.read(self.field.chooser.run.path / "plan.parquet")
            inspect = self.field.chooser.run.recipe.inspect
            config = inspect.model_copy(update={"encoder": self.config.space})
            space = space_of(config, plan.encoders, key="space")
            digests["space"] = space.digest() or space.name
        if self.config.pool is not None:
            digests["pool"] = samples_digest(self.field.everything)
        return {f"of {name}": digest for name, digest in digests.items()}

    def arms(self) -> Iterator[Arm]:
        """Yield every arm of every seed: those of each size, and random ones of each manifest's."""
        field, everything = self.field, self.field.everything
        for seed in range(self.config.seeds):
            for remove in self._sizes():
                for arm in self._of_size(remove):
                    if arm.is_manifest:
                        samples = self.manifests[arm.name]
                    else:
                        # What the plan left unscored stays: only scores are compared.
                        gone = field.uids[~self._keep(arm, remove, seed)]
                        samples = np.setdiff1d(everything, gone)
                    yield Arm(arm.name, remove, seed, samples)

    def _removed(self, name: str) -> int:
        return len(self.field.everything) - len(self.manifests[name])

    def _sizes(self) -> list[int]:
        """Return how many are removed, also by manifests, each once."""
        return list(dict.fromkeys((*self.config.remove, *map(self._removed, self.manifests))))

    def _of_size(self, remove: int) -> list[Wanted]:
        """Return the arms that remove so many; where only a manifest does, it and random ones."""
        if remove in self.config.remove:
            return [a for a in self.wanted if not a.is_manifest or self._removed(a.name) == remove]
        manifests = [a for a in self.wanted if a.is_manifest and self._removed(a.name) == remove]
        return [*manifests, wanted(CONTROL)]

    def _keep(self, arm: Wanted, remove: int, seed: int) -> np.ndarray:
        """Return which of the scored samples an arm keeps, (N,) bool."""
        n = len(self.field.uids)
        if arm.name == ALL or arm.strategy is None:
            return np.ones(n, dtype=bool)
        like = None
        if arm.like is not None:
            like = self._keep(wanted(arm.like), remove, seed)
        return choose(
            arm.strategy,
            self.rankings[seed] if arm.by == "memorization" else self.numbers[arm.by],
            self._names,
            n - remove,
            seed,
            labels=labels_of(self.field.scored),
            points=self._points if "points" in STRATEGIES[arm.strategy].needs else None,
            like=like,
        )

    @cached_property
    def _names(self) -> pa.Array:
        return pa.array(self.field.uids, pa.string())

    @cached_property
    def _points(self) -> np.ndarray:
        return unit(self.field.chooser.space(self.config.space))


def _kept(field: Field, arm: Wanted) -> np.ndarray:
    """Return the uids of what a manifest keeps of the field, (n,).

    Raises:
        UsageError: If it keeps all or nothing, or there is no random selection of its size.
    """
    uids = pa.array(field.chooser.manifest(arm.name).kept(), pa.string())
    everything = pa.array(field.everything, pa.string())
    samples = everything.filter(pc.is_in(everything, value_set=uids))
    removed = len(everything) - len(samples)
    if not 0 < removed < field.scored.num_rows:
        raise UsageError(
            f"manifest {arm.name} drops {removed:,} of {len(everything):,} samples, "
            f"{field.scored.num_rows:,} of them scored: there is no random selection to compare "
            "it with."
        )
    return np.asarray(samples.to_numpy(zero_copy_only=False))


def costs(run: Run, arms: Sequence[Wanted], made: Comparison) -> dict[str, Cost]:
    """Return what each arm's selection took to make, by ``cost_name``, and when that has paid.

    A training on fewer samples for as many epochs saves time; one of as many steps saves none.
    """
    spent, run_ledger = run.facts()["seconds"], ledger(run)
    steps = made.settings["budget"] == "steps"
    by_name = {arm.name: arm for arm in arms}
    by_cost = {}
    for cell in made.arms:
        seconds = _seconds(
            run, by_name[cell.strategy], made.settings, run_ledger.scoring_seconds, spent
        )
        removed = 0 if cell.strategy == ALL or steps else cell.remove
        saved = removed * run_ledger.epochs * run_ledger.training_seconds_per_sample
        after = None
        if not seconds:
            after = 0
        elif saved > 0:
            after = math.ceil(seconds / saved)
        by_cost[cost_name(cell.strategy, cell.remove)] = Cost(seconds, after)
    return by_cost


def _seconds(
    run: Run, arm: Wanted, settings: Any, scoring: float, spent: dict[str, float]
) -> float:
    """Return what the scores, measures or encoder that an arm goes by took."""
    if arm.is_manifest:
        blind = stored(manifest_path(run, arm.name))[0]["strategy"] == CONTROL
        return 0.0 if blind else scoring
    likes = [arm, *([wanted(arm.like)] if arm.like is not None else [])]
    stages: dict[str, float] = {}
    for one in likes:
        table = COLUMNS.get(one.by) if "scores" in one.needs else None
        if table in ("scores", "measures"):
            stages["score"] = scoring
        if table == "measures":
            stages["measure"] = spent.get("measure", 0.0)
        if table == "inspect":
            stages["inspect"] = spent.get("inspect", 0.0)
        if "points" in one.needs or table == "inspect":
            encoders = Plan.read(run.path / "plan.parquet").encoders
            inspect = run.recipe.inspect
            encoder = settings["space"] or inspect.encoder
            space = space_of(inspect.model_copy(update={"encoder": encoder}), encoders)
            if space.kind == "plan" and "score" not in stages:
                record = run.record(f"train/{space.name}") or {}
                stages["encoder"] = record.get("seconds", 0.0)
    if "score" in stages:
        stages.pop("encoder", None)
    return sum(stages.values())
