"""The one command for a machine with a card goes through on one without."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parent.parent / "docs" / "benchmarks" / "gpu.py"
PARTS = ["machine", "tests", "invariances", "training", "scoring", "experiment", "precision"]


@pytest.mark.slow
def test_every_part_is_measured_with_the_smallest_sizes(tmp_path):
    images, wheels = tmp_path / "images", tmp_path / "wheels"
    wheels.mkdir()
    random = np.random.default_rng(0)
    for i in range(80):
        path = images / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (9, 9), dtype=np.uint8)).save(path)
    out = tmp_path / "gpu.json"
    given = ["--device", "cpu", "--tiny", "--images", images, "--wheels", wheels, "--out", out]
    done = subprocess.run(
        [sys.executable, SCRIPT, *given], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert [part for part in found if part in PARTS] == PARTS
    assert not any("error" in found[part] for part in PARTS)
    # Without a card its tests are skipped, and with one they pass.
    assert found["tests"]["code"] == 0 and not found["tests"]["failed"]
    apart = dict(found["invariances"])
    spread = apart.pop("standard deviation of memorization")
    assert len(apart) == 4 and all(difference < 1e-4 * spread for difference in apart.values())
    for name, row in {**found["training"], **found["scoring"]}.items():
        assert 0 < row["low"] <= row["images_a_second"] <= row["high"], name
        assert f": {name} | " in done.stdout
    assert found["experiment"]["recipe"]["data"]["source"] == f"folder:{images}"
    assert found["experiment"]["scores"]["groups"]
    assert found["precision"]["tf32"]["largest relative difference"] == 0
    assert 0 < found["precision"]["bfloat16"]["largest relative difference"] < 0.1
