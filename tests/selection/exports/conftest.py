"""Shards of one image a format, and a manifest of them."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curate.data import shards
from curate.data.sample import Entry
from curate.selection.manifest import Manifest
from tests.given import Given
from tests.rendered import encoded, picture
from tests.selection.exports.made import CLASSES, KINDS


@pytest.fixture
def made(tmp_path):
    """Shards of one image a format, the last two without a label, and a manifest of them."""
    entries = [
        Entry(f"deep/{k}", encoded(Image.fromarray(picture(i, 12, 9)), k), i * 5 if i < 5 else None)
        for i, k in enumerate(KINDS)
    ]
    shards.write([(Given(entries, classes=CLASSES), "train")], tmp_path / "shards")
    index = pq.read_table(tmp_path / "shards" / "index.parquet")
    keep = np.arange(len(KINDS)) != 1
    manifest = Manifest.build(
        index.append_column("memorization", [np.linspace(1, 0, len(KINDS))]),
        keep,
        strategy="top",
        parameters={},
    )
    return manifest, entries, tmp_path / "shards"
