"""Segmentation and depth are probed from the command line, and compared like classes are."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import curate as library
from curate.encoders.pretrained import Given
from curate.runs.run import Run
from curate.runtime.files import read_json
from tests.command import curate
from tests.scenes import write_scenes

pytest.importorskip(
    "segmentation_models_pytorch", reason="segmentation-models-pytorch is not installed"
)
pytestmark = pytest.mark.numeric

FAST = {
    f"probe.{kind}.{key}": value
    for kind in ("seg", "depth")
    for key, value in {"epochs": 2, "width": 8, "batch_size": 8, "threads": 1}.items()
}
SETTINGS = [word for key, value in FAST.items() for word in ("--set", f"{key}={value}")]


CAMVID = Path(os.environ.get("CURATE_CAMVID", "/usr/share/datasets/camvid"))


@pytest.fixture
def scenes(tmp_path):
    return write_scenes(tmp_path / "scenes", train=12, test=6)


@pytest.fixture
def encoder(tiny_runs):
    return tiny_runs / "tiny" / "encoders" / "fold0"


def probe(encoder, *sources, more=()):
    on = [word for source in sources for word in ("--on", source)]
    return curate("probe", encoder, *on, *SETTINGS, *more)


def refused(result, code, *texts):
    assert result.code == code, result.err
    (line,) = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert result.err.endswith(f"{line}\n") and all(text in line for text in texts), line


def test_an_encoder_of_a_run_is_probed_and_what_it_is_made_of_is_kept(encoder, scenes):
    sources = [f"seg:{scenes}", f"depth:{scenes}", "self"]
    result = probe(encoder, *sources, more=["--json"])
    assert result.code == 0, result.err
    shown = json.loads(result.out)
    found = {(r["source"], r["kind"]): r for r in shown["results"]}
    kinds = [("self", "linear"), ("self", "knn")]
    dense = [(sources[0], "mIoU"), (sources[1], "RMSE"), (sources[1], "AbsRel")]
    assert set(found) == {*kinds, *dense}
    for key in dense:
        assert found[key]["low"] < found[key]["value"] < found[key]["high"]
        assert (found[key]["n_train"], found[key]["n_test"]) == (12, 6)
    stored = read_json(Path(shown["path"]))
    assert stored["results"] == shown["results"]
    tables = [pq.read_table(p) for p in sorted(Path(shown["path"]).parent.glob("*-on-*.parquet"))]
    depths, masks = tables
    assert masks.column_names == ["uid", "intersection", "union"]
    both, either = (
        np.array(masks[name].to_pylist()).sum(axis=0) for name in masks.column_names[1:]
    )
    there = either > 0
    assert found[dense[0]]["value"] == pytest.approx((both[there] / either[there]).mean())
    rmse = (sum(depths["squared_error"].to_pylist()) / sum(depths["pixels"].to_pylist())) ** 0.5
    assert found[dense[1]]["value"] == pytest.approx(rmse)
    # The same again, from what was read: not a byte is another.
    before = {p: p.read_bytes() for p in Path(shown["path"]).parent.iterdir() if p.is_file()}
    assert probe(encoder, *sources).code == 0
    assert {p: p.read_bytes() for p in before} == before


def test_words_say_measure_interval_and_what_was_trained(encoder, scenes):
    result = probe(encoder, f"seg:{scenes}", f"depth:{scenes}")
    seg, rmse, relative = result.out.splitlines()[:3]
    assert f"seg:{scenes} mIoU: " in seg and " % on 6 images (95 % interval over them: " in seg
    assert "encoder and upernet trained, 4 classes" in seg
    assert " m on 6 images" in rmse and "encoder and unet trained" in rmse
    assert "AbsRel: 0." in relative
    frozen = probe(encoder, f"seg:{scenes}", more=["--set", "probe.seg.frozen=true"])
    assert "upernet alone trained" in frozen.out


def test_void_that_is_said_is_no_class_and_ade20ks_is_known(encoder, scenes):
    said = probe(encoder, f"seg:{scenes}", more=["--set", "probe.seg.void=[0,255]"])
    assert "3 classes" in said.out
    (scenes / "objectInfo150.txt").write_text("Idx\n")
    assert "3 classes" in probe(encoder, f"seg:{scenes}").out


@pytest.mark.parametrize("kind", ["seg", "depth"])
def test_what_does_not_fit_is_told_in_a_line(encoder, scenes, kind):
    refused(probe(encoder, f"{kind}:nowhere"), 2, f"{kind}:nowhere", "no folder")
    refused(probe(encoder, f"{kind}:"), 2, f"write {kind}:DIR")
    refused(probe(encoder, f"{kind}={scenes}"), 2, f"write {kind}:DIR")
    beside = "annotations" if kind == "seg" else "depths"
    file = scenes / beside / "train" / "0003.png"
    kept = file.read_bytes()
    file.unlink()
    refused(probe(encoder, f"{kind}:{scenes}"), 3, "1 of 12", "images/train/0003.png")
    Image.fromarray(np.ones((9, 7), dtype=np.uint8)).save(file)
    refused(probe(encoder, f"{kind}:{scenes}"), 3, "images/train/0003.png", "40 x 32", "7 x 9")
    file.write_bytes(kept)
    assert probe(encoder, f"{kind}:{scenes}").code == 0


def test_masks_of_one_class_and_depths_of_none_are_refused(encoder, scenes):
    for top, numbers in (("annotations", 1), ("depths", 0)):
        for file in (scenes / top).rglob("*.png"):
            Image.fromarray(np.full((32, 40), numbers, dtype=np.uint8)).save(file)
    refused(probe(encoder, f"seg:{scenes}"), 3, "1 classes beside void", "probe.seg.void")
    refused(probe(encoder, f"depth:{scenes}"), 3, "no pixel of the training images has a depth")


def test_settings_of_an_encoder_without_a_run_are_those_of_probe(scenes):
    network = "timm-random:resnet18"
    made = library.probe(
        network,
        on=[f"seg:{scenes}"],
        given=Given(size=32),
        overrides=FAST | {"probe.seg.decoder": "unet"},
        device="cpu",
    )
    assert (made.results[0].decoder, made.path) == ("unet", None)
    refused(
        curate("probe", network, "--on", f"seg:{scenes}", "--set", "train.lr=1"), 2, "probe alone"
    )
    refused(
        curate("probe", network, "--on", f"seg:{scenes}", "--set", "probe.seg.epoch=1"), 2, "epoch"
    )


def test_arms_are_compared_by_segmentation_and_depth(tiny_runs, scenes):
    run = Run.open(tiny_runs / "tiny")
    sources = [f"seg:{scenes}", f"depth:{scenes}"]
    asked = ("compare", "tiny", "--runs", tiny_runs, "--remove", "20", "--strategies", "top")
    on = [word for source in ("self", *sources) for word in ("--on", source)]
    result = curate(*asked, "--seeds", "2", "--workers", "1", *on, *SETTINGS, "--json")
    assert result.code == 0, result.err
    made = json.loads(result.out)
    gaps = {(d["source"], d["kind"]): d for d in made["differences"]}
    assert {kind for _, kind in gaps} == {"linear", "knn", "mIoU", "RMSE", "AbsRel"}
    folder = Path(made["path"])
    table = pq.read_table(folder / "comparison.parquet")
    for source, kind in ((sources[0], "mIoU"), (sources[1], "RMSE")):
        mine = np.array(table["source"].to_pylist()) == source
        parts = {
            arm: np.array([table[f"{arm}-20-s{s}-{kind}"].to_pylist() for s in range(2)])[:, mine]
            for arm in ("top", "random")
        }
        gap = gaps[source, kind]
        assert gap["mean"] == pytest.approx(float(parts["top"].mean() - parts["random"].mean()))
        assert gap["low"] < gap["mean"] < gap["high"] and gap["images"] is None
        assert gap["n_test"] == 6
    assert gaps["self", "knn"]["images"] is not None
    rows = (folder / "comparison.csv").read_text().splitlines()
    assert rows[0].endswith(",encoder,value,low,high,decoder,frozen")
    # Sums by test image are kept by encoder and source: four encoders, two sources.
    kept = {p: p.read_bytes() for p in (run.path / "comparisons/probes").glob("*.parquet")}
    assert len(kept) == 8
    # Nothing is probed again that is there, and what is gone comes back as it was.
    one = next(iter(kept))
    one.unlink()
    first = {p: p.read_bytes() for p in folder.iterdir()}
    (run.path / "records" / "compare" / f"{folder.name}.json").unlink()
    again = curate(*asked, "--seeds", "2", "--workers", "1", *on, *SETTINGS)
    assert again.code == 0, again.err
    assert {p: p.read_bytes() for p in folder.iterdir()} == first
    assert {p: p.read_bytes() for p in (run.path / "comparisons/probes").glob("*.parquet")} == kept
    words = " ".join(again.out.split())
    assert f"against random, {sources[0]} mIoU: " in words and " m (95 % interval " in words
    page = curate("report", "tiny", "--runs", tiny_runs)
    assert page.code == 0, page.err
    text = (tiny_runs / "tiny" / "report.html").read_text()
    assert "mIoU" in text and "Of an error (RMSE, AbsRel), below 0." in text


@pytest.mark.skipif(
    not CAMVID.is_dir(), reason=f"no CamVid in {CAMVID}; CURATE_CAMVID names its folder"
)
def test_camvid_is_segmented_better_than_by_calling_all_of_it_one_class():
    settings = {"epochs": 3, "width": 16, "lr": 0.1, "threads": 2, "void": [11]}
    made = library.probe(
        "timm-random:resnet18",
        on=[f"seg:{CAMVID}"],
        given=Given(size=32),
        overrides={f"probe.seg.{key}": value for key, value in settings.items()},
        device="cpu",
    )
    (result,) = made.results
    assert (result.n_train, result.n_test, result.classes) == (367, 233, 11)
    # One class of eleven is right nowhere else than where it is.
    assert result.low > 1 / 11
