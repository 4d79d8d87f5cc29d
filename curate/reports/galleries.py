"""Galleries: images of the most and least memorized, outliers and near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

from curate.data.chunks import one_chunk
from curate.data.sample import base_uid
from curate.reports import chosen, words
from curate.reports.material import Material
from curate.reports.thumbnails import Thumbnail, thumbnails
from curate.scores.verdict import GROUP, NOTHING

SHOWN = 25
"""Images in each gallery of the most and the least memorized."""
OUTLIERS = 14
TRIAGED = 14
"""Images in the galleries of the tail and of what is broken."""
DUPLICATE_GROUPS = 12
GROUP_MEMBERS = 6


def galleries(material: Material) -> dict[str, Any]:
    """Return every gallery, its images read from the shards in one pass.

    Returns:
        ``most``, ``least``, ``chosen``, ``tail``, ``junk``, ``outliers`` and ``duplicates``: each a
        ``note`` and ``samples`` (or ``groups`` of them); those that need what the run does not have
        are None.

    Raises:
        DataError: If a shard is damaged.
    """
    ranked = material.ranked()
    most = material.uids(ranked[:SHOWN])
    least = material.uids(ranked[::-1][:SHOWN])
    table = material.inspected
    outlying = _outlying(table) if table is not None else {}
    groups = _duplicate_groups(table) if table is not None else []
    members = [uid for group in groups for uid in group[:GROUP_MEMBERS]]
    triaged = {name: _triaged(material, name) for name in ("tail", "broken")}
    near = chosen.nearest(material, most[0]) if most else {}
    shown = [*most, *least, *outlying, *members, *near]
    shown += [uid for uids in triaged.values() for uid in uids or ()]
    images = thumbnails(
        material.path / "shards", shown, channels=material.recipe["data"]["channels"]
    )
    cards = Cards(material, images, material.rows(shown))
    return {
        "most": {
            "note": f"{_span(material, ranked[:SHOWN], 'highest')} {_sure(material)}",
            "samples": [cards.card(uid) for uid in most],
        },
        "least": {
            "note": _least_note(material, ranked[::-1][:SHOWN]),
            "samples": [cards.card(uid) for uid in least],
        },
        "chosen": _chosen(material, cards, most[0], near) if most else None,
        "tail": _triage_gallery(material, cards, "tail", triaged["tail"]),
        "junk": _triage_gallery(material, cards, "broken", triaged["broken"]),
        "outliers": None
        if table is None
        else {
            "note": _outlier_note(material, table),
            "samples": [cards.card(uid, extra=extra) for uid, extra in outlying.items()],
        },
        "duplicates": None
        if table is None
        else {
            "note": _duplicate_note(material, table),
            "groups": [cards.group(group) for group in groups],
        },
    }


def _chosen(
    material: Material, cards: Cards, uid: str, near: dict[str, float]
) -> dict[str, Any] | None:
    """Return the most memorized sample with its neighbours and views; None without either."""
    shard = material.scores["shard"][cards.row_of[uid]].as_py()
    views = chosen.view_cards(material, uid, shard)
    if not near and views is None:
        return None
    rows = chosen.neighbour_facts(near)
    same = sum(cards.label(other) == cards.label(uid) for other in near)
    label = cards.label(uid)
    text = "" if label == "none" else f" {same} of {len(near)} have its label, {label}."
    return {
        "sample": cards.card(uid),
        "views": views,
        "neighbours_note": f"The nearest others in {_space(material)}, nearest first; distances "
        f"between unit vectors, 0 to 2.{text}",
        "neighbours": [cards.card(other, extra=rows[other]) for other in near],
    }


def _triaged(material: Material, name: str) -> dict[str, list[tuple[str, str]]] | None:
    """Return the most memorized of a class of triage and what is known of them; None without it."""
    table = material.inspected
    if table is None or "triage" not in table.column_names:
        return None
    members = table.filter(pc.equal(table["triage"], name))
    row_of = material.rows(members["uid"].to_pylist())
    rank = {uid: material.numbers["rank"][row] for uid, row in row_of.items()}
    order = sorted(rank, key=lambda uid: (np.isnan(rank[uid]), rank[uid], uid))[:TRIAGED]
    known = dict(zip(members["uid"].to_pylist(), members.to_pylist(), strict=True))
    extra: dict[str, list[tuple[str, str]]] = {}
    for uid in order:
        row = known[uid]
        extra[uid] = [("outlier", words.fixed(row["outlier_score"], 3))]
        if row.get("triage_reason"):
            extra[uid].append(("flaw", words.shown(row["triage_reason"])))
        if row.get("triage_reason") == "label" and row.get("label_vote") is not None:
            extra[uid].append(("neighbours say", material.label_name(row["label_vote"])))
    return extra


def _triage_gallery(
    material: Material,
    cards: Cards,
    name: str,
    members: dict[str, list[tuple[str, str]]] | None,
) -> dict[str, Any] | None:
    if members is None or material.inspected is None:
        return None
    total = pc.sum(pc.equal(material.inspected["triage"], name)).as_py() or 0
    rules = ((material.inspect_facts or {}).get("triage") or {}).get("rules", {})
    rule = words.shown(rules.get(name, ""), limit=400)
    state = {"tail": "in the tail", "broken": "broken"}[name]
    share = words.percent(total / max(1, material.inspected.num_rows), 1)
    note = f"{words.size(total, 'image')} ({share}) {'is' if total == 1 else 'are'} {state}"
    note += f": {rule.rstrip('.')}." if rule else "."
    if total > len(members):
        note += f" Shown: the {len(members)} most memorized of them."
    return {
        "note": note,
        "samples": [cards.card(uid, extra=extra) for uid, extra in members.items()],
    }


def _span(material: Material, rows: np.ndarray, which: str) -> str:
    if not len(rows):
        return "No image is scored."
    m, n = material.numbers["memorization"][rows], material.summary["n_scored"]
    low, high = (words.fixed(float(v), material.decimals) for v in (m.min(), m.max()))
    return (
        f"The {len(m)} {which} of {words.size(n, 'scored image')}: {low} to {high} "
        f"({material.unit}; score ± standard error)."
    )


def _sure(material: Material) -> str:
    grade = material.summary["verdict"]["grade"]
    if grade == NOTHING:
        return "The scores show nothing: do not read meaning into this order."
    if grade == GROUP:
        return "The scores show the group, not the ranking: the order within may be noise."
    return "Ranks are not told apart where scores differ by less than their standard errors."


def _least_note(material: Material, rows: np.ndarray) -> str:
    note = _span(material, rows, "lowest")
    if len(rows) and material.numbers["memorization"][rows].min() < 0:
        note += (
            " A score below 0 means that encoders trained on the image place its views farther "
            "apart than those that never saw it: nothing that memorization explains, and mostly "
            "noise."
        )
    return note


@dataclass(frozen=True)
class Cards:
    """Turns uids into what a gallery shows of them."""

    material: Material
    images: dict[str, Thumbnail]
    row_of: dict[str, int]

    def label(self, uid: str) -> str:
        """Return the class of a sample, by its name where it has one."""
        row = self.row_of.get(uid)
        label = None if row is None else self.material.scores["label"][row].as_py()
        return self.material.label_name(label)

    def card(self, uid: str, *, extra: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
        """Return image and facts of one sample."""
        numbers, row = self.material.numbers, self.row_of.get(uid)
        rows, score = list(extra), "not scored"
        if row is not None and not np.isnan(numbers["memorization"][row]):
            error, decimals = numbers["se"][row], self.material.decimals
            score = words.fixed(numbers["memorization"][row], decimals)
            score += f" ± {words.fixed(error, decimals)}" if not np.isnan(error) else ""
            rows.append(("rank", f"{int(numbers['rank'][row]):,}"))
        image, label = self.images[uid], self.label(uid)
        return {
            "image": image.uri,
            "alt": f"image of label {label}, memorization {score}",
            "pixelated": image.exact,
            "facts": [("score", score), *rows],
            "label": label,
            "uid": words.shown(uid),
            "path": words.shown(image.path, limit=48),
        }

    def group(self, members: Sequence[str]) -> dict[str, Any]:
        """Return title and cards of a group of near-duplicates."""
        copies = len({base_uid(uid) for uid in members}) == 1
        shown = members[:GROUP_MEMBERS]
        title = f"{len(members):,} " + (
            "copies of one file" if copies else "images that are nearly equal"
        )
        title += ", with different labels" if len({self.label(uid) for uid in shown}) > 1 else ""
        return {
            "title": title,
            "samples": [self.card(uid) for uid in shown],
            "more": len(members) - len(shown),
        }


def _outlying(table: pa.Table) -> dict[str, list[tuple[str, str]]]:
    """Return the farthest samples and what is known of them, farthest first."""
    known = table.filter(table["outlier_score"].is_valid())
    order = pc.sort_indices(
        known, sort_keys=[("outlier_score", "descending"), ("uid", "ascending")]
    )
    columns = ["uid", "outlier_score", "neighbour_distance"]
    return {
        row["uid"]: [
            ("outlier", words.fixed(row["outlier_score"], 3)),
            ("nearest", words.fixed(row["neighbour_distance"], 3)),
        ]
        for row in known.select(columns).take(order[:OUTLIERS]).to_pylist()
    }


def _space(material: Material) -> str:
    """Return in which space neighbours were found."""
    space = (material.inspect_facts or {}).get("space", {})
    name = material.recipe.get("inspect", {}).get("encoder") or material.summary["encoders"][0]
    name = words.shown(space.get("name") or name)
    if space.get("kind") == "file":
        return f"the space of the embeddings {name}"
    return f"the pooled, centred space of encoder {name}"


def _outlier_note(material: Material, table: pa.Table) -> str:
    near = material.recipe.get("inspect", {}).get("neighbours", 10)
    near = min(near, max(1, table.num_rows - 1))
    text = (
        f"The {min(OUTLIERS, table.num_rows)} images farthest from their neighbours, of "
        f"{table.num_rows:,}. “Outlier” is the mean distance to the "
        f"{words.size(near, 'nearest image')} in {_space(material)}, “nearest” the distance to the "
        "first of them (both between unit vectors, 0 to 2)."
    )
    rows = pc.index_in(table["uid"], value_set=one_chunk(material.scores["uid"]))
    scores = material.scores["memorization"].take(rows)
    both = pc.and_(table["outlier_score"].is_valid(), scores.is_valid())
    x = table["outlier_score"].filter(both).to_numpy()
    y = scores.filter(both).to_numpy()
    if len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0:
        r = float(stats.spearmanr(x, y).statistic)
        how = (
            "hardly go together"
            if abs(r) <= 0.2
            else f"go {'strongly' if abs(r) > 0.5 else 'somewhat'} "
            f"{'together' if r > 0 else 'against each other'}"
        )
        text += f" Outliers and memorization {how} (Spearman correlation {words.number(r, 2)})."
    return text


def _duplicate_groups(table: pa.Table) -> list[list[str]]:
    """Return the largest groups of near-duplicates, each sorted by uid."""
    grouped = table.filter(table["duplicate_group"].is_valid())
    members = grouped.group_by("duplicate_group").aggregate([("uid", "list")])
    groups = [sorted(uids) for uids in members["uid_list"].to_pylist()]
    return sorted(groups, key=lambda uids: (-len(uids), uids[0]))[:DUPLICATE_GROUPS]


def _duplicate_note(material: Material, table: pa.Table) -> str:
    duplicates = (material.inspect_facts or {}).get("duplicates", {})
    threshold = duplicates.get("threshold") or material.recipe.get("inspect", {}).get(
        "duplicate_threshold"
    )
    column = table["duplicate_group"].drop_null()
    images, groups = len(column), len(pc.unique(column))
    alike = f"a cosine similarity of {threshold} or more in {_space(material)}"
    rule = f" {words.shown(duplicates['rule'], limit=400)}" if duplicates.get("rule") else ""
    if rule and not rule.endswith("."):
        rule += "."
    if not images:
        return f"No two images have {alike}." if not rule else f"No near-duplicates:{rule}"
    text = (
        f"{words.size(images, 'image')} ({words.percent(images / table.num_rows, 1)}) in "
        f"{words.size(groups, 'group')}"
    )
    text += f":{rule}" if rule else f"; within a group each has {alike} to another."
    if groups > DUPLICATE_GROUPS:
        text += f" Shown: the {DUPLICATE_GROUPS} largest groups."
    return text + _leaks(material)


def _leaks(material: Material) -> str:
    """Return how many samples have a near-duplicate in a held-out split."""
    leaks = (material.inspect_facts or {}).get("leaks") or {}
    if not leaks.get("splits"):
        return ""
    return (
        f" {words.size(leaks['samples'], 'image')} {'has' if leaks['samples'] == 1 else 'have'} a "
        f"near-duplicate in a held-out split ({', '.join(map(words.shown, leaks['splits']))})."
    )
