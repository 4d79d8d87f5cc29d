"""Quantities: what the files of a run say for a figure of the paper, and what makes those files."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy import stats

from curate.data.chunks import one_chunk
from curate.errors import DataError
from curate.evaluation.comparison import Arm, Comparison
from curate.evaluation.measures import measure_of
from curate.reports.paper import Row
from curate.runs import units
from curate.runs.recipe import Recipe
from curate.runs.run import Run
from curate.runtime.files import read_json
from curate.scores.measures import column
from curate.scores.plan import Plan
from curate.scores.summary import ScoreSummary
from curate.selection.strategies import highest

POOL = "f"
"""The encoder whose images the paper removes from."""
ENCODER = f"encoders/{POOL}"
"""The encoder that the paper probes."""
FELDMAN = "feldman-softmax"
"""The measure by which the paper has Feldman's memorization."""
CANDIDATES = ("C", "-")
"""Groups of the samples that f alone was trained on, and of those of subsets."""
SEEDS = 3
"""Over how many the paper's means are."""


@dataclass(frozen=True)
class Quantity:
    """A number that the paper reports.

    Attributes:
        read: Returns ours of a run: a value for each seed that there is; none where it is missing.
        step: Returns the command that makes it of a scored run, given as users type it: the run,
            its path, its recipe and the rows that want it; None where scores are all it takes.
        digits: Behind the point.
        one_run: Whether one run has all seeds.
    """

    read: Callable[[Run, Row, int], Sequence[float]]
    step: Callable[[str, Path, Recipe, Sequence[Row]], str] | None = None
    digits: int = 3
    one_run: bool = False


def summary(run: Run) -> ScoreSummary | None:
    """Return what is said of a run's scores; None where they are missing or older than it is."""
    unit = units.score(run)
    record = run.record(unit.name)
    if record is None or not unit.same_but_code(record):
        return None
    try:
        return run.summary()
    except DataError:
        return None


def _sslmem(run: Run, row: Row, place: int) -> list[float]:
    scores = summary(run)
    return _known(scores.normalised_mean if scores else None)


def _group(run: Run, row: Row, place: int) -> list[float]:
    """Return a group's mean of g - f, in units of the range of the candidates' scores."""
    scores = summary(run)
    group, candidates = (scores.groups.get(g) if scores else None for g in (row.at["group"], "C"))
    if scores is None or not (group and candidates and group.mean and candidates.mean):
        return []
    return _known(scores.normalised_mean and group.mean * scores.normalised_mean / candidates.mean)


def _test(kind: str) -> Callable[[Run, Row, int], list[float]]:
    def read(run: Run, row: Row, place: int) -> list[float]:
        scores = summary(run)
        name = row.at["test"]
        test = next((t for t in scores.tests if t.name == name), None) if scores else None
        value = getattr(test, kind) if test else None
        # The paper's t grows with what the test is to show, also where that is a mean below 0.
        return _known(-value if value is not None and name == "I<0" else value)

    return read


def _share(run: Run, row: Row, place: int) -> list[float]:
    """Return which share of candidates has a score, over their range, above a threshold, in %."""
    if summary(run) is None:
        return []
    scores = candidates(run)
    span = float(np.ptp(scores)) if len(scores) else 0.0
    return [100 * float((scores / span > float(row.at["above"])).mean())] if span > 0 else []


def candidates(run: Run) -> np.ndarray:
    """Return the memorization of a run's candidates that have a score, (n,) float64."""
    table = run.scores(("memorization", "group"))
    scores: np.ndarray = table["memorization"].to_numpy()
    mine: np.ndarray = (table["group"].to_numpy() == "C") & ~np.isnan(scores)
    chosen: np.ndarray = scores[mine]
    return chosen


def _accuracy(run: Run, row: Row, place: int) -> list[float]:
    """Return the newest linear probe on the recipe's first source, in %."""
    if summary(run) is None:
        return []
    return _probed(run, _encoder(run.recipe, row))


def _encoder(recipe: Recipe, row: Row) -> str:
    """Return the place of the encoder that a row is of: f, or f at an epoch."""
    epoch = _epoch(recipe, row)
    return ENCODER if epoch in (None, recipe.train.epochs) else f"{ENCODER}/snapshots/{epoch:05d}"


def _epoch(recipe: Recipe, row: Row) -> int | None:
    """Return the epoch of a run at which as much of its training is done as at the paper's."""
    if "epoch" not in row.at:
        return None
    return round(int(row.at["epoch"]) * recipe.train.epochs / int(row.at["out_of"]))


