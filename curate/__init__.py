"""curate ranks every image of a dataset by how strongly self-supervised encoders memorize it.

The names below are the whole public interface; importing the package imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate.encoders.backbone import load_encoder
    from curate.runs.fitting import init
    from curate.runs.ledger import ledger
    from curate.runs.opening import open_run
    from curate.runs.recipe import load_recipe
    from curate.runs.recipe_files import recipe_list
    from curate.runs.store import clean
    from curate.runs.verification import verify
    from curate.selection.selection import select_table
    from curate.stages.agree import agree
    from curate.stages.bench import bench
    from curate.stages.compare import compare
    from curate.stages.doctor import doctor
    from curate.stages.export import export
    from curate.stages.forecast import forecast
    from curate.stages.inspect import inspect
    from curate.stages.localize import localize
    from curate.stages.measure import measure
    from curate.stages.probe import probe
    from curate.stages.refine import refine
    from curate.stages.report import report
    from curate.stages.retrain import retrain
    from curate.stages.run import run
    from curate.stages.score import score
    from curate.stages.select import select
    from curate.stages.shard import shard
    from curate.stages.significant import significant
    from curate.stages.subset import subset
    from curate.stages.train import train
    from curate.stages.view import view

PLACES = {
    "add": "curate.stages.add",
    "agree": "curate.stages.agree",
    "bench": "curate.stages.bench",
    "clean": "curate.runs.store",
    "compare": "curate.stages.compare",
    "doctor": "curate.stages.doctor",
    "export": "curate.stages.export",
    "forecast": "curate.stages.forecast",
    "init": "curate.runs.fitting",
    "inspect": "curate.stages.inspect",
    "ledger": "curate.runs.ledger",
    "load_encoder": "curate.encoders.backbone",
    "load_recipe": "curate.runs.recipe",
    "localize": "curate.stages.localize",
    "measure": "curate.stages.measure",
    "open_run": "curate.runs.opening",
    "probe": "curate.stages.probe",
    "recipe_list": "curate.runs.recipe_files",
    "refine": "curate.stages.refine",
    "report": "curate.stages.report",
    "retrain": "curate.stages.retrain",
    "run": "curate.stages.run",
    "score": "curate.stages.score",
    "select": "curate.stages.select",
    "select_table": "curate.selection.selection",
    "shard": "curate.stages.shard",
    "significant": "curate.stages.significant",
    "subset": "curate.stages.subset",
    "train": "curate.stages.train",
    "verify": "curate.runs.verification",
    "view": "curate.stages.view",
}
"""The module of each public function, which is imported when the function is first named."""

__all__ = [
    "add",
    "agree",
    "bench",
    "clean",
    "compare",
    "doctor",
    "export",
    "forecast",
    "init",
    "inspect",
    "ledger",
    "load_encoder",
    "load_recipe",
    "localize",
    "measure",
    "open_run",
    "probe",
    "recipe_list",
    "refine",
    "report",
    "retrain",
    "run",
    "score",
    "select",
    "select_table",
    "shard",
    "significant",
    "subset",
    "train",
    "verify",
    "view",
]


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module 'curate' has no attribute {name!r}")
    return getattr(importlib.import_module(PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(PLACES)
