"""Settings that a recipe is made of: strict, frozen sections, and the numbers in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

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
    LATER: ClassVar[tuple[str, ...]] = ()
    """Keys that came when runs had been made. Plain data leaves them out where they have their
    default, so that a recipe that does not set them keeps its fingerprint."""

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        for key in self.LATER:
            if getattr(self, key) == type(self).model_fields[key].default:
                content.pop(key, None)
        return content


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