def _is_kept(recipe: Recipe, row: Row) -> bool:
    """Return whether encoders are kept at the epoch that a row is of."""
    epoch = _epoch(recipe, row)
    every = recipe.train.snapshots or recipe.train.epochs
    return epoch is None or epoch == recipe.train.epochs or (epoch > 0 and epoch % every == 0)


def _probed(run: Run, encoder: str) -> list[float]:
    trained = run.record_path("train/f")
    trained_at = trained.stat().st_mtime_ns if trained.is_file() else 0
    paths = [p for p in (run.path / "probes").glob("*.json") if p.stat().st_mtime_ns >= trained_at]
    source = run.recipe.probe.sources[0]
    for path in sorted(paths, key=lambda p: p.stat().st_mtime_ns, reverse=True):
        content = read_json(path)
        if content.get("encoder") != encoder:
            continue
        for result in content["results"]:
            if (result["source"], result["kind"]) == (source, "linear"):
                return [100 * float(result["accuracy"])]
    return []


def _probe(run: str, path: Path, recipe: Recipe, rows: Sequence[Row]) -> str:
    places = dict.fromkeys(_encoder(recipe, row) for row in rows if _is_kept(recipe, row))
    on = shlex.quote(recipe.probe.sources[0])
    return "\n".join(
        f"curate probe {shlex.quote(str(path / place))} --on {on} --kind linear" for place in places
    )


def _along(key: str) -> Callable[[Run, Row, int], list[float]]:
    def read(run: Run, row: Row, place: int) -> list[float]:
        path = run.path / "snapshots.json"
        if summary(run) is None or not path.is_file():
            return []
        epoch = _epoch(run.recipe, row)
        along = read_json(run.held("snapshots", path.name))["epochs"]
        return _known(next((at[key] for at in along if at["epoch"] == epoch), None))

    return read


def _sslmem_at(run: Run, row: Row, place: int) -> list[float]:
    return (_along("normalised_mean") if "epoch" in row.at else _sslmem)(run, row, place)


def _measured(run: Run, name: str) -> Path | None:
    """Return a file of the run's measures; None where they are missing or of other scores."""
    record = run.record("measure")
    if record is None or record["parts"].get("scores") != units.scores_digest(run):
        return None
    return run.held("measure", name)


def _deja_vu(run: Run, row: Row, place: int) -> list[float]:
    path = _measured(run, "measures.json")
    mean = read_json(path)["measures"].get("deja-vu", {}).get("mean") if path else None
    return [] if mean is None else [100 * float(mean)]


def _in_tops(
    of: Callable[[np.ndarray, np.ndarray, int], float],
) -> Callable[[Run, Row, int], list[float]]:
    """Return what reads a number of the tops by SSLMem and by Feldman's measure.

    Args:
        of: (memorization (n,), Feldman's (n,), samples in a top) -> the number.
    """

    def read(run: Run, row: Row, place: int) -> list[float]:
        path = _measured(run, "measures.parquet") if summary(run) is not None else None
        if path is None or column(FELDMAN) not in pq.read_schema(path).names:
            return []
        scores = run.scores(("uid", "memorization", "group"))
        measured = pq.read_table(path, columns=["uid", column(FELDMAN)])
        at = pc.index_in(one_chunk(scores["uid"]), value_set=one_chunk(measured["uid"]))
        values = measured[column(FELDMAN)].take(at).to_numpy()
        group, memorization = scores["group"].to_numpy(), scores["memorization"].to_numpy()
        mine = np.isin(group, CANDIDATES) & np.isfinite(memorization) & np.isfinite(values)
        if mine.sum() < 2:
            return []
        n = max(2, round(int(row.at["top"]) * int(mine.sum()) / int(row.at["out_of"])))
        return [of(memorization[mine], values[mine], n)]

    return read


def _overlap(a: np.ndarray, b: np.ndarray, n: int) -> float:
    """Return which part of two tops is the same, in %; of equal numbers the first count."""
    return 100 * float((highest(a, None, n) & highest(b, None, n)).sum()) / n


def _tau_in_top(a: np.ndarray, b: np.ndarray, n: int) -> float:
    """Return how alike two numbers order the n that are highest by the first; 0 for equal ones."""
    top = highest(a, None, n)
    return float(np.nan_to_num(stats.kendalltau(a[top], b[top]).statistic))


def _measure(kind: str) -> Callable[[str, Path, Recipe, Sequence[Row]], str]:
    """Return what gives the command that computes a measure."""
    return lambda run, path, recipe, rows: f"curate measure {run} --kinds {kind}"


