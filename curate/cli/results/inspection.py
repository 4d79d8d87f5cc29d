"""What is said beside memorization: inspect, measure, localize."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.cli.console import Listing

if TYPE_CHECKING:
    from curate.inspection.summary import Inspection
    from curate.runs.sample_lookup import Neighbour, SampleCard
    from curate.stages.copies import Copies
    from curate.stages.localize import Localized
    from curate.stages.measure import Measured

SHOWN = 5
"""Near-duplicates of one sample that are named."""


def inspect_lines(inspection: Inspection) -> list[str]:
    """Return what was found among neighbours and in pixels, and what kinds of samples there are."""
    alike, leaks, kinds = inspection.duplicates, inspection.leaks, inspection.triage
    lines = [
        f"{alike.samples:,} of {inspection.samples:,} samples are near-duplicates; groups of "
        f"them: {alike.groups:,}",
    ]
    if leaks.splits:
        lines.append(
            f"leaks       {leaks.samples:,} with a near-duplicate held out as "
            f"{' or '.join(leaks.splits)}"
        )
    if kinds.scored:
        why = ", ".join(f"{n:,} {name}" for name, n in kinds.reasons.items() if n)
        lines += [
            f"tail        {kinds.counts['tail']:,} memorized, isolated and well-formed",
            f"broken      {kinds.counts['broken']:,} memorized and flawed"
            + (f": {why}" if why else ""),
        ]
    else:
        lines.append("tail        unknown: without scores nobody knows what is memorized")
    lines += [
        f"redundant   {kinds.counts['redundant']:,} near-duplicates that others stand for",
        f"typical     {kinds.counts['typical']:,} others",
    ]
    if kinds.separation == "none":
        lines.append("verdict     nothing: who is memorized, and with it tail and broken, is noise")
    strongest = sorted(inspection.relations.values(), key=lambda r: -abs(r.spearman))[:3]
    lines += [
        f"relation    {r.spearman:+.2f} ({r.low:+.2f} to {r.high:+.2f}, Spearman) with {r.text}"
        for r in strongest
    ]
    recall = inspection.index.recall
    if recall is not None:
        lines.append(f"FAISS       inverted lists found {recall:.1%} of the nearest neighbours")
    return [*lines, f"neighbours  {inspection.path}"]


def copies_lines(result: Copies) -> list[str]:
    """Return which leaks and copies there are, leaks first."""
    lines = [
        f"leak        {leak.images:,} images of {leak.other} have a copy in {leak.split} "
        f"({leak.pairs:,} pairs)"
        for leak in result.leaks
    ]
    kinds = ", ".join(
        f"{getattr(result, name):,} {text}"
        for name, text in (
            ("exact", "of one file"),
            ("mirrored", "mirrored"),
            ("cropped", "cropped"),
            ("recoloured", "recoloured"),
        )
    )
    lines += [
        f"copies      {result.copies:,} of {result.images:,} images, in {result.groups:,} groups",
        f"pairs       {result.pairs:,}: {kinds}",
        f"false       about {result.search.false_rate:.2%} of pairs: {result.search.decoys:,} of "
        f"{result.search.decoy_queries:,} images turned upside down have a copy as well",
        f"tables      {result.out / 'pairs.parquet'}, {result.out / 'groups.parquet'}",
    ]
    if result.rejected:
        lines.append(f"rejected    {result.rejected:,} that cannot be read")
    return lines


def sample_lines(card: SampleCard) -> list[str]:
    """Return what is known of one sample: its place, its kind, its neighbours, and its file."""
    rank, score = "not scored", ""
    if card.rank is not None:
        rank = f"{card.rank:,} of {card.n_scored:,} (1 = most memorized)"
        error = "" if card.se is None else f" ± {card.se:.4f}"
        score = f"{card.memorization:+.4f}{error}"
    why = f" ({card.triage_reason})" if card.triage_reason else ""
    lines = [
        f"sample      {card.uid}",
        f"rank        {rank}",
        *([f"memorized   {score}"] if score else []),
        f"label       {_label(card)}",
        f"triage      {card.triage}{why}",
    ]
    if card.outlier_score is not None:
        lines.append(
            f"outlier     {card.outlier_score:.3f} (mean distance to its neighbours, 0 to 2), "
            f"local outlier factor {card.local_outlier_factor:.2f}"
        )
    if card.duplicate_split:
        lines.append(f"leak        {card.duplicate_split} has {card.duplicate_split_uid}")
    if card.duplicates:
        more = len(card.duplicates) - SHOWN
        shown = ", ".join(card.duplicates[:SHOWN])
        lines.append(f"duplicates  {shown}" + (f" and {more:,} more" if more > 0 else ""))
    for near in card.neighbours:
        place = "not scored" if near.rank is None else f"rank {near.rank:,}"
        lines.append(f"neighbour   {near.distance:.3f}  {near.uid}  label {_label(near)}, {place}")
    return [
        *lines,
        f"file        {card.size:,} bytes at offset {card.offset:,} of "
        f"{card.shard} (key {card.key}), {card.width} x {card.height} pixels",
        f"from        {_printable(card.path)}",
    ]


def _label(sample: SampleCard | Neighbour) -> str:
    if sample.label is None:
        return "none"
    plain = sample.class_ in (None, "", str(sample.label))
    return str(sample.label) + ("" if plain else f" ({_printable(sample.class_ or '')})")


def _printable(text: str) -> str:
    """Return a text of a source as a terminal may show it: control characters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def measure_lines(measured: Measured) -> list[str | Listing]:
    """Return each measure's spread and its agreement with memorization."""
    lines, rows = [], []
    for kind, row in measured.measures.items():
        agreement = "agreement with memorization unknown"
        if row.spearman is not None and row.kendall is not None:
            rho, tau = row.spearman, row.kendall
            agreement = (
                f"Spearman {rho.value:+.3f} ({rho.low:+.3f} to {rho.high:+.3f}) with "
                f"memorization, Kendall {tau.value:+.3f}"
            )
        mean = _short(row.mean)
        if row.se is not None:
            mean += f" (of a sample ± {_short(row.se)})"
        lines.append(f"{kind:<16} {row.n:>7,} samples, mean {mean}: {agreement}")
        rows.append((kind, f"{row.n:,}", mean, agreement))
    out: list[str | Listing] = [Listing(("measure", "samples", "mean", ""), rows, lines)]
    if measured.left_out:
        lacking = "labels of two or more classes, which these samples do not have"
        out.append(f"left out    {', '.join(measured.left_out)}: they need {lacking}")
    return [*out, f"measures    {measured.path}"]


