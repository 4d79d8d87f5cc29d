"""The machine: what is installed, what it has, and what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.runtime import threads
from curate.runtime.versions import versions


def doctor() -> dict[str, Any]:
    """Return versions, devices, FAISS and disk of this machine, and what is missing."""
    import torch

    from curate.inspection import neighbours

    missing = []
    try:
        faiss = neighbours.faiss_version()
    except CurateError as error:
        faiss = None
        missing.append(str(error))
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "versions": versions(),
        "cores": threads.cores(),
        "cuda": [torch.cuda.get_device_name(i) for i in range(there)],
        "faiss": faiss,
        "free_disk_gib": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
        "missing": missing,
    }
