"""What is said of what a selection did, and of the paper: probe, compare, agree, table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.cli.console import Listing
from curate.evaluation.comparison import cost_name
from curate.evaluation.measures import measure_of

if TYPE_CHECKING:
    from curate.evaluation.agreement import Agreement
    from curate.evaluation.comparison import Arm, Comparison, Tests
    from curate.evaluation.dense.base import DenseResult
    from curate.stages.probe import Probed
    from curate.stages.table import SideBySide


def probe_lines(probed: Probed) -> list[str | Listing]:
    """Return the accuracy of each probe, and each measure of a dense one with its interval."""
    from curate.evaluation.dense.base import DenseResult
    from curate.evaluation.probing import ProbeResult

    head = ("tested on", "probe", "test accuracy", "test samples")
    plain = [r for r in probed.results if isinstance(r, ProbeResult)]
    dense = [r for r in probed.results if isinstance(r, DenseResult)]
    lines = [
        f"{r.source} {r.kind}: test accuracy {r.accuracy:.4f} on {r.n_test:,} samples"
        for r in plain
    ]
    rows = [(r.source, r.kind, f"{r.accuracy:.4f}", f"{r.n_test:,}") for r in plain]
    leaks: dict[str, list[str]] = {}
    for r in plain:
        if r.leaked and r.accuracy_without_leaks is not None:
            about = f"leaks       {_leaks(r.leaked, r.n_test, r.source)}; accuracy without them: "
            leaks.setdefault(about, []).append(f"{r.kind} {r.accuracy_without_leaks:.4f}")
    return [
        *([Listing(head, rows, lines)] if plain else []),
        *([_dense(dense)] if dense else []),
        *(f"{about}{', '.join(parts)}" for about, parts in leaks.items()),
        *([f"probes      {probed.path}"] if probed.path else []),
    ]


def _dense(results: list[DenseResult]) -> Listing:
    """Return each measure of dense probes with its interval over the test images."""
    head = ("tested on", "measure", "value", "95 % interval", "trained", "test images", "classes")
    rows, lines = [], []
    for r in results:
        measure = measure_of(r.kind)
        value, ends = (
            f"{r.value * measure.scale:.{measure.digits}f}{measure.unit}",
            "none: one image",
        )
        if r.low is not None and r.high is not None:
            low, high = (f"{end * measure.scale:.{measure.digits}f}" for end in (r.low, r.high))
            ends = f"{low} to {high}"
        trained = f"{r.decoder} alone" if r.frozen else f"encoder and {r.decoder}"
        classes = f"{r.classes:,}" if r.classes else ""
        rows.append((r.source, r.kind, value, ends, trained, f"{r.n_test:,}", classes))
        lines.append(
            f"{r.source} {r.kind}: {value} on {r.n_test:,} images (95 % interval over them: "
            f"{ends}), {trained} trained" + (f", {classes} classes" if classes else "")
        )
    return Listing(head, rows, lines)


def _leaks(leaked: int, n_test: int, source: str) -> str:
    copies = "has a copy" if leaked == 1 else "have a copy"
    return f"{leaked:,} of {n_test:,} test images of {source} {copies} among the training images"


def comparison_lines(comparison: Comparison) -> list[str | Listing]:
    """Return every arm with its difference from the random one, and what all of it shows."""
    points = ("against random", "images", "95 % interval", "seeds", "pays back after")
    kinds = {arm.kind for arm in comparison.arms}
    column = "accuracy" if all(measure_of(kind).counts_images for kind in kinds) else "measured"
    leaky = {tests.source for tests in comparison.tests if tests.leaked}
    head = ("trained on", "tested on", "probe", column, *["without leaks"] * bool(leaky), *points)
    gaps = {(d.strategy, d.remove, d.source, d.kind): d for d in comparison.differences}
    lines, rows = [], []
    for arm in comparison.arms:
        gap = gaps.get((arm.strategy, arm.remove, arm.source, arm.kind))
        measure = measure_of(arm.kind)
        accuracy = f"{arm.mean * measure.scale:.{measure.digits}f}{measure.unit.strip()}"
        leaks = arm.source in leaky and arm.without_leaks is not None
        clean = f"{arm.without_leaks:.2%}" if leaks else ""
        about = (arm.label, arm.source, arm.kind, accuracy, *[clean] * bool(leaky))
        paid = _paid(comparison, arm)
        if gap is None:
            rows.append((*about, "", "", "", str(arm.n), paid))
            continue
        mean, ends = f"{gap.mean * measure.scale:+.{measure.digits}f}", "none: one seed"
        interval = "no interval: one seed"
        seeds = f"{gap.n} seeds"
        images = "" if gap.images is None else f"{gap.images:+.1f} of {gap.n_test:,}"
        if gap.low is not None and gap.high is not None:
            low, high = (
                f"{end * measure.scale:+.{measure.digits}f}" for end in (gap.low, gap.high)
            )
            ends = f"{low} to {high}"
            interval = f"95 % interval {ends} over {seeds} and the images"
        if leaks and gap.without_leaks is not None:
            interval += f"; {100 * gap.without_leaks:+.2f} without leaks"
        lines.append(
            f"{gap.label} against random, {gap.source} {gap.kind}: {mean}{measure.apart} "
            f"({f'{images} images; ' if images else ''}{interval}){_told(paid)}"
        )
        rows.append((*about, mean, images, ends, str(gap.n), paid))
    return [
        *([Listing(head, rows, lines)] if lines else []),
        *(f"tested on   {_tests(tests)}" for tests in comparison.tests),
        *(
            f"leaks       {_leaks(tests.leaked, tests.n_test, tests.source)}"
            for tests in comparison.tests
            if tests.leaked
        ),
        *(f"the same    {' and '.join(names)}: trained once" for names in comparison.same),
        f"difference  for {comparison.holds_for}: {comparison.verdict}",
        f"comparison  {comparison.path}",
    ]


def _tests(tests: Tests) -> str:
    """Return what arms were tested on, in words."""
    images = f"{tests.n_test:,} images of {tests.source}"
    if not tests.held_out:
        return f"{images}: its test split"
    return (
        f"{images}, a fifth of its training split: it has no test split, so that encoders may have "
        "seen them, without labels"
    )


def _told(paid: str) -> str:
    """Return as the end of a sentence after how many trainings a selection has paid."""
    words = {"": "", "cost nothing": "; it cost nothing", "never": "; it never pays back"}
    return words.get(paid, f"; it pays back after {paid}")


def _paid(comparison: Comparison, arm: Arm) -> str:
    """Return after how many trainings a selection has saved what it took to make."""
    cost = comparison.costs.get(cost_name(arm.strategy, arm.remove))
    if cost is None:
        return ""
    if cost.pays_back_after is None:
        return "never"
    return f"{cost.pays_back_after:,} trainings" if cost.pays_back_after else "cost nothing"


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


def table_lines(shown: SideBySide) -> list[str | Listing]:
    """Return the paper's figures beside ours, and the commands that make what is missing."""
    name = shown.table.replace("fig-", "Figure ")
    title = name if name != shown.table else f"Table {name}"
    rows = [(f.row, f.quantity, f.paper or "a curve", f.ours) for f in shown.figures]
    lines = [
        f"{row}, {quantity}: paper {paper}, ours {ours}" for row, quantity, paper, ours in rows
    ]
    makes = ["what is missing is made by:", *shown.commands] if shown.commands else []
    return [
        f"{title} of arXiv 2401.12233: {shown.title}",
        Listing(("row", "quantity", "paper", "ours"), rows, lines),
        *(f"note: {note}" for note in shown.notes),
        *makes,
    ]