def localize_lines(localized: Localized) -> list[str | Listing]:
    """Return a table of the layers of an encoder."""
    f, g = localized.encoders
    head = f"{'layer':<14}{'SSLMem':>9}  {'95 % interval':<18}{'LayerMem':>9}{'added':>8}"
    lines, rows = [f"{head}  UnitMem in {f}, in {g}"], []
    for row in localized.layers:
        interval = f"{row.low:+.4f} to {row.high:+.4f}"
        added = "" if row.delta_layer_mem is None else f"{row.delta_layer_mem:+.3f}"
        units = "no units of its own"
        if row.units:
            units = f"{_short(row.unit_mem)}, {_short(row.unit_mem_control)} of {row.units:,} units"
        sslmem, layer_mem = f"{row.sslmem:+.4f}", f"{row.layer_mem:+.3f}"
        lines.append(f"{row.name:<14}{sslmem:>9}  {interval:<18}{layer_mem:>9}{added:>8}  {units}")
        rows.append((row.name, sslmem, interval, layer_mem, added, units))
    header = ("layer", "SSLMem", "95 % interval", "LayerMem", "added", f"UnitMem in {f}, in {g}")
    return [
        f"{localized.candidates:,} samples that {f} was trained on and {g} was not, "
        f"{localized.independent:,} the other way round",
        Listing(header, rows, lines),
        f"layers      {localized.path}",
        f"units       {localized.units}",
    ]


def _short(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
