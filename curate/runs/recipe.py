"""Recipes: strict, frozen, complete descriptions of a run, in YAML, every key overridable."""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, get_args

from pydantic import Field, ValidationError, model_validator

from curate.data import sources
from curate.data.config import DataConfig
from curate.encoders import methods, views
from curate.encoders.config import EncoderConfig, TrainConfig, TrainingSpec, ViewsConfig
from curate.encoders.views import ViewSpec
from curate.errors import UsageError, unknown
from curate.evaluation.config import DENSE, CompareConfig, ProbeConfig
from curate.inspection.config import InspectConfig
from curate.runs import recipe_files
from curate.runtime.files import is_folder
from curate.runtime.options import option
from curate.runtime.settings import Section
from curate.runtime.text import short
from curate.runtime.yaml_text import read_yaml
from curate.scores.config import PLANS, PlanSection, ScoreConfig
from curate.selection.config import SelectConfig

NOT_SHAPING = ("description", "data.max_bad", "score.batch_size", "train.save_every")
"""Keys that change no artefact: a run goes on when they differ."""
SIZES = ("select.count", "select.fraction")
"""Two ways to say one thing: who replaces one takes the other back."""


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


class Recipe(Section):
    """A whole run. ``fingerprint()`` names everything that shapes its artefacts."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    data: DataConfig
    plan: PlanSection
    encoder: EncoderConfig
    train: TrainConfig
    views: ViewsConfig
    score: ScoreConfig = ScoreConfig()
    inspect: InspectConfig = InspectConfig()
    select: SelectConfig = SelectConfig(fraction=0.75)
    compare: CompareConfig = CompareConfig()
    probe: ProbeConfig = ProbeConfig()

    @model_validator(mode="after")
    def _warmup_fits(self) -> Recipe:
        if self.train.warmup_epochs > self.train.epochs:
            raise ValueError(
                f"train.warmup_epochs {self.train.warmup_epochs} exceeds train.epochs "
                f"{self.train.epochs}; set both"
            )
        return self

    @cached_property
    def method_config(self) -> Any:
        """The method's Config, with its defaults filled in (imports torch)."""
        return methods.config(self.encoder.method, self.encoder.settings)

    def training_spec(self) -> TrainingSpec:
        """Return what a training of this recipe does (imports torch)."""
        return TrainingSpec(
            size=self.data.size,
            channels=self.data.channels,
            encoder=self.encoder,
            method=self.method_config,
            train=self.train,
            views=views.spec(self.views.train, self.views.settings),
            fingerprint=digest(training_settings(self.resolved())),
        )

    def measuring_views(self) -> ViewSpec:
        """Return the view set that scores are measured with."""
        config = self.views
        if config.measure == "train":
            return views.spec(config.train, config.settings)
        return views.spec(config.measure, {})

    def check(self) -> None:
        """Check what only the sources, backbones, methods and view sets know (imports torch).

        Raises:
            UsageError: For an unknown name or setting of theirs, or a value that does not fit.
        """
        from curate.encoders import backbone

        # Those with a number for every pixel can be probed on alone.
        probed = (name for name in self.probe.sources if name.partition(":")[0] not in DENSE)
        for source in (self.data.source, *probed):
            kind = source.partition(":")[0]
            path = "/" in source or source.startswith(".") or is_folder(source)
            if kind not in (*sources.SOURCES, "self") and not path:
                more = () if source == self.data.source else DENSE
                raise unknown("source", kind, (*sources.SOURCES, *more))
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
        return digest(without_neutral_keys(self.resolved()))


def digest(settings: Mapping[str, Any], *, digits: int = 16) -> str:
    """Return hex digits of plain data, whatever the order of its keys."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def training_settings(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a resolved recipe that a training reads, by section."""
    unread = {
        "encoder": ("representation",),
        "train": ("save_every",),
        "views": ("train", "measure"),
    }
    sections = {
        section: {k: v for k, v in resolved[section].items() if k not in leave_out}
        for section, leave_out in unread.items()
    }
    shown = ("size", "channels", "fit", "interpolation")
    data = {key: resolved["data"][key] for key in shown if key in resolved["data"]}
    return {"data": data, **sections}


def without_neutral_keys(resolved: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a resolved recipe without the keys of ``NOT_SHAPING``."""
    return {
        key: without_neutral_keys(value, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in resolved.items()
        if f"{prefix}{key}" not in NOT_SHAPING
    }


def load_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
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
    for section in {dotted.partition(".")[0] for dotted in overrides}:
        # One value that is replaced leaves the others of a section that is not written what they
        # are where nothing is replaced.
        default = getattr(Recipe.model_fields.get(section), "default", None)
        if merged.get(section) is None and isinstance(default, Section):
            merged[section] = default.model_dump(exclude_unset=True)
    for one, other in (SIZES, SIZES[::-1]):
        if one in overrides and other not in overrides:
            section, _, key = other.partition(".")
            merged.get(section, {}).pop(key, None)
    replace(merged, overrides)
    recipe = parse(merged, where=where)
    recipe.check()
    return recipe


def replace(content: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Put values into plain content at their places, as ``build`` takes them.

    Raises:
        UsageError: If a place is none.
    """
    for dotted, value in overrides.items():
        *sections, key = dotted.split(".")
        if not all([*sections, key]):
            argument = option(overrides={short(dotted)[1:-1]: ...})
            raise UsageError(f"{argument}: expected section.key=value.")
        node = content
        for section in sections:
            if node.get(section) is None:
                node[section] = {}
            node = node[section]
            if not isinstance(node, dict):
                argument = option(overrides={dotted: ...})
                raise UsageError(f"{argument}: {section!r} has no keys.")
        node[key] = read_value(value) if isinstance(value, str) else copy.deepcopy(value)


def parse(content: Mapping[str, Any], *, where: str) -> Recipe:
    """Return the recipe made of plain ``content``; a method's own settings are taken as they are.

    Raises:
        UsageError: For an unknown key or a value that does not fit.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{where}: {_explain(error)}") from error


def read_value(text: str) -> Any:
    """Read a command-line value as YAML, and ``2e-3`` as a number (YAML 1.1 wants ``2.0e-3``)."""
    if re.fullmatch(r"[-+]?[0-9.]+e[-+]?[0-9]+", text, re.IGNORECASE):
        return float(text)
    try:
        return read_yaml(text)
    except ValueError:
        return text


def _explain(error: ValidationError) -> str:
    """Turn pydantic's first error into one line that names the key and the nearest valid one."""
    first = error.errors()[0]
    steps = [str(step) for step in first["loc"]]
    # pydantic names the kind of a plan as if it were a key.
    shown = [s for i, s in enumerate(steps) if not (i == 1 and steps[0] == "plan" and s in PLANS)]
    where = ".".join(shown)
    if first["type"] == "extra_forbidden":
        keys = _keys_at(steps[:-1])
        near = difflib.get_close_matches(steps[-1], keys, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"unknown key {where!r}.{hint} Known here: {', '.join(sorted(keys))}."
    if first["type"] == "missing":
        return f"key {where!r} is missing."
    if first["type"].startswith("union_tag"):
        tag = first.get("ctx", {}).get("tag")
        if tag is None:
            return f"key 'plan.kind' is missing; it is one of {', '.join(PLANS)}."
        return str(unknown("plan.kind", tag, PLANS))
    message = first["msg"].removeprefix("Value error, ")
    input_value = first.get("input")
    value = f" (got {short(input_value)})" if not isinstance(input_value, dict) else ""
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
