"""Results in words: what a command prints on stdout, a line each."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from curate.stages.copies import Copies

SHOWN = 5
"""Near-duplicates of one sample that are named."""
SEPARATION = {
    "clear": "clear: samples align worse on encoders that never saw them",
    "none": "NONE: these scores do not tell members from non-members; do not select by them",
}
"""What the verdict of ``scores.json`` means."""
NO_SEPARATION = (
    "separation: none. The scores do not tell samples that were trained on from those that were "
    "not, so that a selection by them may be no better than a random one."
)


def run_lines(facts: dict[str, Any]) -> list[str]:
    """Return what ``curate run`` says."""
    lines = [*score_lines(facts["summary"]), f"scores      {facts['scores']}"]
    lines.append(f"manifest    {facts['manifest']} ({facts['kept']:,} kept)")
    if facts["comparison"]:
        lines += comparison_lines(facts["comparison"])
    return [*lines, f"report      {facts['report']}"]


def shard_lines(facts: dict[str, Any]) -> list[str]:
    """Return what ``curate shard`` says."""
    lines = [f"{facts['written']:,} images written to {facts['path']}"]
    if facts["rejected"]:
        lines.append(f"{facts['rejected']:,} rejected; why: {facts['path']}/rejected.jsonl")
    return lines


def train_lines(facts: dict[str, Any]) -> list[str]:
    """Return which encoders a run has."""
    return [f"encoders    {facts['folder']}: {', '.join(facts['encoders'])}"]


def forecast_lines(facts: dict[str, Any]) -> list[str]:
    """Return what a training would take."""
    parameters, disk = facts["parameters"], facts["disk_bytes"]
    sizes = facts["encoders"].values()
    samples = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
    scaled = ", from a smaller batch" if facts["scaled"] else ""
    peak = facts["peak_memory_bytes"]
    lines = [
        f"samples     {facts['samples']:,}; {len(facts['encoders'])} encoders on {samples} each, "
        f"{facts['to_train']} left to train",
        f"parameters  {parameters['encoder']:,} of the encoder, "
        f"{parameters['method']:,} in training",
        f"steps       {facts['steps']:,} of {facts['batch_size']:,} images, "
        f"{_duration(facts['seconds_per_step'])} each{scaled}",
        f"time        {_duration(facts['train_seconds'])} to train on {facts['device']} "
        f"({facts['workers']} at a time), {_duration(facts['score_seconds'])} to score",
        f"memory      {_gib(peak) if peak else 'unknown'} at the peak of one training",
        f"disk        {_gib(sum(disk.values()))} besides the shards ("
        + ", ".join(f"{name} {_gib(n)}" for name, n in disk.items())
        + f"); {_gib(facts['free_disk_bytes'])} free",
    ]
    if sum(disk.values()) > facts["free_disk_bytes"]:
        lines.append("the disk is too small")
    return lines


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds * 1000:.0f} ms"


def _gib(n: int) -> str:
    return f"{n / 2**30:.2f} GiB" if n >= 2**28 else f"{n / 2**20:.1f} MiB"


def score_lines(facts: dict[str, Any]) -> list[str]:
    """Return the scores of a run in a few lines: what was scored, the tests, the verdict."""
    lines = [f"{facts['n_scored']:,} samples scored by {len(facts['encoders'])} encoders"]
    lines += [
        f"{test['name']}: t = {test['statistic']:.2f}, p = {test['p']:.2g}, "
        f"Cohen's d = {_known(test['cohens_d'])}"
        for test in facts["tests"]
        if test["name"] in ("C>S", "C>E", "C>0", "m>0") and test["p"] is not None
    ]
    lines.append(f"separation  {SEPARATION[facts['separation']]}")
    reliability = facts["reliability"]
    if reliability["encoders"] is not None:
        lines.append(
            f"reliability {reliability['encoders']:.2f} (views and encoders; views alone "
            f"{_known(reliability['views'])}): "
            + (
                "for these groups; other groups would give another order"
                if reliability.get("groups") == "fixed"
                else _ranking(reliability["encoders"])
            )
        )
    else:
        lines.append(f"reliability {_known(reliability['views'])} ({reliability['note']})")
    if "path" in facts:
        lines.append(f"scores      {facts['path']}")
    return lines


def measure_lines(facts: dict[str, Any]) -> list[str]:
    """Return each measure's spread and its agreement with memorization."""
    lines = []
    for kind, row in facts["measures"].items():
        told = "agreement with memorization unknown"
        if row["spearman"] is not None:
            rho, tau = row["spearman"], row["kendall"]
            told = (
                f"Spearman {rho['value']:+.3f} ({rho['low']:+.3f} to {rho['high']:+.3f}) with "
                f"memorization, Kendall {tau['value']:+.3f}"
            )
        lines.append(f"{kind:<16} {row['n']:>7,} samples, mean {_short(row['mean'])}: {told}")
    if facts["left_out"]:
        lacking = "labels of two or more classes, which these samples do not have"
        lines.append(f"left out    {', '.join(facts['left_out'])}: they need {lacking}")
    return [*lines, f"measures    {facts['path']}"]


