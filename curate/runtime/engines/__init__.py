"""Engines: what does the units of a stage, here, on a Ray cluster or on Slurm; one idea a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from curate.errors import UsageError, unknown
from curate.runtime.engines import ray, slurm
from curate.runtime.engines.base import Engine
from curate.runtime.options import option
from curate.runtime.settings import Section, checked

LOCAL = "local"
"""Processes of this machine (``engines.local``), whose number a stage knows."""

Settings = TypeVar("Settings", bound=Section)


def engine_of(name: str, settings: Mapping[str, Any] | None = None) -> Engine | None:
    """Return the engine of a name; None for this machine's own processes.

    Args:
        name: ``local``, ``ray``, ``ray://HOST:PORT`` or ``slurm``.
        settings: Its own, by name: the fields of ``ray.Settings`` or of ``slurm.Settings``.

    Raises:
        UsageError: For another name, or for settings that it has not.
        ResourceError: If it needs a package that is not installed.
    """
    given = dict(settings or {})
    if name == LOCAL:
        if given:
            named = option(engine=name)
            raise UsageError(f"{named} has no {option(settings=...)}; ray and slurm have.")
        return None
    if name == "ray" or name.startswith(ray.SCHEME):
        address = None if name == "ray" else name
        return ray.Ray(address, _settings(ray.Settings, given))
    if name == "slurm":
        return slurm.Slurm(_settings(slurm.Settings, given))
    raise unknown("engine", name, (LOCAL, "ray", f"{ray.SCHEME}HOST:PORT", "slurm"))


def _settings(section: type[Settings], given: Mapping[str, Any]) -> Settings:
    """Return the settings of an engine.

    Raises:
        UsageError: If it has not one of them, or not such a value.
    """
    for key in given:
        if key not in section.model_fields:
            raise unknown(option(settings=...), key, section.model_fields)
    try:
        return checked(section, given)
    except UsageError as error:
        raise UsageError(f"{option(settings=...)} {error}") from error
