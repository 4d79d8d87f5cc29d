"""Late settings: what a changed recipe redoes of a run, and what it would train anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curate.runs import units
from curate.runtime.files import read_json
from curate.runtime.options import option
from curate.runtime.text import duration
from curate.runtime.versions import difference

if TYPE_CHECKING:
    from curate.runs.run import Run

RETRAINING = ("shard", "canvas", "plan", "train")
"""Stages whose settings train encoders anew."""
GROWS = "plan.repeats"
"""The setting of a plan that leaves the encoders of the repeats that stay what they are."""
VERBS = {
    "align": "measures",
    "score": "scores",
    "inspect": "inspects",
    "select": "selects",
    "compare": "compares",
}


@dataclass(frozen=True)
class Change:
    """How one recipe differs from another.

    Attributes:
        differences: One ``key: old -> new`` for each setting that shapes a result.
        stages: The stages that are redone, in their order.
        retrains: Whether encoders that are trained would be trained anew.
        more_encoders: Whether the plan has more repeats, or fewer.
    """

    differences: tuple[str, ...]
    stages: tuple[str, ...]
    retrains: bool
    more_encoders: bool


def change(old: Mapping[str, Any], new: Mapping[str, Any]) -> Change:
    """Return how a resolved recipe differs from another, and what that redoes."""
    lines = {line: line.partition(":")[0] for line in difference(old, new)}
    first = {line: units.stage_of(setting) for line, setting in lines.items()}
    if is_adopted(old) and is_adopted(new):
        first = {line: _of_adopted(lines[line], stage) for line, stage in first.items()}
    shaping = [line for line in lines if first[line] is not None]
    grows = any(lines[line] == GROWS for line in shaping)
    begun = {stage for line in shaping if (stage := first[line]) and lines[line] != GROWS}
    return Change(
        differences=tuple(shaping),
        stages=tuple(units.stages_after(begun | ({"plan"} if grows else set()))),
        retrains=bool(begun & set(RETRAINING)),
        more_encoders=grows,
    )


def is_adopted(resolved: Mapping[str, Any]) -> bool:
    """Return whether the encoders of a resolved recipe were trained elsewhere."""
    return bool(resolved["plan"]["kind"] == "adopted")


def _of_adopted(setting: str, stage: str | None) -> str | None:
    """Return the stage that reads a setting first where no encoder of the plan is trained."""
    if stage != "train":
        return stage
    return "align" if setting.startswith("views.") else "compare"


def refusal(run: Run, found: Change) -> str:
    """Return why a run does not take settings that train it anew, and what to do."""
    records = [read_json(path) for path in sorted((run.path / "records" / "train").glob("*.json"))]
    spent = sum(record.get("seconds", 0.0) for record in records)
    if is_adopted(run.resolved):
        return (
            f"run {run.path} has other settings: {'; '.join(found.differences)}. Its encoders were "
            f"adopted: type 'curate adopt' with another name, or use {option(retrain=True)} to "
            "measure them anew."
        )
    cost = (
        f" They would train {len(records)} encoders anew (about {duration(spent)})."
        if records
        else ""
    )
    return (
        f"run {run.path} was made with other settings: {'; '.join(found.differences)}.{cost} "
        f"Use {option(retrain=True)} to do that in place, {option(called='NEW')} to do it beside, "
        f"or {option(fresh=True)} to start over."
    )


def notice(run: Run, found: Change) -> str:
    """Return what settings that come late redo, and what stays."""
    records = list((run.path / "records" / "train").glob("*.json"))
    seconds = run.facts()["seconds"]
    redone = [stage for stage in found.stages if stage in VERBS]
    spent = sum(seconds.get(stage, 0.0) for stage in redone if stage != "compare")
    if is_adopted(run.resolved):
        trains = "trains no encoder of the plan"
    elif found.retrains:
        trains = f"trains {len(records)} encoders anew"
    elif found.more_encoders:
        trains = "trains the encoders that are new or missing, and keeps the others"
    else:
        trains = "trains no encoder of the plan"
    done = [
        f"{VERBS[s]} {f'{len(records)} encoders ' if s == 'align' else ''}again" for s in redone
    ]
    parts = ", ".join([*done[:1], trains, *done[1:]]) if done else trains
    about = f", about {duration(spent)}" if spent and not found.retrains else ""
    return f"run {run.path}: {'; '.join(found.differences)}: {parts}{about}."
