"""What is said of what is there and what it cost: verify, ledger, recipes, doctor, bench."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from curate.cli.console import Listing
from curate.runtime.text import visible

if TYPE_CHECKING:
    from curate.data.shards import Fault
    from curate.runs.ledger import Ledger
    from curate.runs.verification import Verified
    from curate.stages.bench import Benchmark
    from curate.stages.doctor import Machine


def verify_lines(verified: Verified) -> list[str]:
    """Return what ``curate verify`` says: that all is well, or a line a fault."""
    if verified.ok:
        return [f"{verified.path}: {verified.checked:,} checked, nothing missing or changed"]
    return [_fault(fault) for fault in verified.faults]


def faults_in_short(verified: Verified) -> str:
    """Return the message that ``curate verify`` ends with: the first faults, and how many more."""
    lines = verify_lines(verified)
    more = f" (and {len(lines) - 3:,} more)" if len(lines) > 3 else ""
    return f"{verified.path}: {'; '.join(lines[:3])}{more}.\n{_mend(verified)}"


def _mend(verified: Verified) -> str:
    """Return what to do about the faults of a run, of shards or of a manifest."""
    path = shlex.quote(str(verified.path))
    if verified.kind == "run" and any(f.file == "run.json" for f in verified.faults):
        return "Put run.json back as it was, or start over beside it with --fresh."
    return {
        "run": f"'curate run {path}' makes again what is missing or changed; select anew what it "
        "does not.",
        "shards": "Write them again with 'curate shard', into a new folder.",
        "manifest": "Make it again with 'curate select'.",
    }[verified.kind]


def _fault(fault: Fault) -> str:
    problem = fault.problem
    if fault.offset is not None and "offset" not in problem:
        problem = f"at offset {fault.offset:,}: {problem}"
    return f"{fault.file} {problem}" + (f" (sample {fault.key})" if fault.key else "")


def after_verify(verified: Verified) -> list[tuple[str, str]]:
    """Return what to type after ``curate verify``, and why."""
    path = shlex.quote(str(verified.path))
    following = {
        "shards": (f"curate run {shlex.quote(f'wds:{verified.path}')}", "scores the images"),
        "manifest": (f"curate retrain {path}", ""),
        "run": (f"curate report {path}", ""),
    }
    full = [] if verified.full else [(f"curate verify {path} --full", "checks every hash")]
    return [*full, following[verified.kind]]


def ledger_lines(ledger: Ledger) -> list[str | Listing]:
    """Return seconds and samples per stage, and what each selection saves."""
    stages = [
        f"{row.stage:<10} {row.seconds:>10,.1f} s"
        + (f"  {row.samples:>14,} samples" if row.samples else "")
        for row in ledger.stages
    ]
    rows = [
        (row.stage, f"{row.seconds:,.1f}", f"{row.samples:,}" if row.samples else "")
        for row in ledger.stages
    ]
    lines: list[str | Listing] = [Listing(("stage", "seconds", "samples"), rows, stages)]
    lines.append(f"up to the scores: {ledger.scoring_seconds:,.1f} s")
    for addition in ledger.added:
        line = f"added {addition.samples:,} of {visible(addition.source)}"
        if addition.seconds is not None and addition.anew_seconds is not None:
            line += f": {addition.seconds:,.1f} s; anew it would be {addition.anew_seconds:,.1f} s"
        lines.append(line)
    for saving in ledger.selections:
        after = saving.pays_back_after
        pays = (
            "saves nothing"
            if after is None
            else f"saves {saving.saved_seconds:,.1f} s a training of {ledger.epochs} epochs, and "
            f"pays for its scores after {after:,}"
        )
        lines.append(f"{saving.name}: keeps {saving.kept:,}, {pays}")
    return lines


GROUPS = {
    "start here": r"images|digits",
    "data sets": r"(fashion-mnist|cifar10|imagenet-100k|digits-.+)",
    "the paper's tables": r"(cifar10|cifar100|imagenet-100k|stl10|svhn)-.+",
    "others": r"(?!images$|digits|fashion-mnist$|cifar10|imagenet-100k|stl10-|svhn-).+",
}
"""What recipes are for, by what their names look like."""


def recipe_lines(texts: Mapping[str, str]) -> list[str]:
    """Return recipes by what they are for, each with the first sentence of its description."""
    width = max(map(len, texts), default=0)
    lines: list[str] = []
    for title, begins in GROUPS.items():
        names = [name for name in texts if re.fullmatch(begins, name)]
        if names:
            lines += [*([""] if lines else []), f"{title}:"]
        for name in names:
            first = re.split(r"(?<=[.!?])\s", texts[name], maxsplit=1)[0]
            lines.append(f"{name:<{width}}  {first}")
    return lines


def as_yaml(content: dict[str, Any]) -> str:
    """Return a resolved recipe as YAML, in the order of its sections."""
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    return text


def doctor_lines(machine: Machine) -> list[str]:
    """Return what ``curate doctor`` says."""
    lines = [f"{name:<16} {number}" for name, number in machine.versions.items()]
    lines.append(f"{'cores':<16} {machine.cores}")
    lines.append(f"{'CUDA':<16} {', '.join(machine.cuda) or 'none: training runs on the CPU'}")
    lines.append(f"{'FAISS':<16} {machine.faiss or 'missing'}")
    lines.append(f"{'neighbours':<16} by {machine.search or 'nothing'}")
    lines.append(f"{'free disk':<16} {machine.free_disk_gib} GiB")
    return lines + [f"missing: {piece}" for piece in machine.missing]


def bench_lines(benchmark: Benchmark) -> list[str | Listing]:
    """Return the rates as a table, and what they are held against."""
    ceiling = benchmark.ceiling
    header = ("stage", "per second", "slowest to fastest round", "of the ceiling")
    lines, rows = ["{:<14}{:>12}  {:<26}{:>14}".format(*header)], []
    for rate in benchmark.stages:
        spread = f"{_rate(rate.low)} to {_rate(rate.high)} {rate.per}"
        share = "" if rate.share is None else f"{rate.share:.1%} {rate.ceiling}"
        rows.append((rate.stage, _rate(rate.rate), spread, share))
        lines.append(f"{rate.stage:<14}{_rate(rate.rate):>12}  {spread:<26}{share:>14}")
    return [
        f"{benchmark.recipe} on {benchmark.device}, {benchmark.cores} cores; a matrix product does "
        f"{ceiling.matmul / 1e9:,.0f} GFLOP/s ({ceiling.dtype}), a copy moves "
        f"{ceiling.copy / 1e9:,.1f} GB/s",
        Listing(header, rows, lines),
        f"scores come {benchmark.times_one_at_a_time:.1f} times as fast as one image at a time",
    ]


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"