def localize_lines(facts: dict[str, Any]) -> list[str]:
    """Return a table of the layers of an encoder."""
    f, g = facts["encoders"]
    head = f"{'layer':<14}{'SSLMem':>9}  {'95 % interval':<18}{'LayerMem':>9}{'added':>8}"
    lines = [
        f"{facts['candidates']:,} samples that {f} was trained on and {g} was not",
        f"{head}  UnitMem in {f}, in {g}",
    ]
    for row in facts["layers"]:
        interval = f"{row['low']:+.4f} to {row['high']:+.4f}"
        added = "" if row["delta_layer_mem"] is None else f"{row['delta_layer_mem']:+.3f}"
        lines.append(
            f"{row['name']:<14}{row['sslmem']:>+9.4f}  {interval:<18}{row['layer_mem']:>+9.3f}"
            f"{added:>8}  "
            + (
                f"{_short(row['unit_mem'])}, {_short(row['unit_mem_control'])} of "
                f"{row['units']:,} units"
                if row["units"]
                else "no units of its own"
            )
        )
    return [*lines, f"layers      {facts['path']}", f"units       {facts['units']}"]


def _short(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


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


WHY = {
    "reached": "reached",
    "budget": "not reached: another round would exceed the budget",
}


def refine_lines(facts: dict[str, Any]) -> list[str]:
    """Return what it took to make a ranking surer, round by round."""
    lines = [
        f"{r['encoders']:>6,} encoders, {_views(r)}: reliability {_known(r['reliability'])}"
        f", {r['seconds']:,.0f} s"
        for r in facts["rounds"]
    ]
    why = WHY.get(facts["why"], f"not reached: {facts['why']}")
    return [*lines, f"{facts['goal']}: {_known(facts['value'])}, {why}"]


def _views(facts: dict[str, Any]) -> str:
    """Return with how many views samples were measured, and what it spared to ask where."""
    more = facts["more_views"]
    if more is None:
        return f"{facts['views']} views"
    return (
        f"{facts['views']} views and up to {more['most']} for {more['samples']:,} samples in doubt "
        f"({facts['views_per_sample']:.0f} a sample)"
    )


def significant_lines(facts: dict[str, Any]) -> list[str]:
    """Return how many samples are memorized beyond chance, and the surest of them."""
    shown = facts["samples"].slice(0, 10).to_pylist()
    lines = [
        f"significant {facts['n']:,} of {facts['n_tested']:,} samples at a false discovery rate of "
        f"{facts['fdr']:g}" + (" (all with --json); the surest:" if facts["n"] > len(shown) else "")
    ]
    return lines + [
        f"  {row['uid']}  {row['memorization']:+.4f} ± {row['se']:.4f}  q = {row['q']:.2g}"
        for row in shown
    ]


def _ranking(reliability: float) -> str:
    """Return in words what a reliability means for the order of single samples."""
    if reliability >= 0.8:
        return "another run would rank much alike"
    if reliability >= 0.4:
        return "trust groups such as the top tenth more than single ranks"
    return "the order of single samples is close to noise"


def _known(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def inspect_lines(facts: dict[str, Any]) -> list[str]:
    """Return what was found among neighbours and in pixels, and what kinds of samples there are."""
    alike, leaks, kinds = facts["duplicates"], facts["leaks"], facts["triage"]
    lines = [
        f"{alike['samples']:,} of {facts['samples']:,} samples are near-duplicates; groups of "
        f"them: {alike['groups']:,}",
    ]
    if leaks["splits"]:
        lines.append(
            f"leaks       {leaks['samples']:,} with a near-duplicate held out as "
            f"{' or '.join(leaks['splits'])}"
        )
    if kinds["scored"]:
        why = ", ".join(f"{n:,} {name}" for name, n in kinds["reasons"].items() if n)
        lines += [
            f"tail        {kinds['counts']['tail']:,} memorized, isolated and well-formed",
            f"broken      {kinds['counts']['broken']:,} memorized and flawed"
            + (f": {why}" if why else ""),
        ]
    else:
        lines.append("tail        unknown: without scores nobody knows what is memorized")
    lines += [
        f"redundant   {kinds['counts']['redundant']:,} near-duplicates that others stand for",
        f"typical     {kinds['counts']['typical']:,} others",
    ]
    if kinds["separation"] == "none":
        lines.append("separation  NONE: who is memorized, and with it tail and broken, is noise")
    strongest = sorted(facts["relations"].values(), key=lambda r: -abs(r["spearman"]))[:3]
    lines += [
        f"relation    {r['spearman']:+.2f} ({r['low']:+.2f} to {r['high']:+.2f}, Spearman) with "
        f"{r['text']}"
        for r in strongest
    ]
    recall = facts["index"]["recall"]
    if recall is not None:
        lines.append(f"FAISS       inverted lists found {recall:.1%} of the nearest neighbours")
    return [*lines, f"neighbours  {facts['path']}"]


def copies_lines(found: Copies) -> list[str]:
    """Return which leaks and copies there are, leaks first."""
    lines = [
        f"leak        {leak.images:,} images of {leak.other} have a copy in {leak.split} "
        f"({leak.pairs:,} pairs)"
        for leak in found.leaks
    ]
    kinds = ", ".join(
        f"{getattr(found, name):,} {text}"
        for name, text in (
            ("exact", "of one file"),
            ("mirrored", "mirrored"),
            ("cropped", "cropped"),
            ("recoloured", "recoloured"),
        )
    )
    lines += [
        f"copies      {found.copies:,} of {found.images:,} images, in {found.groups:,} groups",
        f"pairs       {found.pairs:,}: {kinds}",
        f"false       about {found.false_rate:.2%} of pairs: {found.decoys:,} of "
        f"{found.decoy_queries:,} images turned upside down have a copy as well",
        f"tables      {found.out / 'pairs.parquet'}, {found.out / 'groups.parquet'}",
    ]
    if found.rejected:
        lines.append(f"rejected    {found.rejected:,} that cannot be read")
    return lines


def sample_lines(facts: dict[str, Any]) -> list[str]:
    """Return what is known of one sample: its place, its kind, its neighbours, and its file."""
    rank, score = "not scored", ""
    if facts["rank"] is not None:
        rank = f"{facts['rank']:,} of {facts['n_scored']:,} (1 = most memorized)"
        error = "" if facts["se"] is None else f" ± {facts['se']:.4f}"
        score = f"{facts['memorization']:+.4f}{error}"
    why = f" ({facts['triage_reason']})" if facts["triage_reason"] else ""
    lines = [
        f"sample      {facts['uid']}",
        f"rank        {rank}",
        *([f"memorized   {score}"] if score else []),
        f"label       {_label(facts)}",
        f"triage      {facts['triage']}{why}",
    ]
    if facts["outlier_score"] is not None:
        lines.append(
            f"outlier     {facts['outlier_score']:.3f} (mean distance to its neighbours, 0 to 2), "
            f"local outlier factor {facts['local_outlier_factor']:.2f}"
        )
    if facts["duplicate_split"]:
        lines.append(f"leak        {facts['duplicate_split']} has {facts['duplicate_split_uid']}")
    if facts["duplicates"]:
        more = len(facts["duplicates"]) - SHOWN
        shown = ", ".join(facts["duplicates"][:SHOWN])
        lines.append(f"duplicates  {shown}" + (f" and {more:,} more" if more > 0 else ""))
    for near in facts["neighbours"]:
        place = "not scored" if near["rank"] is None else f"rank {near['rank']:,}"
        lines.append(
            f"neighbour   {near['distance']:.3f}  {near['uid']}  label {_label(near)}, {place}"
        )
    return [
        *lines,
        f"file        {facts['size']:,} bytes at offset {facts['offset']:,} of "
        f"{facts['shard']} (key {facts['key']}), {facts['width']} x {facts['height']} pixels",
        f"from        {_printable(facts['path'])}",
    ]


def _label(facts: dict[str, Any]) -> str:
    if facts["label"] is None:
        return "none"
    name = facts["class"]
    plain = name in (None, "", str(facts["label"]))
    return str(facts["label"]) + ("" if plain else f" ({_printable(name)})")


def _printable(text: str) -> str:
    """Return a text of a source as a terminal may show it: control characters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def select_lines(facts: dict[str, Any]) -> list[str]:
    """Return what was selected."""
    return [
        f"kept {facts['kept']:,}, dropped {facts['dropped']:,}: {facts['description']}",
        f"manifest    {facts['path']}",
    ]


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


def doctor_lines(facts: dict[str, Any]) -> list[str]:
    """Return what ``curate doctor`` says."""
    lines = [f"{name:<16} {number}" for name, number in facts["versions"].items()]
    lines.append(f"{'cores':<16} {facts['cores']}")
    lines.append(f"{'CUDA':<16} {', '.join(facts['cuda']) or 'none: training runs on the CPU'}")
    lines.append(f"{'FAISS':<16} {facts['faiss'] or 'missing'}")
    lines.append(f"{'free disk':<16} {facts['free_disk_gib']} GiB")
    return lines + [f"missing: {what}" for what in facts["missing"]]


def verify_lines(facts: dict[str, Any]) -> list[str]:
    """Return what ``curate verify`` says: that all is well, or a line a fault."""
    if facts["ok"]:
        return [f"{facts['path']}: {facts['checked']:,} checked, nothing missing or changed"]
    return [_fault(**fault) for fault in facts["faults"]]


def faults_in_short(facts: dict[str, Any]) -> str:
    """Return the message that ``curate verify`` ends with: the first faults, and how many more."""
    lines = verify_lines(facts)
    more = f" (and {len(lines) - 3:,} more)" if len(lines) > 3 else ""
    return f"{facts['path']}: {'; '.join(lines[:3])}{more}.\n{_mend(facts)}"


def _mend(facts: dict[str, Any]) -> str:
    """Return what to do about the faults of a run, of shards or of a manifest."""
    path = shlex.quote(facts["path"])
    if facts["kind"] == "run" and any(f["file"] == "run.json" for f in facts["faults"]):
        return "Put run.json back as it was, or start over beside it with --fresh."
    return {
        "run": f"'curate run {path}' makes again what is missing or changed; select anew what it "
        "does not.",
        "shards": "Write them again with 'curate shard', into a new folder.",
        "manifest": "Make it again with 'curate select'.",
    }[facts["kind"]]


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


def recipe_lines(texts: Mapping[str, str]) -> list[str]:
    """Return a line for each recipe: its name and the first sentence of its description."""
    width = max(map(len, texts), default=0)
    first = {name: re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0] for name, text in texts.items()}
    return [f"{name:<{width}}  {sentence}" for name, sentence in first.items()]


def as_yaml(content: dict[str, Any]) -> str:
    """Return a resolved recipe as YAML, in the order of its sections."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
