"""Results: what public functions return, frozen and typed, and their form as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa


class Result:
    """Base of the dataclasses that public functions return."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON has them, in their order: what ``--json`` prints."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]


def plain(value: Any) -> Any:
    """Return a value as JSON has it: paths as text, tuples as lists, tables as rows."""
    if isinstance(value, Result):
        return value.to_json()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, pa.Table):
        return value.to_pylist()
    return value
