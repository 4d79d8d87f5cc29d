"""What is said of what a selection did: probe, compare, agree."""

from __future__ import annotations

from typing import Any


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


def agreement_lines(facts: dict[str, Any]) -> list[str]:
    """Return how alike rankings are, and a matrix where there are more than two."""
    lines = []
    for pair in facts["pairs"]:
        lines.append(f"{pair['a']} and {pair['b']}: {pair['n']:,} samples scored by both")
        lines += [
            f"  {text:<13} {pair[name]['value']:+.3f} (95 % interval {pair[name]['low']:+.3f} to "
            f"{pair[name]['high']:+.3f}, p = {pair[name]['p']:.2g})"
            for name, text in (
                ("kendall", "Kendall tau-b"),
                ("spearman", "Spearman"),
                ("pearson", "Pearson"),
            )
        ]
        if pair["disattenuated"] is not None:
            lines.append(f"  without the noise of both: {pair['disattenuated']:+.2f} (Pearson)")
        lines += [
            f"  top {top['n']:,}: {top['overlap']:.1%} shared ({top['low']:.1%} to "
            f"{top['high']:.1%}; unrelated rankings: {top['chance']:.1%})"
            for top in pair["tops"]
        ]
    if len(facts["names"]) > 2:
        lines += ["Kendall tau-b of every two:", *_matrix(facts)]
    return lines


def _matrix(facts: dict[str, Any]) -> list[str]:
    names = facts["names"]
    values = {(p["a"], p["b"]): p["kendall"]["value"] for p in facts["pairs"]}
    width = max(6, *map(len, names))
    lines = [" " * width + "".join(f"  {name:>{width}}" for name in names)]
    for a in names:
        row = [
            "1" if a == b else f"{values.get((a, b), values.get((b, a), 0.0)):+.3f}" for b in names
        ]
        lines.append(f"{a:<{width}}" + "".join(f"  {cell:>{width}}" for cell in row))
    return lines
