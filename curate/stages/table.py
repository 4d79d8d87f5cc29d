"""Table: the paper's tables and figures beside ours, and what makes that which is missing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from curate.errors import DataError
from curate.evaluation import agreement
from curate.evaluation.agreement import Ranking
from curate.reports.paper import PaperTable, Row, table_of
from curate.reports.quantities import QUANTITIES, SEEDS, SETTINGS, TAU, Quantity, summary
from curate.runs import matching
from curate.runs.matching import Match, Opened
from curate.runs.recipe import Recipe, load_recipe
from curate.runs.run import Run
from curate.runtime.results import Result

RUNS = Path("runs")
IMAGENET = "imagenet-100k"
"""The folder of ImageNet's images, which no recipe can name, unless another is given."""


@dataclass(frozen=True)
class Figure(Result):
    """A figure of the paper, and ours.

    Attributes:
        row: The row of the table.
        quantity: What it is, with its unit.
        paper: As the paper has it; None where it draws a curve.
        mean: Ours, over seeds; None where it is missing, or no number.
        sd: Its standard deviation; None for fewer than two seeds.
        seeds: How many there are of ours.
        runs: Names of the runs that ours is of.
        ours: The same in words.
        missing: Whether seeds are missing that the commands below the table make.
    """

    row: str
    quantity: str
    paper: str | None
    mean: float | None
    sd: float | None
    seeds: int
    runs: tuple[str, ...]
    ours: str
    missing: bool


@dataclass(frozen=True)
class SideBySide(Result):
    """A table or figure of arXiv 2401.12233 beside ours.

    Attributes:
        table: Its name.
        title: What it shows.
        figures: By row and quantity, in the paper's order.
        notes: What must be known to read them: of the paper, and how our runs differ from it.
        commands: What makes that which is missing, line by line.
    """

    table: str
    title: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]
    commands: tuple[str, ...]


def table(name: str, *, runs: str | Path = RUNS, imagenet: str | Path = IMAGENET) -> SideBySide:
    """Hold a table or figure of arXiv 2401.12233 against what runs gave.

    Runs are found by the settings that they were made with. Where none has just those of the
    paper's recipe, runs count that differ in size and length alone, and a note says in what.

    Args:
        name: ``1`` to ``17``, ``fig-2`` to ``fig-7``.
        runs: Folder that holds the runs.
        imagenet: Where commands look for ImageNet's images.

    Raises:
        UsageError: If there is no such table.
    """
    paper_table, folder = table_of(name), Path(runs)
    shown = _Shown(paper_table, folder, str(imagenet), matching.opened(folder))
    figures = tuple(
        shown.figure(row, quantity, place)
        for row in paper_table.rows
        for place, quantity in enumerate(row.figures)
    )
    notes = [paper_table.says] if paper_table.says else []
    notes += [text for group in shown.groups.values() if (text := group.note())]
    return SideBySide(
        name, paper_table.title, figures, tuple(notes), tuple(dict.fromkeys(shown.steps()))
    )


@dataclass
class _Group:
    """The runs that a recipe made, of equal settings; a seed each."""

    name: str
    recipe: Recipe
    matches: Sequence[Match]

    @cached_property
    def scored(self) -> list[Match]:
        return [match for match in self.matches if summary(match.run) is not None]

    def note(self) -> str | None:
        """Return in what these runs differ from their recipe."""
        if not self.scored or not self.scored[0].differences:
            return None
        differs = "; ".join(self.scored[0].differences)
        return f"Ours of {self.name} differs from that recipe: {differs}."


