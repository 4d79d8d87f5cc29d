"""Settings that a recipe is made of: strict, frozen sections, and the numbers in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curate.errors import UsageError, unknown
from curate.runtime.text import short

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """Base of the recipe's sections: unknown keys are errors, values never change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )


Settings = TypeVar("Settings", bound=Section)


def checked(section: type[Settings], settings: Mapping[str, Any]) -> Settings:
    """Return a section of settings that do not come from a recipe.

    Raises:
        UsageError: If a value does not fit; the message names it.
    """
    try:
        return section.model_validate(settings)
    except ValidationError as error:
        raise UsageError(plainly(error)) from error


def plainly(error: ValidationError) -> str:
    """Return what is wrong with the first value that does not fit, and where."""
    first = error.errors()[0]
    where = ".".join(step for step in first["loc"] if isinstance(step, str))
    what = first["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    value = first.get("input")
    if first["type"] == "literal_error":
        return str(unknown(where, str(value), re.findall(r"'([^']*)'", first["ctx"]["expected"])))
    value = "" if isinstance(value, Mapping) else f", not {short(value)}"
    return f"{where}: {what}{value}." if where else f"{what}{value}."
