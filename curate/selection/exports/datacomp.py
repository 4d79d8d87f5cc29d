"""datacomp: the kept uids as the array that DataComp's resharder takes for a subset.

``python resharder.py -i RUN/shards -o OUT -s SUBSET.npy`` reads the ``uid`` of each sample's JSON;
the shards of curate have it. Format: arXiv 2304.14108, "u8,u8", sorted, the two halves of a uid.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from curate.data.sample import packed_uids
from curate.runtime.files import replacing
from curate.runtime.progress import Progress
from curate.selection.manifest import Manifest

UID = np.dtype("u8,u8")


def write(manifest: Manifest, shards: Path, out: Path, progress: Progress) -> int:
    """Write the kept samples' uids, (n,) of ``UID``, sorted; returns how many samples they are.

    Exact repeats are one image to the resharder, which knows 128 bits: if one is kept, it takes all
    of them, and so their uid is there once.
    """
    kept = manifest.table.filter(pc.equal(manifest.table["decision"], "keep"))["uid"]
    # Digests sort as the numbers that they spell.
    names = np.unique(packed_uids(kept).astype("S32"))
    words = np.frombuffer(bytes.fromhex(b"".join(names.tolist()).decode()), dtype=">u8")
    pairs = np.empty(len(names), dtype=UID)
    pairs["f0"], pairs["f1"] = words.reshape(-1, 2).T
    with replacing(out) as temporary, temporary.open("wb") as stream:
        np.save(stream, pairs, allow_pickle=False)
    progress("export", len(kept), len(kept))
    return len(kept)
