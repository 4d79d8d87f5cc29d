"""Copies of images in folders, tars, runs, and in two sources, from the command line and Python."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

import curate as library
from curate.errors import DataError, UsageError
from curate.stages import copies as stage
from tests.command import curate
from tests.inspection.test_duplicates import SCENES

pytestmark = pytest.mark.numeric


def write(folder, images, names=None):
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        image.save(folder / (names[i] if names else f"{i:03d}.png"))


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Forty pictures for training; of the twenty for tests, three are copies of such."""
    folder = tmp_path_factory.mktemp("splits")
    write(folder / "train", SCENES[:40])
    leaks = [ImageOps.mirror(SCENES[3]), SCENES[5], SCENES[7].crop((2, 4, 44, 46)).resize((48, 48))]
    write(folder / "test", [*SCENES[60:77], *leaks])
    return folder


def leaks_of(found):
    table = pq.read_table(found.out / "pairs.parquet")
    rows = table.filter(table["leak"]).to_pylist()
    return {(row["path"], row["other_path"]) for row in rows}


THREE = {
    ("test/017.png", "train/003.png"),
    ("test/018.png", "train/005.png"),
    ("test/019.png", "train/007.png"),
}


def turned(pairs):
    return {tuple(sorted(pair)) for pair in pairs}


def test_leaks_are_said_first_and_the_tables_name_both_sides(splits, tmp_path):
    result = curate("copies", f"{splits}/", "--out", tmp_path / "out")
    assert result.code == 0, result.err
    assert result.out.startswith("leak        3 images of ")
    table = pq.read_table(tmp_path / "out" / "pairs.parquet")
    assert table.schema.remove_metadata() == stage.PAIR_SCHEMA
    rows = table.to_pylist()
    assert turned((row["path"], row["other_path"]) for row in rows if row["leak"]) == THREE
    about = {min(row["path"], row["other_path"]): row for row in rows}
    assert about["test/017.png"]["mirrored"]
    assert about["test/018.png"]["exact"]
    assert about["test/018.png"]["uid"] == about["test/018.png"]["other_uid"]
    assert about["test/019.png"]["cropped"]
    assert {about["test/017.png"]["split"], about["test/017.png"]["other_split"]} == {
        "train",
        "test",
    }
    groups = pq.read_table(tmp_path / "out" / "groups.parquet")
    assert groups.schema.remove_metadata() == stage.GROUP_SCHEMA
    assert groups.num_rows == 6
    assert sum(groups["stands"].to_pylist()) == 3
    assert json.loads((tmp_path / "out" / "copies.json").read_text())["images"] == 60


def test_the_same_is_found_in_tars_and_again_gives_the_same_bytes(splits, tmp_path):
    library.shard(f"{splits}", tmp_path / "train", split="train")
    library.shard(f"{splits}", tmp_path / "test", split="test")
    ask = {"against": tmp_path / "test"}
    found = library.copies(f"{tmp_path}/train", tmp_path / "out", **ask)
    assert [(leak.pairs, leak.images) for leak in found.leaks] == [(3, 3)]
    assert turned(leaks_of(found)) == THREE
    before = (found.out / "pairs.parquet").read_bytes()
    library.copies(f"{tmp_path}/train", tmp_path / "out", **ask)
    assert (found.out / "pairs.parquet").read_bytes() == before


def test_two_folders_without_labels_leak_only_between_each_other(tmp_path):
    write(tmp_path / "one", [*SCENES[:30], SCENES[0].resize((96, 96), Image.Resampling.BICUBIC)])
    write(tmp_path / "two", [*SCENES[40:60], SCENES[9]])
    found = library.copies(tmp_path / "one", tmp_path / "out", against=tmp_path / "two")
    assert leaks_of(found) == {("009.png", "020.png")}
    assert found.pairs == 2
    groups = pq.read_table(found.out / "groups.parquet").to_pylist()
    # The larger of two stands for them.
    assert {row["path"]: row["stands"] for row in groups if row["source"].endswith("one")} == {
        "000.png": False,
        "030.png": True,
        "009.png": True,
    }


def test_a_run_is_a_source(tiny_runs, tmp_path):
    result = curate("copies", "tiny", "--runs", tiny_runs, "--out", tmp_path / "out", "--json")
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    assert (
        facts["images"] == pq.read_table(tiny_runs / "tiny" / "shards" / "index.parquet").num_rows
    )


@pytest.mark.parametrize("n", [1, 2])
def test_few_images(n, tmp_path):
    write(tmp_path / "in", SCENES[:n])
    found = library.copies(tmp_path / "in", tmp_path / "out")
    assert (found.images, found.pairs, found.groups, found.leaks) == (n, 0, 0, ())


def test_equal_images_are_one_group_with_a_pair_each(tmp_path):
    write(tmp_path / "in", SCENES[:1] * 300)
    found = library.copies(tmp_path / "in", tmp_path / "out")
    assert (found.groups, found.copies, found.pairs, found.exact) == (1, 300, 299, 299)


def test_constant_images_are_copies_only_where_their_files_are(tmp_path):
    write(tmp_path / "in", [Image.new("RGB", (40, 40), (v,) * 3) for v in (0, 90, 91, 255, 255)])
    found = library.copies(tmp_path / "in", tmp_path / "out")
    assert (found.pairs, found.exact) == (1, 1)


def test_what_cannot_be_read_is_counted_and_alone_refused(tmp_path):
    write(tmp_path / "in", SCENES[:3])
    (tmp_path / "in" / "x.png").write_bytes(b"no image")
    assert library.copies(tmp_path / "in", tmp_path / "out").rejected == 1
    (tmp_path / "bad").mkdir()
    shutil.copy(tmp_path / "in" / "x.png", tmp_path / "bad")
    with pytest.raises(DataError, match="no image that can be read"):
        library.copies(tmp_path / "bad", tmp_path / "other")


@pytest.mark.parametrize(
    ("source", "words"), [("./nowhere", "no such folder"), ("nothing", "unknown source 'nothing'")]
)
def test_a_wrong_source_is_one_line_and_exit_code_2(source, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = curate("copies", source, "--out", tmp_path / "out")
    assert result.code == 2
    assert words in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_a_folder_with_something_else_is_not_written_to(splits, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"not empty \(it holds mine.txt\)"):
        library.copies(splits, tmp_path)


def test_a_size_is_that_of_the_whole_jpeg(tmp_path):
    large = np.asarray(SCENES[1].resize((800, 600), Image.Resampling.BICUBIC))
    write(tmp_path / "in", [Image.fromarray(large)] * 2, names=["a.jpg", "b.jpg"])
    library.copies(tmp_path / "in", tmp_path / "out")
    groups = pq.read_table(tmp_path / "out" / "groups.parquet")
    assert groups.select(["width", "height"]).to_pylist() == [{"width": 800, "height": 600}] * 2
