"""The machine: what is installed, what it has, and what is missing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from curate.errors import CurateError
from curate.inspection import neighbours
from curate.runtime import threads
from curate.runtime.results import Result
from curate.runtime.versions import FAISS, versions


@dataclass(frozen=True)
class Machine(Result):
    """What a machine has.

    Attributes:
        versions: By name of Python, curate and the libraries that are installed.
        cores: CPU cores that this process may use.
        cuda: Names of the CUDA devices.
        faiss: The version of FAISS; None where it is missing.
        search: What finds neighbours: ``faiss-cpu``, ``faiss-gpu``, or ``torch`` on the GPU.
        free_disk_gib: Free space where the command runs.
        missing: What is missing or wrong, and how to mend it, a sentence each.
    """

    versions: dict[str, str]
    cores: int
    cuda: tuple[str, ...]
    faiss: str | None
    search: str | None
    free_disk_gib: float
    missing: tuple[str, ...]


def doctor() -> Machine:
    """Return versions, devices, FAISS and disk of this machine, and what is missing."""
    import torch

    installed = versions()
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    newest = max((torch.cuda.get_device_capability(i) for i in range(cards)), default=None)
    faiss: str | None = None
    search: str | None = None
    try:
        faiss, search = neighbours.faiss_version(), neighbours.searcher()
        missing = _faiss_faults([n for n in FAISS if n in installed], neighbours.gpus(), newest)
    except CurateError as error:
        missing = [str(error)]
    return Machine(
        versions=installed,
        cores=threads.cores(),
        cuda=tuple(torch.cuda.get_device_name(i) for i in range(cards)),
        faiss=faiss,
        search=search,
        free_disk_gib=round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
        missing=tuple(missing),
    )


def _faiss_faults(installed: list[str], gpus: int, newest: tuple[int, int] | None) -> list[str]:
    """Return what is wrong with FAISS on this machine, and how to mend it.

    Args:
        installed: Those of ``FAISS`` that are installed.
        gpus: How many GPUs FAISS can search on.
        newest: Compute capability of the newest GPU that torch sees, if there is one.
    """
    extra = "cpu" if newest is None else "gpu"
    mend = f"pip uninstall -y {' '.join(installed)}; pip install 'curate[{extra}]'."
    if len(installed) > 1:
        return [f"FAISS is installed more than once, and each overwrote another: {mend}"]
    instead = f"torch searches up to {neighbours.EXACT:,} images on the GPU, and the CPU more"
    if newest is not None and not gpus:
        return [f"FAISS sees no GPU, so that {instead}: {mend}"]
    if newest is not None and neighbours.no_code(newest):
        return [f"faiss-gpu-cu12 has no code for this GPU, so that {instead}: {mend}"]
    return []
