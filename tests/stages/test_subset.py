"""Subset: the run that a manifest lies in, or one that is named, gives the images."""

import shutil

import numpy as np
import pytest

import curate
from curate.errors import UsageError


def test_a_manifest_of_a_run_is_a_dataset_of_its_kept_images(tiny_made, tmp_path):
    run = tiny_made[1] / "tiny"
    inside = curate.subset(run / "manifests" / "top-0.5", transform=np.array)
    assert len(inside) == 40 and {label for _, label in inside} <= set(range(10))
    assert inside[0][0].shape == (8, 8, 3)
    for path in (run / "manifests").glob("top-0.5.*"):
        shutil.copy(path, tmp_path / path.name)
    with pytest.raises(UsageError, match="lies in no run"):
        curate.subset(tmp_path / "top-0.5.parquet")
    outside = curate.subset(tmp_path / "top-0.5.parquet", run="tiny", runs=tiny_made[1])
    assert outside.uids == inside.uids
