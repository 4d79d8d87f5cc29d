"""Results: what public functions return, frozen and typed, and their form as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa

from curate.errors import DataError
from curate.runtime.files import read_json


class Result:
    """Base of the dataclasses that public functions return.

    A field whose name is a word of Python's ends in ``_``, which its name in JSON does not.
    """

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON has them, in their order: what ``--json`` prints."""
        return {
            field.name.rstrip("_"): plain(getattr(self, field.name))
            for field in fields(self)  # type: ignore[arg-type]
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the result whose ``to_json`` a file holds; what is no field is passed over."""
        kinds = {name.rstrip("_"): (name, kind) for name, kind in get_type_hints(cls).items()}
        known = [(*kinds[key], value) for key, value in content.items() if key in kinds]
        return cls(**{name: _typed(kind, value) for name, kind, value in known})

    @classmethod
    def load(cls, file: Path, /, **more: Any) -> Self:
        """Return the result that a JSON file holds, with the fields that it does not have.

        Raises:
            DataError: If the file is missing, no JSON object, or lacks a field.
        """
        content = read_json(file)
        try:
            return cls.from_json({**content, **more})
        except (TypeError, AttributeError, ValueError) as error:
            raise DataError(f"{file} is not as curate wrote it; have it made again.") from error


def _typed(kind: Any, value: Any) -> Any:
    """Return a value of JSON as a field of this type has it."""
    if value is None or isinstance(value, Result):
        return value
    inner = get_args(kind)
    if get_origin(kind) is UnionType:
        return _typed(next(other for other in inner if other is not NoneType), value)
    if get_origin(kind) is tuple:
        return tuple(_typed(inner[0], item) for item in value)
    if get_origin(kind) is dict:
        return {key: _typed(inner[1], item) for key, item in value.items()}
    if isinstance(kind, type) and issubclass(kind, Result):
        return kind.from_json(value)
    return Path(value) if kind is Path else value


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
