"""Encoders that were trained elsewhere: a run of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from curate.cli.console import Display
from curate.cli.options import RUNS, DataPath, Runs, Set, command, typed, values
from curate.cli.results.adoption import adopted_lines
from curate.errors import UsageError
from curate.runs.fitting import GENERAL
from curate.runs.run import Run

if TYPE_CHECKING:
    from curate.encoders.pretrained import Given


def each(option: str, texts: list[str] | None, names: list[str]) -> dict[str, str]:
    """Return the value of an option for each encoder that has one.

    Args:
        option: Its name, for messages.
        texts: ``NAME=VALUE``, or ``VALUE`` for all that have none of their own.
        names: Of the encoders.

    Raises:
        UsageError: If it is said twice of one.
    """
    by_name: dict[str, str] = {}
    for_all: list[str] = []
    for text in texts or []:
        name, sign, value = text.partition("=")
        if not sign or name not in names:
            for_all.append(text)
            continue
        if name in by_name:
            raise UsageError(f"--{option} {name}=... is given twice.")
        by_name[name] = value
    if len(for_all) > 1 or (for_all and len(by_name) == len(names)):
        raise UsageError(
            f"--{option} {for_all[-1]}: say of which encoder, --{option} NAME=...; they are "
            f"{', '.join(names)}."
        )
    return {**dict.fromkeys(names, for_all[0]), **by_name} if for_all else by_name


def numbers(option: str, text: str) -> tuple[float, ...]:
    """Read numbers with commas between them.

    Raises:
        UsageError: If one is none.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--{option} {text}: expected numbers such as 0.5,0.5,0.5.") from None


def whole(option: str, text: str) -> int:
    """Read a number of pixels.

    Raises:
        UsageError: If it is none.
    """
    if not text.isascii() or not text.isdigit() or not int(text):
        raise UsageError(f"--{option} {text}: expected a number of pixels.")
    return int(text)


def given(
    size: str | None, mean: str | None, std: str | None, interpolation: str | None,
    prefix: str | None,
) -> Given:  # fmt: skip
    """Return how an encoder wants images, as far as it is said on the command line."""
    from curate.encoders.pretrained import Given

    return Given(
        size=None if size is None else whole("size", size),
        mean=None if mean is None else numbers("mean", mean),
        deviation=None if std is None else numbers("std", std),
        interpolation=interpolation,
        prefix=prefix,
    )


EACH = "NAME=VALUE"


@command(
    "curate adopt mine ./photos --encoder f=f.pt --encoder g=g.pt --backbone timm:resnet50 "
    "--saw f=f.txt --saw g=g.txt"
)
def adopt(
    display: Display,
    name: Annotated[str, typer.Argument(help="Name of the run.")],
    source: Annotated[str, typer.Argument(help="A folder of images, or another SOURCE.")],
    encoder: Annotated[
        list[str],
        typer.Option(
            "--encoder",
            metavar="NAME=FILE",
            help="An encoder: weights as safetensors or a checkpoint of PyTorch, or `timm:NAME`.",
        ),
    ],
    saw: Annotated[
        list[str] | None,
        typer.Option(
            "--saw",
            metavar="NAME=LIST",
            help="What it was trained on: a file of uids or paths, a manifest, `split:NAME`, `all` "
            "or `none`.",
        ),
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            "--backbone",
            metavar=EACH,
            help="Its network, `timm:NAME` or one of curate's; without NAME= of all, as below.",
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option("--size", metavar=EACH, help="Side of its images; default: the network's."),
    ] = None,
    mean: Annotated[
        list[str] | None,
        typer.Option("--mean", metavar=EACH, help="Taken off each channel; default: timm's."),
    ] = None,
    std: Annotated[
        list[str] | None,
        typer.Option("--std", metavar=EACH, help="Divides each channel; default: timm's."),
    ] = None,
    interpolation: Annotated[
        list[str] | None,
        typer.Option(
            "--interpolation", metavar=EACH, help="To its side: `bicubic`, `bilinear`, `nearest`."
        ),
    ] = None,
    prefix: Annotated[
        list[str] | None,
        typer.Option(
            "--prefix", metavar=EACH, help="What names of its weights begin with, if several fit."
        ),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe", metavar="RECIPE", help="Views, scores, and what comparisons train."
        ),
    ] = GENERAL,
    runs: Runs = RUNS,
    set_: Set = None,
    data: DataPath = None,
) -> None:
    """Make a run of encoders that were trained elsewhere; none is trained."""
    import curate
    from curate.stages.adopt import Encoder

    files: dict[str, str] = {}
    for text in encoder:
        called, sign, file = text.partition("=")
        if not sign or not file:
            raise UsageError(f"--encoder {text}: expected NAME=FILE, such as f={text or 'f.pt'}.")
        if called in files:
            raise UsageError(f"--encoder {called}=... is given twice.")
        files[called] = file
    names = list(files)
    options = {
        option: each(option, texts, names)
        for option, texts in (
            ("saw", saw),
            ("backbone", backbone),
            ("size", size),
            ("mean", mean),
            ("std", std),
            ("interpolation", interpolation),
            ("prefix", prefix),
        )
    }
    for called in names:
        if called not in options["saw"]:
            raise UsageError(
                f"encoder {called}: say what it was trained on, --saw {called}=LIST: a file of "
                "uids or paths, a manifest, split:NAME, all or none."
            )
    look = ("size", "mean", "std", "interpolation", "prefix")
    adopted = curate.adopt(
        name,
        source,
        {
            e: Encoder(
                weights=files[e],
                saw=options["saw"][e],
                backbone=options["backbone"].get(e),
                given=given(*(options[option].get(e) for option in look)),
            )
            for e in names
        },
        recipe=recipe,
        runs=runs,
        overrides=values(set_),
        data=data,
        progress=display.progress,
    )
    display.result(adopted, adopted_lines(adopted))
    display.next(f"curate score {typed(Run.open(adopted.run))}")
