"""Recipes: strict, frozen, complete descriptions of a run, in YAML, every key overridable."""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from curate import methods, recipe_files, selectors, sources, views
from curate.errors import UsageError, unknown
from curate.runtime.settings import Count, Fraction, Positive, Section
from curate.views import ViewSpec

Precision = Literal["auto", "float32", "bfloat16"]
"""What encoders are computed in; ``auto``: bfloat16 on CUDA, float32 on CPU."""


NOT_SHAPING = ("description", "data.max_bad", "score.batch_size", "train.save_every")
"""Keys that change no artefact: a run goes on when they differ."""


class Data(Section):
    """Where the images come from and how they are brought to one canvas."""

    source: str
    """A SOURCE as in ``curate shard``, e.g. ``digits`` or ``folder:DIR``."""
    split: str = "train"
    extra: str | None = None
    """A held-out split whose samples no encoder sees (S_E)."""
    test: str | None = "auto"
    """Split that probes are tested on; ``auto``: ``test``, else ``validation``, if there is one."""
    limit: Positive | None = None
    """Use this many samples, chosen by a hash of their paths."""
    size: Positive = 32
    """Side of the square canvas in pixels."""
    channels: Literal[1, 3] = 3
    max_bad: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Largest share of images that may be rejected before the run stops."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How an image that is not square fills the canvas."""


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


PlanSection = Annotated[
    PairPlan | HalvesPlan | FoldsPlan | PartsPlan | SubsetsPlan, Field(discriminator="kind")
]
PLANS: dict[str, type[Section]] = {
    "pair": PairPlan,
    "halves": HalvesPlan,
    "folds": FoldsPlan,
    "parts": PartsPlan,
    "subsets": SubsetsPlan,
}
"""Sections by their ``kind``."""


EFFORTS: dict[str, dict[str, Any]] = {
    "quick": {"plan": {"kind": "parts", "parts": 4, "repeats": 3}, "score.views": 10},
    "standard": {"plan": {"kind": "parts", "parts": 4, "repeats": 12}, "score.views": 20},
    "thorough": {"plan": {"kind": "parts", "parts": 4, "repeats": 75}, "score.views": 40},
}
"""Plans by how much is to be spent on a ranking, as overrides of a recipe; each extends the one
before. What they give on digits is in docs/results.md."""


def effort(name: str) -> dict[str, Any]:
    """Return the overrides that a preset stands for, to be used as those of ``load``.

    Raises:
        UsageError: If there is no such preset.
    """
    if name not in EFFORTS:
        raise unknown("effort", name, EFFORTS)
    return copy.deepcopy(EFFORTS[name])


class Encoder(Section):
    """Backbone and method; a method's own settings stand beside them."""

    model_config = ConfigDict(extra="allow", frozen=True)

    backbone: str
    method: str
    representation: Literal["full", "pooled"] = "full"
    patch: Positive | None = None
    """Patch side in pixels (ViT only)."""

    @field_validator("method")
    @classmethod
    def _known_method(cls, name: str) -> str:
        if name not in methods.METHODS:
            raise unknown("method", name, methods.METHODS)
        return name

    @property
    def settings(self) -> dict[str, Any]:
        """The method's own settings, as written in the recipe."""
        return dict(self.model_extra or {})


class Privacy(Section):
    """DP-SGD (Abadi et al. 2016), for methods whose loss is a mean over samples."""

    epsilon: Annotated[float, Field(gt=0)] | None = None
    """What the whole training may spend, lower = more private; the noise follows from it."""
    noise: Annotated[float, Field(ge=0)] | None = None
    """Noise multiplier, from which epsilon follows; 0 clips alone."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """Probability with which epsilon may be exceeded; below 1 / samples."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """L2 norm that the gradient of a sample is clipped to."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Privacy:
        if (self.epsilon is None) == (self.noise is None):
            raise ValueError("give exactly one of epsilon and noise")
        return self


