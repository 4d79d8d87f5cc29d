"""What is said of what a selection did: probe, compare, agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.cli.console import Listing

if TYPE_CHECKING:
    from curate.evaluation.agreement import Agreement
    from curate.evaluation.comparison import Comparison
    from curate.stages.probe import Probed


def probe_lines(probed: Probed) -> list[str | Listing]:
    """Return the accuracy of each probe."""
    head = ("tested on", "probe", "test accuracy", "test samples")
    lines = [
        f"{r.source} {r.kind}: test accuracy {r.accuracy:.4f} on {r.n_test:,} samples"
        for r in probed.results
    ]
    rows = [(r.source, r.kind, f"{r.accuracy:.4f}", f"{r.n_test:,}") for r in probed.results]
    return [Listing(head, rows, lines), *([f"probes      {probed.path}"] if probed.path else [])]


def comparison_lines(comparison: Comparison) -> list[str | Listing]:
    """Return the differences of a comparison, with their intervals, and what they show."""
    points = ("points", "images", "95 % interval", "seeds")
    head = ("selection against random", "tested on", "probe", *points)
    lines, rows = [], []
    for gap in comparison.differences:
        mean, ends = f"{gap.mean * 100:+.2f}", "none: one seed"
        interval = "no interval: one seed"
        images, seeds = f"{gap.images:+.1f} of {gap.n_test:,}", f"{gap.n} seeds"
        if gap.low is not None and gap.high is not None:
            ends = f"{gap.low * 100:+.2f} to {gap.high * 100:+.2f}"
            interval = f"95 % interval {ends} over {seeds} and the images"
        lines.append(
            f"{gap.label} against random, {gap.source} {gap.kind}: {mean} points ({images} images; "
            f"{interval})"
        )
        rows.append((gap.label, gap.source, gap.kind, mean, images, ends, str(gap.n)))
    listing = [Listing(head, rows, lines)] if rows else []
    return [
        *listing,
        f"difference  for {comparison.holds_for}: {comparison.verdict}",
        f"comparison  {comparison.path}",
    ]


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
        if pair.shared_groups:
            lines.append(
                f"  {pair.shared_groups} of {pair.groups} sets of images that encoders were "
                "trained on are the same in both: they agree by these as well, and more than runs "
                "with another plan.seed would"
            )
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
