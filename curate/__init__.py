"""curate ranks every image of a dataset by how strongly self-supervised encoders memorize it.

The names below are the whole public interface; importing the package imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate.api import (
        agree,
        bench,
        compare,
        doctor,
        export,
        forecast,
        inspect,
        ledger,
        load_encoder,
        load_recipe,
        localize,
        measure,
        open_run,
        probe,
        recipe_list,
        refine,
        report,
        retrain,
        run,
        score,
        select,
        select_table,
        shard,
        significant,
        train,
        verify,
        view,
    )

__all__ = [
    "agree",
    "bench",
    "compare",
    "doctor",
    "export",
    "forecast",
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
    "train",
    "verify",
    "view",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from curate import api

        return getattr(api, name)
    raise AttributeError(f"module 'curate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
