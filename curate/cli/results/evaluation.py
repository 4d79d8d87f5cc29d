"""What is said of what a selection did: probe, compare, agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from curate.cli.console import Listing

if TYPE_CHECKING:
    from curate.evaluation.agreement import Agreement


def probe_lines(facts: dict[str, Any]) -> list[str]:
    """Return the accuracy of each probe."""
    lines = [
        f"{r['source']} {r['kind']}: test accuracy {r['accuracy']:.4f} on {r['n_test']:,} samples"
        for r in facts["results"]
    ]
    return [*lines, f"probes      {facts['path']}"] if facts["path"] else lines


def comparison_lines(facts: dict[str, Any]) -> list[str]:
    """Return the paired differences of a comparison, with their intervals, and the verdict."""
    lines = []
    for row in facts["differences"]:
        interval = (
            f"95 % interval {row['low'] * 100:+.2f} to {row['high'] * 100:+.2f}"
            if row["low"] is not None
            else "no interval: one seed"
        )
        lines.append(
            f"{row['label']} against random, {row['source']} {row['kind']}: "
            f"{row['mean'] * 100:+.2f} points ({interval}, n = {row['n']})"
        )
    return [*lines, f"verdict     {facts['verdict']}", f"comparison  {facts['path']}"]


def agreement_lines(agreement: Agreement) -> list[str | Listing]:
    """Return how alike rankings are, and a matrix where there are more than two."""
    lines: list[str | Listing] = []
    for pair in agreement.pairs:
        lines.append(f"{pair.a} and {pair.b}: {pair.n:,} samples scored by both")
        named = {"Kendall tau-b": pair.kendall, "Spearman": pair.spearman, "Pearson": pair.pearson}
        lines += [
            f"  {name:<13} {r.value:+.3f} (95 % interval {r.low:+.3f} to {r.high:+.3f}, "
            f"p = {r.p:.2g})"
            for name, r in named.items()
        ]
        if pair.disattenuated is not None:
            lines.append(f"  without the noise of both: {pair.disattenuated:+.2f} (Pearson)")
        lines += [
            f"  top {top.n:,}: {top.overlap:.1%} shared ({top.low:.1%} to {top.high:.1%}; "
            f"unrelated rankings: {top.chance:.1%})"
            for top in pair.tops
        ]
    if len(agreement.names) > 2:
        lines += ["Kendall tau-b of every two:", _matrix(agreement)]
    return lines


def _matrix(agreement: Agreement) -> Listing:
    """Return Kendall's tau-b of every two rankings."""
    names = agreement.names
    values = {(pair.a, pair.b): pair.kendall.value for pair in agreement.pairs}
    cells = [
        ["1" if a == b else f"{values.get((a, b), values.get((b, a), 0.0)):+.3f}" for b in names]
        for a in names
    ]
    width = max(6, *map(len, names))
    lines = [" " * width + "".join(f"  {name:>{width}}" for name in names)]
    lines += [
        f"{a:<{width}}" + "".join(f"  {cell:>{width}}" for cell in row)
        for a, row in zip(names, cells, strict=True)
    ]
    rows = [(a, *row) for a, row in zip(names, cells, strict=True)]
    return Listing(("", *names), rows, lines)
