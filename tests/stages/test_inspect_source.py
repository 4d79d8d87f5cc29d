"""A source is inspected by embeddings alone: no run, and nothing is trained."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from PIL import Image

import curate
from curate.data.sources import open_source
from curate.errors import UsageError
from tests.command import curate as typed

pytestmark = pytest.mark.numeric

N, TESTS = 40, 10


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of images by split and class; one of the tests is a copy of a training image."""
    home = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for i in range(N + TESTS):
        folder = home / ("train" if i < N else "test") / f"c{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(draw.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        small.resize((60, 50), Image.Resampling.BICUBIC).save(folder / f"{i:02}.png")
    (home / "test" / "c0" / "44.png").write_bytes((home / "train" / "c0" / "10.png").read_bytes())
    return home


def looked(photos, out, *words):
    done = typed("inspect", photos, "--out", out, "--device", "cpu", *words)
    assert done.code == 0, done.err
    facts = json.loads((out / "inspect.json").read_text())
    return pq.read_table(out / "inspect.parquet"), pq.read_table(out / "images.parquet"), facts


def test_embeddings_in_the_order_of_the_source(photos, tmp_path):
    paths = list(open_source(str(photos)).paths())
    points = np.random.default_rng(1).normal(size=(N, 8))
    odd = 7
    # All others on a small cap of the sphere.
    points[:, 0] += 50
    points[odd] = -points[odd]
    np.save(tmp_path / "e.npy", points)
    table, images, facts = looked(photos, tmp_path / "o", "--embeddings", tmp_path / "e.npy")
    assert (table.num_rows, images.num_rows, facts["space"]["kind"]) == (N, N + TESTS, "file")
    farthest = table["uid"][int(np.argmax(table["outlier_score"].to_numpy()))].as_py()
    names = dict(zip(images["uid"].to_pylist(), images["path"].to_pylist(), strict=True))
    assert names[farthest] == paths[odd]
    assert facts["leaks"]["samples"] == 1
    left = sorted(p.name for p in (tmp_path / "o").iterdir())
    assert left == [
        "images.parquet",
        "inspect.json",
        "inspect.parquet",
        "inspect_neighbours.parquet",
    ]
    # The same rows by path, in any order, are the same space.
    by_path = pa.table({"path": paths[::-1], "v": list(points[::-1].astype(np.float32))})
    pq.write_table(by_path, tmp_path / "e.parquet")
    again, _, _ = looked(photos, tmp_path / "p", "--embeddings", tmp_path / "e.parquet")
    np.testing.assert_allclose(
        again["outlier_score"].to_numpy(), table["outlier_score"].to_numpy(), atol=1e-6
    )


def test_an_encoder_from_elsewhere_gives_the_space(photos, tmp_path):
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "f.pt")
    words = ("--encoder", tmp_path / "f.pt", "--backbone", "timm:resnet18", "--size", "64")
    table, _, facts = looked(photos, tmp_path / "o", *words, "--set", "inspect.neighbours=3")
    assert (table.num_rows, facts["space"]["dim"], facts["neighbours"]) == (N, 512, 3)
    assert np.ptp(table["outlier_score"].to_numpy()) > 0
    words = ("--encoder", "timm-random:test_resnet")
    _, _, facts = looked(photos, tmp_path / "o", *words)
    assert facts["space"] == {"kind": "timm", "name": "timm-random:test_resnet", "dim": 96}
    assert facts["leaks"]["samples"] == 1


def test_a_count_that_does_not_fit_is_found_before_images_are_read(photos, tmp_path):
    np.save(tmp_path / "e.npy", np.zeros((N + 1, 4)))
    out = tmp_path / "o"
    done = typed("inspect", photos, "--out", out, "--embeddings", tmp_path / "e.npy")
    assert done.code == 3
    assert f"{N} rows of numbers are needed, in the order of the paths of" in done.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "either --encoder or --embeddings"),
        (("--encoder", "timm:resnet18", "--embeddings", "e.npy"), 2, "either --encoder or"),
        (("--encoder", "nothing"), 2, "unknown inspect.encoder 'nothing'"),
        (("--encoder", "timm:resnet18x"), 2, "Did you mean 'resnet18'"),
        (("--embeddings", "e.csv"), 2, "expected a .npy or a .parquet file"),
        (("--embeddings", "nowhere.npy"), 2, "there is no file nowhere.npy"),
        (("--encoder", "WEIGHTS"), 2, "say of which network"),
        (("--encoder", "timm-random:test_resnet", "--set", "train.lr=1"), 2, "only inspect.* is"),
        (("--encoder", "timm-random:test_resnet", "--sample", "ab"), 2, "--out goes with a SOURCE"),
    ],
)
def test_what_a_user_gets_wrong_is_a_line(photos, tmp_path, words, code, said):
    torch.save({"w": torch.ones(1)}, tmp_path / "f.pt")
    named = [str(tmp_path / "f.pt") if word == "WEIGHTS" else word for word in words]
    done = typed("inspect", photos, "--out", tmp_path / "o", *named)
    assert done.code == code, done.err
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_what_a_killed_process_left_is_removed(photos, tmp_path):
    stale = tmp_path / "o" / ".images-old"
    stale.mkdir(parents=True)
    (stale / "canvas.npy").write_bytes(b"half")
    looked(photos, tmp_path / "o", "--encoder", "timm-random:test_resnet")
    assert not stale.exists()


def test_a_run_is_inspected_and_probed_by_encoders_from_elsewhere_without_training(tmp_path):
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "f.pt")
    run = curate.open_run("digits", runs=tmp_path, overrides={"data.limit": 40})
    for words, kind in (
        (("--encoder", "timm-random:test_resnet"), "timm"),
        (("--encoder", tmp_path / "f.pt", "--backbone", "timm:resnet18", "--size", 32), "weights"),
    ):
        done = typed("inspect", "digits", "--runs", tmp_path, "--device", "cpu", *words)
        assert done.code == 0, done.err
        assert json.loads((run.path / "inspect.json").read_text())["space"]["kind"] == kind
        assert not list((run.path / "records").glob("train/*"))


def test_probes_take_files_and_names_of_timm(photos, tmp_path):
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "f.pt")
    given = ("--on", photos, "--kind", "knn", "--device", "cpu")
    file = typed("probe", tmp_path / "f.pt", "--backbone", "timm:resnet18", "--size", 32, *given)
    assert file.code == 0, file.err
    assert "left out of" in file.err
    assert f"on {TESTS} samples" in file.out
    named = typed("probe", "timm-random:test_resnet", *given)
    assert (named.code, f"on {TESTS} samples" in named.out) == (0, True)
    with pytest.raises(UsageError, match="needs an encoder inside a run"):
        curate.probe("timm-random:test_resnet")
    with pytest.raises(UsageError, match="say of which network"):
        curate.probe(tmp_path / "f.pt", on=[str(photos)])