@dataclass
class _Shown:
    """What is being shown: a table, the runs that there are, and what was found missing."""

    table: PaperTable
    folder: Path
    imagenet: str
    there: Sequence[Opened]

    def __post_init__(self) -> None:
        self.groups: dict[str, _Group] = {}
        # What is wanted of a recipe beyond its scores: the rows, by quantity.
        self._missing: dict[str, dict[str, list[Row]]] = {}

    def figure(self, row: Row, quantity: str, place: int) -> Figure:
        """Return ours of one figure beside the paper's, and remember what is missing of it."""
        remark = self.table.remark(row, quantity)
        if remark is not None:
            return _said(row, quantity, remark)
        assert row.recipe is not None
        if quantity in SETTINGS:
            return _said(row, quantity, _settings(row, SETTINGS[quantity]))
        groups = [self._group(name, row) for name in (row.recipe, row.other) if name is not None]
        if quantity == TAU:
            values, of, digits, seeds = *_taus(*groups), 3, SEEDS
        else:
            definition = QUANTITIES[quantity]
            values, of = _values(definition, groups[0], row, place)
            digits, seeds = definition.digits, SEEDS
        missing = len(values) < seeds
        if missing:
            for group in groups:
                self._missing.setdefault(group.name, {}).setdefault(quantity, []).append(row)
        return _counted(row, quantity, values, of, digits, missing=missing)

    def _group(self, name: str, row: Row) -> _Group:
        """Return the runs of a row's recipe: its own, else those of fewest differences."""
        words = [name, *(f"{key}={value}" for key, value in row.overrides.items())]
        called = " --set ".join(words)
        if called not in self.groups:
            recipe = load_recipe(name, row.overrides)
            by_settings: dict[tuple[str, ...], list[Match]] = {}
            for match in matching.made_like(self.there, recipe, self.table.fixed):
                by_settings.setdefault(match.differences, []).append(match)
            groups = [_Group(called, recipe, matches) for matches in by_settings.values()]
            groups.sort(key=lambda g: (not g.scored, len(g.matches[0].differences), -len(g.scored)))
            self.groups[called] = groups[0] if groups else _Group(called, recipe, ())
        return self.groups[called]

    def steps(self) -> Iterator[str]:
        """Yield the commands that make what is missing."""
        run_names = {one.run.name for one in self.there}
        for called, rows_by_quantity in self._missing.items():
            group = self.groups[called]
            one_run = all(name != TAU and QUANTITIES[name].one_run for name in rows_by_quantity)
            places = [self._place(match.run.name) for match in group.matches]
            for match, (typed, path) in zip(group.matches, places, strict=True):
                if match not in group.scored:
                    yield f"curate score {typed}"
                yield from self._after(group, match.run, typed, path, rows_by_quantity)
            for seed in _seeds_lacking(group, 1 if one_run else SEEDS):
                name = _free(group, seed, run_names)
                run_names.add(name)
                yield self._making(group, seed, name, places[0][0] if places else None)
                yield from self._after(group, None, *self._place(name), rows_by_quantity)

    def _after(
        self,
        group: _Group,
        run: Run | None,
        typed: str,
        path: Path,
        rows_by_quantity: Mapping[str, Sequence[Row]],
    ) -> Iterator[str]:
        """Yield what is done with a scored run."""
        by_step: dict[object, list[Row]] = {}
        for name, rows in rows_by_quantity.items():
            definition = QUANTITIES.get(name)
            if definition is None or definition.step is None:
                continue
            lacking = [
                row
                for row in rows
                if run is None
                or len(definition.read(run, row, list(row.figures).index(name)))
                < (SEEDS if definition.one_run else 1)
            ]
            if lacking:
                by_step.setdefault(definition.step, []).extend(lacking)
        recipe = run.recipe if run is not None else group.recipe
        for step, rows in by_step.items():
            assert callable(step)
            text = step(typed, path, recipe, rows)
            yield from filter(None, text.split("\n"))

    def _place(self, name: str) -> tuple[str, Path]:
        """Return what a user types for a run of this folder, and its path."""
        path = self.folder / name
        return shlex.quote(name if self.folder == RUNS else str(path)), path

    def _making(self, group: _Group, seed: int, name: str, beside: str | None) -> str:
        """Return the command that makes and scores a run of a recipe, or like one that is there."""
        origin, *settings = group.name.split(" --set ")
        words = ["--runs", str(self.folder)] if self.folder != RUNS else []
        if beside is None:
            words += [word for setting in settings for word in ("--set", setting)]
            if group.recipe.data.source == "folder":
                words += ["--data", self.imagenet]
        if seed or beside is not None:
            words += ["--seed", str(seed)]
        if name != (beside or origin):
            words += ["--name", name]
        return " ".join(["curate score", beside or origin, shlex.join(words)]).rstrip()


def _said(row: Row, quantity: str, ours: str) -> Figure:
    return Figure(row.row, quantity, row.figures[quantity], None, None, 0, (), ours, missing=False)


def _counted(
    row: Row,
    quantity: str,
    values: Sequence[float],
    of: Sequence[str],
    digits: int,
    *,
    missing: bool,
) -> Figure:
    mean = float(np.mean(values)) if len(values) else None
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    ours = "missing"
    if mean is not None:
        spread = "" if sd is None else f" ± {sd:.{digits}f}"
        seeds = f"{len(values)} seed{'s' if len(values) > 1 else ''}"
        ours = f"{mean:.{digits}f}{spread} ({seeds})"
    return Figure(
        row.row, quantity, row.figures[quantity], mean, sd, len(values), tuple(of), ours, missing
    )


def _settings(row: Row, setting: str) -> str:
    """Return a setting of both recipes of a row as the paper writes it."""
    section, _, key = setting.partition(".")
    names = [name for name in (row.recipe, row.other) if name is not None]
    values = [getattr(getattr(load_recipe(name), section), key) for name in names]
    return "/".join(f"{v:g}" if isinstance(v, float) else str(v) for v in dict.fromkeys(values))


def _values(
    definition: Quantity, group: _Group, row: Row, place: int
) -> tuple[list[float], list[str]]:
    """Return a figure of every run of a group, and the names of those that have it."""
    values: list[float] = []
    of: list[str] = []
    for match in group.scored:
        if figures := definition.read(match.run, row, place):
            values += figures
            of.append(match.run.name)
    return values, of


def _taus(a: _Group, b: _Group) -> tuple[list[float], list[str]]:
    """Return how the candidates' ranks of two groups agree, a number for each plan of both."""
    values: list[float] = []
    of: list[str] = []
    for first in a.scored:
        for second in b.scored:
            settings = [(m.run.resolved["data"], m.run.resolved["plan"]) for m in (first, second)]
            if settings[0] != settings[1]:
                continue
            rankings = [_candidates(match.run) for match in (first, second)]
            try:
                values.append(agreement.agree(rankings).pairs[0].kendall.value)
            except DataError:
                # Too few candidates have a score of both, or all have the same.
                continue
            of += [first.run.name, second.run.name]
            break
    return values, of


def _candidates(run: Run) -> Ranking:
    scores = run.scores(("memorization", "group"))
    return Ranking(run.name, scores.filter(pc.equal(scores["group"], "C")))


def _seeds_lacking(group: _Group, count: int) -> list[int]:
    """Return seeds of runs that are to be made, so that there are as many as wanted."""
    there = {match.seeds for match in group.matches}
    free = (seed for seed in range(len(there) + count) if (seed,) * 3 not in there)
    return [next(free) for _ in range(count - len(there))]


def _free(group: _Group, seed: int, run_names: set[str]) -> str:
    """Return a name that no run has."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", group.name.replace(" --set ", "-"))
    if group.matches:
        plain = re.sub(r"-seed-\d+$", "", group.matches[0].run.name)
    name = f"{plain}-seed-{seed}" if seed or group.matches else plain
    while name in run_names:
        name += "-again"
    return name
