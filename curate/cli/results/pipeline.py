"""What the pipeline's commands say: run, shard, train, score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.cli.console import Listing
from curate.cli.results.evaluation import comparison_lines
from curate.runtime.text import duration, visible

if TYPE_CHECKING:
    from curate.scores.summary import ScoreSummary
    from curate.stages.add import Added
    from curate.stages.forecast import Forecast
    from curate.stages.learned import Learned
    from curate.stages.refine import Refined, Round
    from curate.stages.run import Completed
    from curate.stages.shard import Sharded
    from curate.stages.significant import Significant
    from curate.stages.train import Trained


def run_lines(completed: Completed) -> list[str | Listing]:
    """Return what ``curate run`` says."""
    lines: list[str | Listing] = [*score_lines(completed.summary)]
    lines.append(f"scores      {completed.scores}")
    lines.append(f"manifest    {completed.manifest} ({completed.kept:,} kept)")
    if completed.comparison:
        lines += comparison_lines(completed.comparison)
    if completed.learned:
        lines.append(f"learned     {learned_line(completed.learned)}")
    return [*lines, f"report      {completed.report}"]


def learned_line(learned: Learned) -> str:
    """Return whether encoders beat random weights, in a line."""
    verdict = {
        "better": "the encoders beat random weights",
        "worse": "random weights beat the encoders: do not use these scores",
        "open": "the encoders are not shown to beat random weights",
    }[learned.verdict]
    return (
        f"{verdict} (k-NN {learned.trained:.1%} against {learned.random:.1%} of "
        f"{learned.n_test:,} test images)"
    )


def shard_lines(sharded: Sharded) -> list[str]:
    """Return what ``curate shard`` says."""
    lines = [f"{sharded.written:,} images written to {sharded.path}"]
    if sharded.rejected:
        lines.append(f"{sharded.rejected:,} rejected; why: {sharded.path}/rejected.jsonl")
    return lines


NEAR = 5
"""New images that are nearly old ones that are named."""


def add_lines(added: Added) -> list[str]:
    """Return what ``curate add`` says."""
    lines = [f"{added.written:,} images added to {added.run}; no encoder has seen them yet"]
    if added.there:
        lines.append(f"{added.there:,} were in the run already and keep their place")
    if added.rejected:
        lines.append(f"{added.rejected:,} rejected; why: {added.run}/shards/rejected.jsonl")
    if added.near_duplicates:
        lines.append(f"{added.near_duplicates:,} are nearly the same as images that were there:")
    lines += [
        f"  {visible(pair.path)} is nearly {visible(pair.other_path)} ({pair.similarity:.3f})"
        for pair in added.alike[:NEAR]
    ]
    if added.near_duplicates > NEAR:
        lines.append(f"  and {added.near_duplicates - NEAR:,} more; --json names 100")
    share = f" ({added.seconds / added.anew_seconds:.0%})" if added.anew_seconds else ""
    lines.append(
        f"cost        {duration(added.seconds)}{share}; to score all anew would take "
        f"{duration(added.anew_seconds)}"
    )
    return lines


def train_lines(trained: Trained) -> list[str]:
    """Return which encoders a run has."""
    return [f"encoders    {trained.folder}: {', '.join(trained.encoders)}"]


def forecast_lines(forecast: Forecast) -> list[str]:
    """Return what a training would take."""
    parameters, disk = forecast.parameters, forecast.disk_bytes
    sizes = forecast.encoders.values()
    samples = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
    scaled = ", from a smaller batch" if forecast.scaled else ""
    peak = forecast.peak_memory_bytes
    lines = [
        f"samples     {forecast.samples:,}; {len(sizes)} encoders on {samples} each, "
        f"{forecast.to_train} left to train",
        f"parameters  {parameters.encoder:,} of the encoder, {parameters.method:,} in training",
        f"steps       {forecast.steps:,} of {forecast.batch_size:,} images, "
        f"{duration(forecast.seconds_per_step)} each{scaled}",
        f"time        {duration(forecast.train_seconds)} to train on {forecast.device} "
        f"({forecast.workers} at a time), {duration(forecast.score_seconds)} to score",
        f"memory      {_gib(peak) if peak else 'unknown'} at the peak of one training",
        f"disk        {_gib(sum(disk.values()))} besides the shards ("
        + ", ".join(f"{name} {_gib(n)}" for name, n in disk.items())
        + f"); {_gib(forecast.free_disk_bytes)} free",
    ]
    if sum(disk.values()) > forecast.free_disk_bytes:
        lines.append("the disk is too small")
    return lines if forecast.script is None else [*lines, "script:", forecast.script]


def _gib(n: int) -> str:
    return f"{n / 2**30:.2f} GiB" if n >= 2**28 else f"{n / 2**20:.1f} MiB"


def score_lines(summary: ScoreSummary) -> list[str]:
    """Return the scores of a run in a few lines: what was scored, the tests, the verdict."""
    lines = [f"{summary.n_scored:,} samples scored by {len(summary.encoders)} encoders"]
    lines += [
        f"{test.name}: t = {test.statistic:.2f}, p = {test.p:.2g}, "
        f"Cohen's d = {_known(test.cohens_d)}"
        for test in summary.tests
        if test.name in ("C>S", "C>E", "C>0", "m>0") and test.p is not None
    ]
    lines.append(f"verdict     {summary.verdict.text}")
    reliability = summary.reliability
    if reliability.encoders is None:
        lines.append(f"reliability {_known(reliability.views)} ({reliability.note})")
    else:
        lines.append(
            f"reliability {_known(reliability.encoders)} of views and encoders, "
            f"{_known(reliability.views)} of views alone"
        )
    return lines


WHY = {
    "reached": "reached",
    "budget": "not reached: another round would exceed the budget",
}


def refine_lines(refined: Refined) -> list[str | Listing]:
    """Return what it took to make a ranking surer, round by round."""
    lines, rows = [], []
    for r in refined.rounds:
        views, reliability, spent = _views(r), _known(r.reliability), f"{r.seconds:,.0f} s"
        lines.append(f"{r.encoders:>6,} encoders, {views}: reliability {reliability}, {spent}")
        rows.append((f"{r.encoders:,}", views, reliability, spent))
    why = WHY.get(refined.why, f"not reached: {refined.why}")
    return [
        Listing(("encoders", "views", "reliability", "time"), rows, lines),
        f"{refined.goal}: {_known(refined.value)}, {why}",
    ]


def _views(row: Round) -> str:
    """Return with how many views samples were measured, and what it spared to ask where."""
    more = row.more_views
    if more is None:
        return f"{row.views} views"
    return (
        f"{row.views} views and up to {more.most} for {more.samples:,} samples in doubt "
        f"({row.views_per_sample:.0f} a sample)"
    )


def significant_lines(significant: Significant) -> list[str]:
    """Return how many samples are memorized beyond chance, and the surest of them."""
    shown = significant.samples.slice(0, 10).to_pylist()
    more = " (all with --json); the surest:" if significant.n > len(shown) else ""
    lines = [
        f"significant {significant.n:,} of {significant.n_tested:,} samples at a false discovery "
        f"rate of {significant.fdr:g}{more}"
    ]
    return lines + [
        f"  {row['uid']}  {row['memorization']:+.4f} ± {row['se']:.4f}  q = {row['q']:.2g}"
        for row in shown
    ]


def _known(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
