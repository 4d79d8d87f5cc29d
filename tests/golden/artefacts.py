"""Digests of what the tiny run makes, by the kind of machine that made them.

``python -m tests.golden.artefacts`` adds or replaces those of this machine, after a change that is
meant to change results.
"""

import hashlib
import json
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch

RECORDED = Path(__file__).with_name("artefacts.json")
LIBRARIES = ("torch", "numpy", "scipy", "pillow", "pyarrow", "faiss-cpu")
"""What the bytes of an artefact come from, besides curate and the processor."""
KINDS = (
    "plan.parquet",
    "shards/*.tar",
    "shards/index.parquet",
    "encoders/*/weights.safetensors",
    "scores.parquet",
    "inspect.parquet",
    "inspect_neighbours.parquet",
    "manifests/*.parquet",
)


def processor():
    """Return vendor, family and model of the processor, and what PyTorch uses of it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    said = {}
    for line in lines:
        name, _, value = line.partition(":")
        said.setdefault(name.strip(), value.strip())
    kind = [said.get(name, "unknown") for name in ("vendor_id", "cpu family", "model")]
    return " ".join([*kind, torch.backends.cpu.get_cpu_capability()])


def machine():
    """Return what decides the last bit: the processor, and the versions of the libraries."""
    return "; ".join([processor(), *(f"{name} {version(name)}" for name in LIBRARIES)])


def digests(run):
    """Return the sha256 of each artefact of a run, by its path in the run."""
    files = sorted(path for kind in KINDS for path in run.glob(kind))
    return {
        path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def recorded():
    """Return the digests of every kind of machine that recorded some."""
    return json.loads(RECORDED.read_text())


def record():
    """Run the tiny recipe and record its digests for this kind of machine."""
    from tests.command import TINY, curate

    with tempfile.TemporaryDirectory() as folder:
        result = curate("run", TINY, "--runs", folder, "--workers", "1", "--device", "cpu")
        assert result.code == 0, result.err
        known = recorded() if RECORDED.exists() else {}
        known[machine()] = digests(Path(folder) / "tiny")
    RECORDED.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    record()
