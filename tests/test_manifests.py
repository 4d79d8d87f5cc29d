"""The manifest in manifests/ is whole, and is what its commands would make today."""

from pathlib import Path

import pyarrow.compute as pc

import curate
from curate.data.sources import open_source
from curate.selection.manifest import Manifest

PATH = Path(__file__).parent.parent / "manifests" / "digits-top-674.parquet"


def test_the_example_reads_and_says_what_the_page_says():
    manifest = Manifest.read(PATH)
    assert len(manifest.kept()) == 674
    assert manifest.table.num_rows == len(list(open_source("digits", split="train").paths()))
    top = pc.less_equal(manifest.table["rank"], 674)
    assert pc.equal(manifest.table["decision"], "keep").to_pylist() == top.to_pylist()
    page = (PATH.parent / "README.md").read_text()
    assert all(f"| `{name}` |" in page for name in manifest.table.column_names)


def test_the_example_was_made_with_todays_recipe():
    facts = Manifest.read(PATH).facts
    assert facts["recipe_fingerprint"] == curate.load_recipe("digits").fingerprint()
    assert facts["separation"] == "clear"