def _arm(run: Run, row: Row, place: int) -> list[float]:
    """Return the accuracies of a comparison's arm, a seed each, in %.

    Figures of an arm are in the order of the recipe's probes.
    """
    sources = run.recipe.probe.sources
    if place >= len(sources):
        return []
    return _of_arm(run, row, lambda arm: _probe_of(arm) == (sources[place], "linear"))


def _dense(kind: str) -> Callable[[Run, Row, int], list[float]]:
    """Return what reads a measure of segmentation or depth of a comparison's arm, a seed each.

    It is the measure on whatever data set of its kind the arm was probed on.
    """
    return lambda run, row, place: _of_arm(run, row, lambda arm: arm.kind == kind)


def _probe_of(arm: Arm) -> tuple[str, str]:
    return arm.source.partition("=")[0], arm.kind


def _of_arm(run: Run, row: Row, fits: Callable[[Arm], bool]) -> list[float]:
    """Return what an arm reached, as it is shown; of several comparisons, the one of most seeds."""
    best: list[float] = []
    if summary(run) is None:
        return best
    for folder in sorted((run.path / "comparisons").glob("*/comparison.json")):
        name = folder.parent.name
        record = run.record(f"compare/{name}")
        if record is None or record["parts"].get("scores") != units.scores_digest(run):
            continue
        run.held(f"compare/{name}", f"comparisons/{name}/comparison.json")
        comparison = Comparison.read(folder.parent)
        if comparison.settings.get("pool") != POOL:
            continue
        selection = (row.at["strategy"], _removed(row.at, comparison.scored))
        for one in comparison.arms:
            mine = (one.strategy, one.remove) == selection and fits(one)
            if mine and one.n > len(best):
                scale = measure_of(one.kind).scale
                best = [scale * value for value in one.by_seed.values()]
    return best


def _removed(at: Mapping[str, Any], pool: int) -> int:
    """Return how many of a pool are removed where the paper removes some of its own."""
    return max(1, round(int(at["remove"]) * pool / int(at["out_of"])))


def _compare(run: str, path: Path, recipe: Recipe, rows: Sequence[Row]) -> str:
    pool = int(rows[0].at["out_of"])
    if (path / "plan.parquet").is_file():
        pool = len(Plan.read(path / "plan.parquet").members(POOL))
    remove = sorted({_removed(row.at, pool) for row in rows})
    strategies = dict.fromkeys(row.at["strategy"] for row in rows)
    return (
        f"curate compare {run} --pool {POOL} --remove {','.join(map(str, remove))} "
        f"--strategies {','.join(strategies)} --seeds {SEEDS}"
    )


def _compare_on(source: str) -> Callable[[str, Path, Recipe, Sequence[Row]], str]:
    """Return what gives the command of a comparison that is probed on one source."""
    return lambda run, path, recipe, rows: f"{_compare(run, path, recipe, rows)} --on {source}"


def _known(value: float | None) -> list[float]:
    return [] if value is None else [float(value)]


OF_FELDMAN = _measure(FELDMAN)
ARM = Quantity(_arm, _compare, digits=1, one_run=True)
QUANTITIES: dict[str, Quantity] = {
    "SSLMem": Quantity(_sslmem_at),
    "linear accuracy (%)": Quantity(_accuracy, _probe, digits=1),
    "mean": Quantity(_group),
    "t": Quantity(_test("statistic"), digits=1),
    "p": Quantity(_test("p"), digits=2),
    "share (%)": Quantity(_share, digits=1),
    "loss": Quantity(_along("loss")),
    "Déjà Vu (%)": Quantity(_deja_vu, _measure("deja-vu"), digits=1),
    "overlap (%)": Quantity(_in_tops(_overlap), OF_FELDMAN, digits=1),
    "Kendall's tau in the top": Quantity(_in_tops(_tau_in_top), OF_FELDMAN),
    "mIoU": Quantity(_dense("mIoU"), _compare_on("seg:ade20k"), digits=1, one_run=True),
    "RMSE": Quantity(_dense("RMSE"), _compare_on("depth:nyuv2"), one_run=True),
    **{
        f"accuracy on {name} (%)": ARM
        for name in ("CIFAR10", "CIFAR100", "STL10", "ImageNet", "Food-101", "Flower102")
    },
}
"""What is read of one run, by what the paper calls it."""
TAU = "Kendall's tau"
"""The quantity that is of two runs."""
SETTINGS = {
    "epochs": "train.epochs",
    "warm-up epochs": "train.warmup_epochs",
    "batch": "train.batch_size",
    "optimizer": "train.optimizer",
    "learning rate": "train.lr",
}
"""Quantities that a recipe says, and which of its settings they are."""
