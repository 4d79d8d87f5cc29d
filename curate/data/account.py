"""Account: what a source held, and what became of all of it: in = written + rejected + left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curate.runtime.text import short, visible

KINDS = 20
"""Reasons that are counted one by one; further ones are counted together."""
OTHERS = "other reasons"
SHOWN = 4
"""Reasons, or classes, that a line names."""
LIMIT = "beyond the limit"

_VARIES = re.compile(r"\(.*\)|'[^']*'|\"[^\"]*\"|\d[\d,.]*|:\s.*")


@dataclass
class Account:
    """What became of the items of one split.

    Attributes:
        written: Number of samples written.
        rejected: How many were meant to be samples and cannot be, by reason.
        left_out: How many items are no samples, by reason.
        unlabelled: How many were written without a label.
    """

    written: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    unlabelled: int = 0

    def reject(self, reason: str) -> None:
        """Count a sample that was rejected."""
        _count(self.rejected, reason)

    def leave(self, reason: str, n: int = 1) -> None:
        """Count items that are no samples."""
        _count(self.left_out, reason, n)

    def to_json(self) -> dict[str, Any]:
        """Return it as ``dataset.json`` has it."""
        rejected, left = self.rejected.total(), self.left_out.total()
        return {
            "in": self.written + rejected + left,
            "written": self.written,
            "rejected": rejected,
            "left_out": left,
            "rejected_for": dict(sorted(self.rejected.items())),
            "left_out_for": dict(sorted(self.left_out.items())),
            "unlabelled": self.unlabelled,
        }


def _count(counter: Counter[str], reason: str, n: int = 1) -> None:
    kind = kind_of(reason)
    counter[kind if kind in counter or len(counter) < KINDS else OTHERS] += n


def kind_of(reason: str) -> str:
    """Return a reason without what varies in it: numbers, names, what a library adds."""
    return " ".join(_VARIES.sub("", reason).split()).strip(" ,;.") or reason[:SHOWN]


def lines(facts: Mapping[str, Any]) -> list[str]:
    """Return what ``dataset.json`` says of its sources, in lines that fit a screen."""
    out = []
    for role, account in facts.get("account", {}).items():
        split = account.get("split") or role
        name = role if split == role else f"{role} ({split})"
        out.append(
            f"{name:<11} {account['written']:,} written, {account['rejected']:,} rejected, "
            f"{account['left_out']:,} left out, of {account['in']:,}"
        )
        for kind in ("rejected", "left_out"):
            reasons = account[f"{kind}_for"]
            if reasons:
                out.append(f"  {kind.replace('_', ' '):<9} {_reasons(reasons)}")
        if account["unlabelled"] and account["unlabelled"] < account["written"]:
            out.append(f"  unlabelled {account['unlabelled']:,}")
        out += [
            f"  {kind:<9} {visible(str(text))}" for kind, text in account.get("chosen", {}).items()
        ]
    return [*out, f"{'classes':<11} {_classes(facts)}"] if out else []


def _reasons(reasons: Mapping[str, int]) -> str:
    most = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    more = sum(n for _, n in most[SHOWN:])
    texts = [f"{n:,} {visible(reason)}" for reason, n in most[:SHOWN]]
    return "; ".join([*texts, *([f"{more:,} others"] if more else [])])


def _classes(facts: Mapping[str, Any]) -> str:
    names: Sequence[str] = facts.get("classes") or []
    if names:
        texts = [n if len(n) <= 24 else short(n) for n in map(visible, names[:SHOWN])]
        more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
        return f"{len(names):,}: {', '.join(texts)}{more}"
    written = sum(account["written"] for account in facts["account"].values())
    without = sum(account["unlabelled"] for account in facts["account"].values())
    return "no labels" if without == written else "labels are numbers without names"
