"""Settings of the look at neighbours and near-duplicates."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from curate.runtime.settings import Positive, Section


class InspectConfig(Section):
    """Neighbours in the space of one encoder, and near-duplicates in pixels."""

    LATER = ("backbone", "size", "prefix")

    neighbours: Positive = 10
    duplicate_threshold: Annotated[float, Field(gt=-1, le=1)] = 0.95
    """Correlation of aligned pixels from which two samples may be near-duplicates."""
    encoder: str | None = None
    """Whose space is used: an encoder of the plan (null takes its first), ``timm:NAME``,
    ``timm-random:NAME`` (the network untrained, for tests and controls), the folder
    of a saved encoder, a file of weights, or embeddings in a ``.npy`` or ``.parquet`` file."""
    backbone: str | None = None
    """Network of a file of weights: ``timm:NAME``, or one of ``encoder.backbone``."""
    size: Positive | None = None
    """Side of the images of ``timm:NAME`` or of a file of weights; null takes the network's."""
    prefix: str | None = None
    """What names of its weights begin with, where several sets of them fit."""
