"""Methods: self-supervised objectives, one a file; imported when used, since they need torch.

A method's module has a strict pydantic ``Config`` (its own settings) and a ``Method`` (an
``nn.Module``); ``methods.base`` says what is asked of the latter.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from curate.errors import UsageError, unknown

if TYPE_CHECKING:
    from curate.encoders.backbone import Encoder
    from curate.encoders.methods.base import Method

METHODS: dict[str, str] = {
    "barlow-twins": "curate.encoders.methods.barlow_twins",
    "dino": "curate.encoders.methods.dino",
    "mae": "curate.encoders.methods.mae",
    "simclr": "curate.encoders.methods.simclr",
    "simsiam": "curate.encoders.methods.simsiam",
    "supervised": "curate.encoders.methods.supervised",
    "vicreg": "curate.encoders.methods.vicreg",
}
"""Modules by name."""


def config(name: str, settings: Mapping[str, Any]) -> BaseModel:
    """Return a method's settings with its defaults filled in.

    Raises:
        UsageError: For an unknown method, an unknown setting, or a value that does not fit.
    """
    model = _module(name).Config
    for key in settings:
        if key not in model.model_fields:
            common = ["backbone", "method", "representation", "patch"]
            raise unknown(f"key of 'encoder' for {name}", key, [*model.model_fields, *common])
    try:
        config: BaseModel = model.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(step) for step in first["loc"])
        raise UsageError(f"encoder.{key}: {first['msg']} (got {first['input']!r}).") from error
    return config


def build(name: str, encoder: Encoder, settings: BaseModel, classes: int = 0) -> Method:
    """Return the method's module around ``encoder``, heads freshly initialised.

    Args:
        name: A key of ``METHODS``.
        encoder: What is to be trained.
        settings: The method's Config.
        classes: How many labels there are; 0 where the dataset has none.

    Raises:
        UsageError: If the method cannot train such a backbone.
    """
    method: Method = _module(name).build(encoder, settings, classes)
    return method


def _module(name: str) -> Any:
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return importlib.import_module(METHODS[name])
