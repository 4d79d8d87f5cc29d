"""YAML of others: plain data without aliases, and whatever is wrong with it as one error."""

from __future__ import annotations

from typing import Any

import yaml


class _Plain(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """YAML without aliases: a few lines of them stand for more than any memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read; write the value out")
        return super().compose_node(parent, index)


def read_yaml(text: str) -> Any:
    """Return YAML as plain data; values are of the kinds that JSON has.

    Raises:
        ValueError: If it is no YAML, has aliases, or is nested too deeply.
    """
    try:
        return yaml.load(text, Loader=_Plain)  # noqa: S506 (a safe loader)
    except MemoryError:
        raise
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except Exception as error:  # a foreign text makes PyYAML raise nearly anything
        raise ValueError(str(error) or type(error).__name__) from error
