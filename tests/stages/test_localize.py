"""LayerMem and UnitMem: by hand, against the alignment stage, and on a run."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import curate as curate_run
from curate.encoders.backbone import Encoder
from curate.encoders.views import VIEWS
from curate.encoders.views.apply import augment
from curate.runtime import randomness
from curate.runtime.files import file_sha256
from curate.runtime.progress import silent
from curate.scores.alignment import align_images
from curate.scores.config import ScoreConfig
from curate.scores.layers import Found, Units, layer_rows, layers_of, look, measure
from curate.scores.plan import Plan
from curate.stages import localize as localizing
from tests.command import curate

pytestmark = pytest.mark.numeric


def encoder(name="convnet", seed=0, **shape):
    torch.manual_seed(seed)
    given = {"size": 8, "channels": 1, **shape}
    return Encoder(name, **given).eval().requires_grad_(False)


def test_unit_mem_by_hand():
    units = Units(4)
    units.add(np.array([[1.0, 0.0, 2.0, 0.0], [1.0, 6.0, 4.0, 0.0]]))
    units.add(np.array([[1.0, 0.0, 0.0, 0.0]]))
    # All alike; one alone; 4 against the mean of 2 and 0; none.
    assert units.values() == pytest.approx([0.0, 1.0, (4 - 1) / (4 + 1), np.nan], nan_ok=True)
    assert units.of.tolist() == [0, 1, 1, 0]
    assert units.rest() == pytest.approx([1.0, 0.0, 1.0, 0.0])


def test_layer_mem_by_hand():
    # Three samples, two layers; g's alignment less f's: 0.1, 0.2, 0.6, then 0, 0, 0.3.
    f = np.array([[0.1, 0.1, 0.1], [0.2, 0.2, 0.2]])
    g = np.array([[0.2, 0.3, 0.7], [0.2, 0.2, 0.5]])
    none = [[Units(0), Units(0)], [Units(0), Units(0)]]
    first, second = layer_rows(Found(["a", "b"], [4, 2], np.stack([f, g]), none))
    assert (first.sslmem, second.sslmem) == pytest.approx((0.3, 0.1))
    # Over the range 0.5 and 0.3.
    assert (first.layer_mem, second.layer_mem) == pytest.approx((0.6, 1 / 3))
    assert second.delta_layer_mem == pytest.approx(1 / 3 - 0.6)
    # sd = sqrt((0.2^2 + 0.1^2 + 0.3^2) / 2); Student's quantile of 2 degrees of freedom is 4.303.
    se = np.sqrt(0.07 / 3)
    assert first.se == pytest.approx(se)
    ends = (0.3 - 4.3027 * se, 0.3 + 4.3027 * se)
    assert (first.low, first.high) == pytest.approx(ends, rel=1e-4)
    assert (first.units, first.unit_mem) == (0, None)


@pytest.mark.parametrize(
    ("name", "shape", "names", "units"),
    [
        ("convnet", {}, ["conv1", "conv2", "conv3", "conv4"], [32, 32, 64, 64]),
        (
            "resnet18",
            {},
            ["act1", *(f"layer{s}.{b}" for s in range(1, 5) for b in range(2))],
            [64, 64, 64, 128, 128, 256, 256, 512, 512],
        ),
        (
            "vit_micro",
            {},
            [f"blocks.{i}.{half}" for i in range(4) for half in ("attn", "mlp")],
            [0, 256] * 4,
        ),
    ],
)
def test_layers_of_every_kind_of_network(name, shape, names, units):
    made = encoder(name, **shape)
    layers = layers_of(made)
    assert [layer.name for layer in layers] == names
    pixels = torch.rand(3, 1, 8, 8)
    with torch.inference_mode():
        seen = look(made, layers, pixels)
    assert [u.shape for u in seen.units] == [(3, n) for n in units]
    for stream in seen.streams:
        assert torch.allclose(stream.norm(dim=1), torch.ones(3), atol=1e-5)
    hooks = [m._forward_hooks or m._forward_pre_hooks for m in made.modules()]
    assert not any(hooks)


def test_units_are_the_means_of_the_positive_part():
    made = encoder()
    pixels = torch.rand(2, 1, 8, 8)
    with torch.inference_mode():
        seen = look(made, layers_of(made), pixels)
        tokens = made.forward_float(pixels)
    assert torch.allclose(seen.units[-1], tokens.mean(dim=1), atol=1e-6)


@pytest.fixture(scope="module")
def images():
    draws = np.random.default_rng(0)
    return draws.integers(0, 256, (30, 1, 8, 8), dtype=np.uint8)


WORDS = randomness.mix(np.arange(30, dtype=np.uint64))


def found(pair, images, **score):
    config = ScoreConfig(views=3, **score)
    rows = np.arange(30)
    return measure(pair, images, rows, WORDS, VIEWS["digits"], config, progress=silent)


@pytest.mark.parametrize("pairing", ["anchored", "all"])
@pytest.mark.parametrize("distance", ["l2", "angular"])
def test_the_last_layer_aligns_as_the_encoder_does(images, pairing, distance):
    pair = [encoder(seed=0), encoder(seed=1)]
    how = {"pairing": pairing, "distance": distance}
    layers = found(pair, images, **how)
    whole = align_images(
        {"f": pair[0], "g": pair[1]},
        images,
        WORDS,
        VIEWS["digits"],
        ScoreConfig(views=3, **how),
        representation="full",
        device="cpu",
    )
    for e, name in enumerate("fg"):
        assert layers.align[e, -1] == pytest.approx(whole[name].align, rel=0, abs=2e-6)
    assert layers.dims[-1] == pair[0].dim * pair[0].tokens


def test_the_batch_size_changes_nothing(images):
    pair = [encoder("vit_micro", seed=0, patch=2), encoder("vit_micro", seed=1, patch=2)]
    one, many = found(pair, images), found(pair, images, batch_size=7)
    # Distances of unit vectors in float32, and shares of means: off by what 1 is off by.
    assert many.align == pytest.approx(one.align, rel=0, abs=2e-6)
    for a, b in zip(one.units[0], many.units[0], strict=True):
        assert b.values() == pytest.approx(a.values(), rel=0, abs=1e-5, nan_ok=True)
        # Of two samples that excite a unit alike, to the last bit, either may come first.
        assert (a.of != b.of).sum() <= 0.05 * len(a.of)


def test_units_are_measured_on_every_view(images):
    pair, spec = [encoder(seed=0), encoder(seed=1)], VIEWS["digits"]
    key, ids = (
        randomness.stream(ScoreConfig().seed, "measure"),
        torch.from_numpy(WORDS.astype(np.int64)),
    )
    shown = found(pair, images)
    for e, made in enumerate(pair):
        mu = []
        for i in range(30):
            one = torch.from_numpy(images[i : i + 1])
            views = [augment(one, spec, key=key, keys=ids[i : i + 1], view=k) for k in (1, 2, 3)]
            with torch.inference_mode():
                mu.append(np.mean([look(made, layers_of(made), v).units[0] for v in views], axis=0))
        mu = np.concatenate(mu).astype(np.float64)
        top = mu.max(axis=0)
        rest = (mu.sum(axis=0) - top) / 29
        with np.errstate(invalid="ignore"):
            wanted = (top - rest) / (top + rest)
        assert shown.units[e][0].values() == pytest.approx(wanted, abs=1e-4, nan_ok=True)


def test_equal_encoders_hold_nothing(images):
    made = encoder()
    layers = found([made, made], images)
    assert (layers.align[0] == layers.align[1]).all()


def localize(runs, *more, code=0):
    result = curate("localize", "tiny", "--runs", runs, "--device", "cpu", *more)
    assert result.code == code, result.err
    return result


def test_a_run(tiny_runs):
    run = tiny_runs / "tiny"
    facts = json.loads(localize(tiny_runs, "--json").out)
    plan = Plan.read(run / "plan.parquet")
    f, g = facts["encoders"]
    assert [f, g] == list(plan.encoders[:2])
    aligned = [
        {
            row["uid"]: row["align"]
            for path in sorted((run / "alignment" / e).glob("*.parquet"))
            for row in pq.read_table(path, columns=["uid", "align"]).to_pylist()
        }
        for e in (f, g)
    ]
    mine = set(plan.members(f)) - set(plan.members(g))
    apart = np.array([aligned[1][uid] - aligned[0][uid] for uid in sorted(mine)])
    last = facts["layers"][-1]
    assert facts["candidates"] == len(mine)
    assert last["sslmem"] == pytest.approx(apart.mean(), rel=0, abs=2e-6)
    off = 2e-6 / np.ptp(apart)
    assert last["layer_mem"] == pytest.approx(apart.mean() / np.ptp(apart), rel=0, abs=4 * off)
    assert last["delta_layer_mem"] == pytest.approx(
        last["layer_mem"] - facts["layers"][-2]["layer_mem"]
    )
    assert facts["layers"][0]["delta_layer_mem"] is None
    assert [layer["name"] for layer in facts["layers"]] == ["conv1", "conv2", "conv3", "conv4"]
    units = pq.read_table(run / "units.parquet")
    assert units.column_names == [
        *("encoder", "layer", "unit", "unit_mem", "mu_max", "mu_rest", "uid")
    ]
    assert units.num_rows == 2 * (32 + 32 + 64 + 64)
    assert set(units["uid"].to_pylist()) <= mine
    values = units["unit_mem"].drop_null().to_numpy()
    assert ((values >= 0) & (values <= 1)).all()
    of_last = units.filter(
        (np.array(units["encoder"]) == f) & (np.array(units["layer"]) == "conv4")
    )
    assert last["unit_mem"] == pytest.approx(of_last["unit_mem"].drop_null().to_numpy().mean())


def test_done_is_left_alone_and_another_pair_is_measured(tiny_runs):
    run = tiny_runs / "tiny"
    text = localize(tiny_runs).out
    assert "conv4" in text
    one = file_sha256(run / "units.parquet")
    stamp = (run / "units.parquet").stat().st_mtime_ns
    localize(tiny_runs)
    assert (run / "units.parquet").stat().st_mtime_ns == stamp
    f, g = Plan.read(run / "plan.parquet").encoders[:2]
    other = json.loads(localize(tiny_runs, "--encoders", f"{g},{f}", "--json").out)
    assert other["encoders"] == [g, f]
    localize(tiny_runs)
    assert file_sha256(run / "units.parquet") == one


def test_more_views_are_measured_anew(tiny_runs):
    run = curate_run.open_run("tiny", runs=tiny_runs, create=False)
    assert curate_run.localize(run, device="cpu").views == 3
    assert curate_run.localize(run.extended(views=5), device="cpu").views == 5


def test_values_that_are_not_finite_are_told(tiny_runs, monkeypatch):
    monkeypatch.setattr(
        localizing,
        "measure",
        lambda *_, **__: Found(["conv1"], [4], np.full((2, 1, 3), np.nan), [[Units(0)]] * 2),
    )
    result = localize(tiny_runs, code=7)
    assert "layer conv1 of an encoder of" in result.err
    assert not (tiny_runs / "tiny" / "localize.json").exists()


def test_pairs_that_are_none_are_refused(tiny_runs):
    f = Plan.read(tiny_runs / "tiny" / "plan.parquet").encoders[0]
    assert "unknown encoder 'x'" in localize(tiny_runs, "--encoders", f"{f},x", code=2).err
    assert "two different encoders" in localize(tiny_runs, "--encoders", f"{f},{f}", code=2).err
    assert "two different encoders" in localize(tiny_runs, "--encoders", f, code=2).err
