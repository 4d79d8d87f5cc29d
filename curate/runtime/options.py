"""What messages call an option: ``--label none`` for who types commands, else ``label='none'``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

FLAGS = {"called": "--name", "overrides": "--set", "settings": "--engine-set", "null": "-0"}
"""Parameters whose flag is not called as they are."""
TYPED = "CURATE_TYPED"
"""Variable of the environment that is set while a command runs; processes inherit it."""


def are_typed() -> bool:
    """Return whether a command is what runs, and not a program that imports curate."""
    return TYPED in os.environ


@contextlib.contextmanager
def typed(yes: bool = True) -> Iterator[None]:
    """Call options as they are typed while a block runs; with ``yes`` false as they are passed."""
    before = os.environ.pop(TYPED, None)
    if yes:
        os.environ[TYPED] = "1"
    try:
        yield
    finally:
        os.environ.pop(TYPED, None)
        if before is not None:
            os.environ[TYPED] = before


def option(*, quoted: bool = False, **given: Any) -> str:
    """Return how one or more options are given: with flags where they are typed, else by keyword.

    ``label="none"`` is ``--label none``, and ``fresh=True`` is ``--fresh``. ``label=...`` speaks of
    the option alone, ``--label`` or ``label``, and a list of a flag that is repeated. Settings of a
    recipe are ``overrides={"plan.repeats": 3}``, typed ``--set plan.repeats=3``.

    Args:
        quoted: Whether a value also stands in quotes where it is typed: patterns, which a shell
            would expand.
        given: What is given, by the names of a public function's parameters, or of the fields of
            what it takes.
    """
    if not are_typed():
        return ", ".join(
            name if value is ... else f"{name}={_passed(value)}" for name, value in given.items()
        )
    words: list[str] = []
    for name, value in given.items():
        flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
        for one in _each(value):
            alone = one is ... or one is True
            words += [flag] if alone else [flag, repr(one) if quoted else str(one)]
    return " ".join(words)


def _passed(value: Any) -> str:
    """Return a value as a program writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_passed(inner)}" for key, inner in value.items()) + "}"
    return "..." if value is ... else repr(value)


def _each(value: Any) -> list[Any]:
    """Return what is typed behind each of a flag's repetitions."""
    if isinstance(value, Mapping):
        return [key if inner is ... else f"{key}={_yaml(inner)}" for key, inner in value.items()]
    return value if isinstance(value, list) else [value]


def _yaml(value: Any) -> str:
    """Return a setting's value as YAML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(_yaml, value))}]" if isinstance(value, list) else str(value)
