"""What is said of what is there and what it cost: verify, ledger, recipes, doctor, bench."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

import yaml


def verify_lines(facts: dict[str, Any]) -> list[str]:
    """Return what ``curate verify`` says: that all is well, or a line a fault."""
    if facts["ok"]:
        return [f"{facts['path']}: {facts['checked']:,} checked, nothing missing or changed"]
    return [_fault(**fault) for fault in facts["faults"]]


def faults_in_short(facts: dict[str, Any]) -> str:
    """Return the message that ``curate verify`` ends with: the first faults, and how many more."""
    lines = verify_lines(facts)
    more = f" (and {len(lines) - 3:,} more)" if len(lines) > 3 else ""
    return f"{facts['path']}: {'; '.join(lines[:3])}{more}."


def _fault(*, file: str, problem: str, offset: int | None, key: str | None) -> str:
    if offset is not None and "offset" not in problem:
        problem = f"at offset {offset:,}: {problem}"
    return f"{file} {problem}" + (f" (sample {key})" if key else "")


def after_verify(facts: dict[str, Any]) -> str:
    """Return what to type after ``curate verify``."""
    path = shlex.quote(facts["path"])
    following = {
        "shards": f"use the images as data.source: wds:{path}, or 'curate recipes' for recipes",
        "manifest": f"'curate retrain {path}'",
        "run": f"'curate report {path}'",
    }
    full = "" if facts["full"] else f"'curate verify {path} --full' checks every hash; "
    return f"next: {full}{following[facts['kind']]}"


def ledger_lines(facts: dict[str, Any]) -> list[str]:
    """Return seconds and samples per stage, and what each selection saves."""
    lines = [
        f"{row['stage']:<10} {row['seconds']:>10,.1f} s"
        + (f"  {row['samples']:>14,} samples" if row["samples"] else "")
        for row in facts["stages"]
    ]
    lines.append(f"up to the scores: {facts['scoring_seconds']:,.1f} s")
    for row in facts["selections"]:
        after = row["pays_back_after"]
        pays = (
            "saves nothing"
            if after is None
            else f"saves {row['saved_seconds']:,.1f} s a training of {facts['epochs']} epochs, and "
            f"pays for its scores after {after:,}"
        )
        lines.append(f"{row['name']}: keeps {row['kept']:,}, {pays}")
    return lines


def recipe_lines(texts: Mapping[str, str]) -> list[str]:
    """Return a line for each recipe: its name and the first sentence of its description."""
    width = max(map(len, texts), default=0)
    first = {name: re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0] for name, text in texts.items()}
    return [f"{name:<{width}}  {sentence}" for name, sentence in first.items()]


def as_yaml(content: dict[str, Any]) -> str:
    """Return a resolved recipe as YAML, in the order of its sections."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def doctor_lines(facts: dict[str, Any]) -> list[str]:
    """Return what ``curate doctor`` says."""
    lines = [f"{name:<16} {number}" for name, number in facts["versions"].items()]
    lines.append(f"{'cores':<16} {facts['cores']}")
    lines.append(f"{'CUDA':<16} {', '.join(facts['cuda']) or 'none: training runs on the CPU'}")
    lines.append(f"{'FAISS':<16} {facts['faiss'] or 'missing'}")
    lines.append(f"{'free disk':<16} {facts['free_disk_gib']} GiB")
    return lines + [f"missing: {what}" for what in facts["missing"]]


def bench_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return the rates as a table, and what they are held against."""
    ceiling = facts["ceiling"]
    lines = [
        f"{facts['recipe']} on {facts['device']}, {facts['cores']} cores; a matrix product does "
        f"{ceiling['matmul'] / 1e9:,.0f} GFLOP/s ({ceiling['dtype']}), a copy moves "
        f"{ceiling['copy'] / 1e9:,.1f} GB/s",
        f"{'stage':<14}{'per second':>12}  {'slowest to fastest round':<26}{'of the ceiling':>14}",
    ]
    for row in facts["stages"]:
        spread = f"{_rate(row['low'])} to {_rate(row['high'])} {row['per']}"
        share = "" if row["share"] is None else f"{row['share']:.1%} {row['ceiling']}"
        lines.append(f"{row['stage']:<14}{_rate(row['rate']):>12}  {spread:<26}{share:>14}")
    times = facts["times_one_at_a_time"]
    return [*lines, f"scores come {times:.1f} times as fast as one image at a time"]


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"
