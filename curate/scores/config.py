"""Settings of scores: which encoder sees what, and how alignment is measured."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from curate.encoders.config import Precision
from curate.runtime.settings import Count, Positive, Section


class PairPlan(Section):
    """f and g: S_S in both, S_C only in f, S_I only in g, S_E in neither."""

    kind: Literal["pair"]
    shared: Count | Annotated[float, Field(ge=0, lt=1)]
    candidates: Positive | Annotated[float, Field(gt=0, lt=1)]
    independent: Positive | Annotated[float, Field(gt=0, lt=1)]
    extra: Count | Annotated[float, Field(ge=0, lt=1)] = 0
    repeats: Positive = 1
    seed: int = 0


class HalvesPlan(Section):
    """f on one half, g on the other: every sample is a candidate."""

    kind: Literal["halves"]
    repeats: Positive = 1
    seed: int = 0


class FoldsPlan(Section):
    """Encoder j is trained on all but fold j: every sample is a candidate."""

    kind: Literal["folds"]
    folds: Annotated[int, Field(ge=2)] = 4
    repeats: Positive = 1
    seed: int = 0


class PartsPlan(Section):
    """Encoder j is trained on part j alone: a repeat costs one pass over the data an epoch.

    Encoders that saw few samples memorize more of each, and rank them as larger ones do
    (docs/results.md).
    """

    kind: Literal["parts"]
    parts: Annotated[int, Field(ge=2)] = 4
    repeats: Positive = 1
    seed: int = 0


class SubsetsPlan(Section):
    """Each encoder on its own random subset (Feldman & Zhang 2020)."""

    kind: Literal["subsets"]
    subsets: Annotated[int, Field(ge=2)] = 8
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.7
    repeats: Positive = 1
    seed: int = 0


class AdoptedEncoder(Section):
    """An encoder that was trained elsewhere: all that its key is made of."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.]{0,40}(-[1-9][0-9]{0,5})?$")]
    """Ends in ``-1``, ``-2``... where it belongs to another repeat than the first."""
    weights: str
    """sha256 of its file in the run."""
    backbone: str
    """``timm:NAME``, or a backbone of ours."""
    preprocessing: dict[str, Any]
    """Side, mean, deviation and interpolation, as ``Preprocessing`` reads them."""
    saw: str
    """sha256 of the list of what it was trained on."""


class AdoptedPlan(Section):
    """Encoders that were trained elsewhere (``curate adopt``): nothing is drawn, and none trained.

    Two are f and g of a pair, in their order; of more, names tell the repeats.
    """

    kind: Literal["adopted"]
    encoders: Annotated[tuple[AdoptedEncoder, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_of_each(self) -> AdoptedPlan:
        names = [encoder.name for encoder in self.encoders]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two encoders are called {name}")
            if name in ("uid", "group"):
                raise ValueError(f"no encoder can be called {name}")
        return self

    @property
    def repeats(self) -> int:
        """How many repeats the names tell of."""
        return len({encoder.name.partition("-")[2] for encoder in self.encoders})

    @property
    def seed(self) -> int:
        """Nothing is drawn."""
        return 0


PlanSection = Annotated[
    PairPlan | HalvesPlan | FoldsPlan | PartsPlan | SubsetsPlan | AdoptedPlan,
    Field(discriminator="kind"),
]
PLANS: dict[str, type[Section]] = {
    "pair": PairPlan,
    "halves": HalvesPlan,
    "folds": FoldsPlan,
    "parts": PartsPlan,
    "subsets": SubsetsPlan,
    "adopted": AdoptedPlan,
}
"""Sections by their ``kind``."""


Covariate = Literal[
    "alignment",
    "outlierness-pixels",
    "outlierness-encoders",
    "embedding",
    "pixels",
    "brightness",
    "contrast",
    "label",
]
"""What may foretell the memorization of a sample."""
OF_ENCODERS: tuple[Covariate, ...] = ("alignment", "outlierness-encoders", "embedding")
"""Those that encoders give, and that are therefore taken from others than the estimate."""
COVARIATES: tuple[Covariate, ...] = (
    "alignment",
    "outlierness-pixels",
    "outlierness-encoders",
    "embedding",
    "pixels",
    "brightness",
    "contrast",
)
"""The default: labels, which pretraining does not see, are taken where they are asked for."""


class ScoreConfig(Section):
    """How alignment is measured and turned into memorization."""

    LATER = ("centre", "covariates")

    views: Annotated[int, Field(ge=1)] = 10
    pairing: Literal["anchored", "all"] = "anchored"
    distance: Literal["l2", "cosine", "angular"] = "l2"
    centre: bool = False
    """Whether each encoder's mean representation is taken off before distances are measured."""
    calibrate: bool = True
    covariates: tuple[Covariate, ...] = COVARIATES
    """What ``expected`` is foretold by, fixed before scoring; none moves scores to their mean."""
    seed: int = 0
    batch_size: Positive = 256
    """Images encoded at a time; scores do not depend on it."""
    precision: Precision = "auto"
    """Of the encoders; distances are float32 in any case."""

    @model_validator(mode="after")
    def _enough_views(self) -> ScoreConfig:
        if self.pairing == "all" and self.views < 2:
            raise ValueError("pairing 'all' needs at least 2 views")
        return self
