"""Options that several commands share, and what every command has: --json, --quiet, --debug."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from curate.cli.console import Display
from curate.errors import UsageError
from curate.runs import recipe
from curate.runs.late import is_adopted
from curate.runs.next_steps import Stand, next_steps
from curate.runtime.engines import LOCAL, engine_of
from curate.runtime.versions import versions
from curate.scores.verdict import RANKING

if TYPE_CHECKING:
    from curate.runs.run import Run
    from curate.runtime.engines.base import Engine
    from curate.scores.summary import ScoreSummary, Verdict

Name = Annotated[str, typer.Argument(help="A run, a recipe, or a path to a recipe.")]
RunName = Annotated[str | None, typer.Argument(metavar="RUN", help="A run; default: the newest.")]
Runs = Annotated[
    Path,
    typer.Option("--runs", metavar="DIR", envvar="CURATE_RUNS", help="Folder that holds the runs."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Replace a value of the recipe."),
]
DataPath = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="Where the source's images lie: a path on this machine, or an address (`s3://...`).",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", metavar="N", min=0, help="Seed of plan, training, scoring and selection."
    ),
]
Device = Annotated[
    str,
    typer.Option("--device", help="`auto`, `cpu`, `cuda`, or cards by number: `cuda:0-7`."),
]
Limit = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="Use N samples of each split.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", min=1, help="Trainings side by side; default: as many as fit."
    ),
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="What does units of work: `local` (this machine's processes), `ray`, "
        "`ray://HOST:PORT` or `slurm`.",
    ),
]
EngineSet = Annotated[
    list[str] | None,
    typer.Option(
        "--engine-set",
        metavar="KEY=VALUE",
        help="A setting of the engine, such as `partition=gpu` of Slurm or `gpus=0.5` of Ray.",
    ),
]
Effort = Annotated[
    str | None,
    typer.Option(
        "--effort",
        metavar="NAME",
        help="Replace the plan: `quick`, `standard` or `thorough` encoders for a surer ranking.",
    ),
]
Require = Annotated[
    str | None,
    typer.Option(
        "--require",
        metavar="GOAL",
        help="`reliability=X`: end with exit code 8 if the ranking is less reliable.",
    ),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Set an existing run aside and start over beside it.")
]

Called = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="Name of the run; default: the recipe's."),
]
Retrain = Annotated[
    bool,
    typer.Option("--retrain", help="Allow settings that train the run's encoders anew."),
]

Backbone = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        metavar="NAME",
        help="Network of a file of weights: `timm:NAME`, or one of curate's.",
    ),
]
Size = Annotated[
    int | None, typer.Option("--size", metavar="N", min=1, help="Side of its images in pixels.")
]
Prefix = Annotated[
    str | None,
    typer.Option(
        "--prefix", metavar="TEXT", help="What names of its weights begin with, if several fit."
    ),
]

RUNS = Path("runs")

app = typer.Typer(
    name="curate",
    help="Rank every image by how strongly self-supervised encoders memorize it, and select by it.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog="Start with `curate run digits`, then open the report that it names.",
)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"curate {versions().get('curate', 'is not installed')}")
        raise typer.Exit()


@app.callback()
def _everywhere(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show curate's version."
        ),
    ] = False,
) -> None:
    """Take the options that stand before every command."""


@dataclass(frozen=True)
class Request:
    """What ``run``, ``train`` and ``score`` are asked: which run, what to replace, how to work."""

    name: Name
    runs: Runs = RUNS
    set_: Set = None
    data: DataPath = None
    seed: Seed = None
    device: Device = "auto"
    limit: Limit = None
    workers: Workers = None
    engine: EngineName = LOCAL
    engine_set: EngineSet = None
    effort: Effort = None
    fresh: Fresh = False
    called: Called = None
    retrain: Retrain = False

    def overrides(self) -> dict[str, Any]:
        """Return ``{"section.key": value}`` of --effort, --seed, --limit and --set, in that order.

        Raises:
            UsageError: If a --set has no value, or there is no such effort.
        """
        out: dict[str, Any] = recipe.effort(self.effort) if self.effort else {}
        if self.seed is not None:
            sections = ("plan", "train", "score", "select")
            out |= {f"{section}.seed": self.seed for section in sections}
        if self.limit is not None:
            out["data.limit"] = self.limit
        return out | values(self.set_)

    def chosen(self) -> Engine | None:
        """Return what does units of work; None for this machine's own processes."""
        return chosen(self.engine, self.engine_set)

    def typed(self) -> str:
        """Return the words that ask for the same, as a user types them behind a command."""
        hints = get_type_hints(type(self), include_extras=True)
        words = [self.name]
        for field in fields(self)[1:]:
            option = hints[field.name].__metadata__[0].default  # what typer.Option is given first
            value = getattr(self, field.name)
            if value == field.default:
                continue
            for one in value if isinstance(value, list) else [value]:
                words += [option] if one is True else [option, str(one)]
        return shlex.join(words)


