"""What is said of encoders that were adopted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from curate.stages.adopt import Adopted

SHOWN = 4
"""Names in a file that are shown of those that are no part of an encoder."""


def adopted_lines(adopted: Adopted) -> list[str]:
    """Return which encoders a run has, what they saw, and what of their files was left out."""
    width, lines = max(map(len, adopted.encoders)), []
    for name, encoder in adopted.encoders.items():
        lines.append(
            f"{name:<{width}}  {encoder.backbone}, {encoder.size} pixels, saw {encoder.saw:,} of "
            f"{adopted.images:,} images"
        )
        if left := encoder.left_out:
            shown = ", ".join(left[:SHOWN]) + (", ..." if len(left) > SHOWN else "")
            lines.append(f"{'':<{width}}  left out of its file: {len(left):,} ({shown})")
    if adopted.scored:
        lines.append(f"{adopted.scored:,} images can be scored: some encoders saw them, others not")
    elif len(adopted.encoders) == 1:
        lines.append(
            "no image can be scored: by one encoder alone nobody can tell what it memorized from "
            "what is hard for any; adopt one that did not see the images, too"
        )
    else:
        lines.append(
            "no image can be scored: none was seen by some of the encoders and not by others"
        )
    return [*lines, f"run         {adopted.run}"]