class Train(Section):
    """The schedule of one encoder."""

    epochs: Positive = 200
    warmup_epochs: Count = 20
    batch_size: Positive = 256
    optimizer: Literal["adamw", "lars", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate, for the batch size given (no hidden scaling)."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest gradient norm; null clips nothing."""
    dp: Privacy | None = None
    """Differential privacy; null trains without."""
    alignment_lambda: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Lambda of Eq. 3 of arXiv 2401.12233: how strongly equal representations are held apart."""
    snapshots: Positive | None = None
    """Keep the encoder after every so many epochs as well, to score memorization over training."""
    seed: int = 0
    precision: Precision = "auto"
    """``auto``: as everywhere, but float32 with ``dp``."""
    threads: Positive = 4
    """CPU threads of one training. Part of the recipe, since sums depend on it in the last bit."""
    save_every: Annotated[float, Field(ge=0)] = 300.0
    """Seconds between stored states, from which an interrupted training goes on; 0: every step."""

    @model_validator(mode="after")
    def _private_alone(self) -> Train:
        if self.dp is not None and self.clip_norm is not None:
            raise ValueError("leave out clip_norm, since dp.clip clips what each sample adds")
        if self.dp is not None and self.precision == "bfloat16":
            raise ValueError("dp trains in float32; set precision to auto or float32")
        return self


class Views(Section):
    """Random views to train and to measure with; a view set's own settings stand beside them."""

    model_config = ConfigDict(extra="allow", frozen=True)

    train: str
    measure: str = "train"
    """``train``, or the name of a view set."""

    @field_validator("train", "measure")
    @classmethod
    def _known_views(cls, name: str) -> str:
        if name != "train" and name not in views.VIEWS:
            raise unknown("view set", name, views.VIEWS)
        return name

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that replace those of the named training view set."""
        return dict(self.model_extra or {})


class Score(Section):
    """How alignment is measured and turned into memorization."""

    views: Annotated[int, Field(ge=1)] = 10
    pairing: Literal["anchored", "all"] = "anchored"
    distance: Literal["l2", "cosine", "angular"] = "l2"
    calibrate: bool = True
    seed: int = 0
    batch_size: Positive = 256
    """Images encoded at a time; scores do not depend on it."""
    precision: Precision = "auto"
    """Of the encoders; distances are float32 in any case."""

    @model_validator(mode="after")
    def _enough_views(self) -> Score:
        if self.pairing == "all" and self.views < 2:
            raise ValueError("pairing 'all' needs at least 2 views")
        return self


class Inspect(Section):
    """Neighbours in the space of one encoder, and near-duplicates in pixels."""

    neighbours: Positive = 10
    duplicate_threshold: Annotated[float, Field(gt=-1, le=1)] = 0.95
    """Correlation of aligned pixels from which two samples may be near-duplicates."""
    encoder: str | None = None
    """Whose space is used: an encoder of the plan (null takes its first), ``timm:NAME``, the folder
    of a saved encoder, or embeddings in a ``.npy`` or ``.parquet`` file."""


class Select(Section):
    """The selection that ``curate run`` makes."""

    strategy: str = "top"
    count: Positive | None = None
    fraction: Fraction | None = None
    unscored: Literal["keep", "drop"] | None = None
    seed: int = 0

    @field_validator("strategy")
    @classmethod
    def _known_strategy(cls, name: str) -> str:
        if name not in selectors.SELECTORS:
            raise unknown("strategy", name, selectors.SELECTORS)
        return name

    @model_validator(mode="after")
    def _one_size(self) -> Select:
        if (self.count is None) == (self.fraction is None):
            raise ValueError("give exactly one of count and fraction")
        return self


class Compare(Section):
    """Retraining on selections of equal size; ``remove`` empty skips it."""

    remove: tuple[Positive, ...] = ()
    strategies: tuple[str, ...] = ("top", "random")
    seeds: Positive = 2
    budget: Literal["epochs", "steps"] = "epochs"

    @field_validator("strategies")
    @classmethod
    def _known_strategies(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in selectors.SELECTORS:
                raise unknown("strategy", name, selectors.SELECTORS)
        return names


class Probe(Section):
    """Downstream measurements of an encoder."""

    sources: tuple[str, ...] = ("self",)
    """``self`` (the run's own labels) or any SOURCE."""
    kinds: tuple[Literal["linear", "knn"], ...] = ("linear", "knn")


class Recipe(Section):
    """A whole run. ``fingerprint()`` names everything that shapes its artefacts."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    data: Data
    plan: PlanSection
    encoder: Encoder
    train: Train
    views: Views
    score: Score = Score()
    inspect: Inspect = Inspect()
    select: Select = Select(fraction=0.75)
    compare: Compare = Compare()
    probe: Probe = Probe()

    @model_validator(mode="after")
    def _warmup_fits(self) -> Recipe:
        if self.train.warmup_epochs > self.train.epochs:
            raise ValueError("train.warmup_epochs exceeds train.epochs")
        return self

    @cached_property
    def method_config(self) -> Any:
        """The method's Config, with its defaults filled in (imports torch)."""
        return methods.config(self.encoder.method, self.encoder.settings)

    def measuring_views(self) -> ViewSpec:
        """Return the view set that scores are measured with."""
        chosen = self.views
        if chosen.measure == "train":
            return views.spec(chosen.train, chosen.settings)
        return views.spec(chosen.measure, {})

    def check(self) -> None:
        """Check what only the sources, backbones, methods and view sets know (imports torch).

        Raises:
            UsageError: For an unknown name or setting of theirs, or a value that does not fit.
        """
        from curate import backbone

        for source in (self.data.source, *self.probe.sources):
            kind = source.partition(":")[0]
            path = "/" in source or source.startswith(".") or Path(source).is_dir()
            if kind not in (*sources.SOURCES, "self") and not path:
                raise unknown("source", kind, sources.SOURCES)
        backbone.check(self.encoder.backbone, size=self.data.size, patch=self.encoder.patch)
        side = self.measuring_views().side
        if side not in (None, self.data.size):
            raise UsageError(
                f"views.side {side}: alignment compares views with the image itself, so that they "
                f"have the side of data.size, {self.data.size}; leave it out."
            )
        self.resolved()

    def resolved(self) -> dict[str, Any]:
        """Return the recipe as plain data, every default of it filled in."""
        out: dict[str, Any] = self.model_dump(mode="json")
        view_set = views.spec(self.views.train, self.views.settings)
        out["encoder"].update(self.method_config.model_dump(mode="json"))
        out["views"].update(view_set.model_dump(mode="json"))
        return out

    def fingerprint(self) -> str:
        """Return 16 hex digits that change with every key but those of ``NOT_SHAPING``."""
        text = json.dumps(
            without_neutral_keys(self.resolved()), sort_keys=True, separators=(",", ":")
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def without_neutral_keys(resolved: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a resolved recipe without the keys of ``NOT_SHAPING``."""
    return {
        key: without_neutral_keys(value, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in resolved.items()
        if f"{prefix}{key}" not in NOT_SHAPING
    }


def load(name: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe ``name`` (a name or a path) with ``{"section.key": value}`` replaced.

    Raises:
        UsageError: For an unknown recipe, key, or value; the nearest name is offered.
    """
    path = recipe_files.find(name)
    return build(recipe_files.composed(path), overrides or {}, where=str(path))


def build(content: Mapping[str, Any], overrides: Mapping[str, Any], *, where: str) -> Recipe:
    """Return the recipe made of plain ``content`` with overrides applied.

    Args:
        content: Sections as in a recipe file.
        overrides: ``{"section.key": value}``; a value that is a string is read as YAML.
        where: What an error message calls the content.

    Raises:
        UsageError: For an unknown key or a value that does not fit.
    """
    merged = copy.deepcopy(dict(content))
    for dotted, value in overrides.items():
        *sections, key = dotted.split(".")
        if not all([*sections, key]):
            raise UsageError(f"--set {dotted}: expected section.key=value.")
        node = merged
        for section in sections:
            if node.get(section) is None:
                node[section] = {}
            node = node[section]
            if not isinstance(node, dict):
                raise UsageError(f"--set {dotted}: {section!r} has no keys.")
        node[key] = _scalar(value) if isinstance(value, str) else value
    recipe = parse(merged, where=where)
    recipe.check()
    return recipe


def parse(content: Mapping[str, Any], *, where: str) -> Recipe:
    """Return the recipe made of plain ``content``; a method's own settings are taken as they are.

    Raises:
        UsageError: For an unknown key or a value that does not fit.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{where}: {_explain(error)}") from error


def _scalar(text: str) -> Any:
    """Read a command-line value as YAML, and ``2e-3`` as a number (YAML 1.1 wants ``2.0e-3``)."""
    if re.fullmatch(r"[-+]?[0-9.]+e[-+]?[0-9]+", text, re.IGNORECASE):
        return float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _explain(error: ValidationError) -> str:
    """Turn pydantic's first error into one line that names the key and the nearest valid one."""
    first = error.errors()[0]
    steps = [str(step) for step in first["loc"]]
    # pydantic names the kind of a plan as if it were a key.
    shown = [s for i, s in enumerate(steps) if not (i == 1 and steps[0] == "plan" and s in PLANS)]
    where = ".".join(shown)
    if first["type"] == "extra_forbidden":
        known = _keys_at(steps[:-1])
        near = difflib.get_close_matches(steps[-1], known, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"unknown key {where!r}.{hint} Known here: {', '.join(sorted(known))}."
    if first["type"] == "missing":
        return f"key {where!r} is missing."
    if first["type"].startswith("union_tag"):
        tag = first.get("ctx", {}).get("tag")
        if tag is None:
            return f"key 'plan.kind' is missing; it is one of {', '.join(PLANS)}."
        return str(unknown("plan.kind", tag, PLANS))
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    value = f" (got {given!r})" if not isinstance(given, dict) else ""
    return f"{where or 'recipe'}: {message}{value}."


def _keys_at(steps: list[str]) -> list[str]:
    """Return the valid keys of the section that ``steps`` lead to."""
    model: Any = Recipe
    for step in steps:
        if step in PLANS:
            model = PLANS[step]
        elif step in model.model_fields and step != "plan":
            annotation = model.model_fields[step].annotation
            # A section that may be left out is one of ``Section | None``.
            model = (get_args(annotation) or (annotation,))[0]
    return list(model.model_fields)