def values(settings: list[str] | None, option: str = "--set") -> dict[str, Any]:
    """Return ``{"section.key": value}`` of what --set was given.

    Args:
        settings: What was given.
        option: Another option that is given settings, whose keys have no section.

    Raises:
        UsageError: If one has no value.
    """
    out = {}
    for item in settings or []:
        key, sign, value = item.partition("=")
        if not sign:
            like = "section.key=value" if option == "--set" else "key=value"
            raise UsageError(f"{option} {item}: expected {like}.")
        out[key.strip()] = value
    return out


def chosen(engine: str, settings: list[str] | None) -> Engine | None:
    """Return what --engine and --engine-set name; None for this machine's own processes.

    Raises:
        UsageError: If there is no such engine, or no such setting of it.
        ResourceError: If it needs a package that is not installed.
    """
    return engine_of(engine, values(settings, "--engine-set"))


def command(example: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command that also takes --json, --quiet and --debug.

    The function's first parameter is the ``Display`` that these options make; ``--debug`` is read
    by ``app.call``, which shows errors. A ``Request`` among the others becomes the options that a
    request has.

    Args:
        example: What a user types, for the help text.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        parameters = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        requests = [p.name for p in parameters if p.annotation is Request]
        parts = list(inspect.signature(Request, eval_str=True).parameters.values())
        if requests:
            parameters = parts + [p for p in parameters if p.annotation is not Request]

        def called(*, as_json: bool, quiet: bool, debug: bool, **given: Any) -> None:
            with Display(quiet=quiet, as_json=as_json) as display:
                if requests:
                    given[requests[0]] = Request(**{p.name: given.pop(p.name) for p in parts})
                function(display, **given)

        options = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters] + [
            _flag("as_json", "--json", text="Print one JSON object on stdout."),
            _flag("quiet", "--quiet", "-q", text="No progress, only results and errors."),
            _flag("debug", "--debug", text="Show the traceback of an error."),
        ]
        called.__name__, called.__doc__ = function.__name__, function.__doc__
        called.__module__ = function.__module__
        # typer reads the options from here.
        called.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in options}
        return app.command(epilog=f"Example: `{example}`")(called)

    return register


def _flag(name: str, *options: str, text: str) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False,
        annotation=Annotated[bool, typer.Option(*options, help=text)],
    )


def named(
    display: Display,
    name: str | None,
    runs: Path,
    set_: list[str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Run:
    """Open the run a command is about, with late settings; say which where it was left out.

    Args:
        display: Where to say it.
        name: The run; None for the newest.
        runs: Folder that holds the runs.
        set_: What --set was given.
        more: Settings that other options stand for.
    """
    import curate

    given = {**values(set_), **(more or {})}
    run = curate.open_run(name, runs=runs, overrides=given, create=False)
    if name is None:
        display.hint(f"run: {run.path}")
    return run


def typed(run: Run) -> str:
    """Return what a user types for a run: its name, or its path where that is not found by name."""
    return shlex.quote(run.name if run.path.parent == RUNS else str(run.path))


def warn_of_noise(
    display: Display, verdict: Verdict | None, *, places: int = 0, luck: float | None = None
) -> None:
    """Warn where scores show no ranking, and how much of a selection by them is luck.

    Args:
        display: Where to.
        verdict: On the scores; None where nothing is known of them.
        places: How many places the selection has.
        luck: How many of them are decided by chance; None where nobody knows.
    """
    if verdict is None or verdict.grade == RANKING:
        return
    by_luck = "" if luck is None else f"; {luck:,.0f} of the {places:,} places are luck"
    display.warn(f"{verdict.text}{by_luck}.")


def stands(run: Run, summary: ScoreSummary) -> Stand:
    """Return where a scored run stands, for what is to be done next."""
    return Stand(
        run=typed(run),
        grade=summary.verdict.grade,
        reliability=summary.reliability,
        epochs=run.recipe.train.epochs,
        scored=summary.n_scored,
        unscored=summary.n_unscored,
        adopted=is_adopted(run.resolved),
    )


def following(stand: Stand, then: str) -> str:
    """Return the command that follows from a verdict: ``then`` where there is a ranking."""
    first = next_steps(stand)[0].command
    if stand.adopted and stand.grade != RANKING:
        # Nothing that can be typed makes more of encoders that were trained elsewhere.
        return f"curate report {stand.run}"
    return then if stand.grade == RANKING or first is None else first
