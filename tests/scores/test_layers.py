"""LayerMem and UnitMem on arrays: by hand, and against the alignment of whole encoders."""

import numpy as np
import pytest
import torch
from scipy import stats

from curate.encoders.backbone import Encoder
from curate.encoders.views import VIEWS
from curate.encoders.views.apply import augment
from curate.runtime import randomness
from curate.runtime.progress import silent
from curate.scores.alignment import align_images
from curate.scores.config import ScoreConfig
from curate.scores.layers import LayerMeasurement, Units, layer_rows, layers_of, look, measure

pytestmark = pytest.mark.numeric


def encoder(name="convnet", seed=0, **shape):
    torch.manual_seed(seed)
    given = {"size": 8, "channels": 1, **shape}
    return Encoder(name, **given).eval().requires_grad_(False)


def test_unit_mem_is_what_the_equation_gives_by_hand():
    units = Units(4)
    units.add(np.array([[1.0, 0.0, 2.0, 0.0], [1.0, 6.0, 4.0, 0.0]]))
    units.add(np.array([[1.0, 0.0, 0.0, 0.0]]))
    # All alike; one alone; 4 against the mean of 2 and 0; none.
    assert units.values() == pytest.approx([0.0, 1.0, (4 - 1) / (4 + 1), np.nan], nan_ok=True)
    assert units.of.tolist() == [0, 1, 1, 0]
    assert units.rest() == pytest.approx([1.0, 0.0, 1.0, 0.0])


def test_layer_mem_is_what_the_equation_gives_by_hand():
    # Three samples, two layers; g's alignment less f's: 0.1, 0.2, 0.6, then 0, 0, 0.3.
    f = np.array([[0.1, 0.1, 0.1], [0.2, 0.2, 0.2]])
    g = np.array([[0.2, 0.3, 0.7], [0.2, 0.2, 0.5]])
    none = [[Units(0), Units(0)], [Units(0), Units(0)]]
    of_f = LayerMeasurement(["a", "b"], [4, 2], np.stack([f, g]), none)
    # What only g saw, in four samples: -0.1, -0.1, -0.3, -0.3, then all 0.2.
    back = np.array([[0.4, 0.4, 0.4, 0.4], [0.2, 0.2, 0.2, 0.2]])
    seen = np.array([[0.3, 0.3, 0.1, 0.1], [0.4, 0.4, 0.4, 0.4]])
    of_g = LayerMeasurement(["a", "b"], [4, 2], np.stack([back, seen]), none)
    first, second = layer_rows(of_f, of_g)
    # (0.3 + 0.2) / 2 and (0.1 - 0.2) / 2.
    assert (first.sslmem, second.sslmem) == pytest.approx((0.25, -0.05))
    # Over the range 0.5 and 0.3 of what only f saw.
    assert (first.layer_mem, second.layer_mem) == pytest.approx((0.5, -1 / 6))
    assert second.delta_layer_mem == pytest.approx(-1 / 6 - 0.5)
    welch = stats.ttest_ind([0.1, 0.2, 0.6], [-0.1, -0.1, -0.3, -0.3], equal_var=False)
    ends = welch.confidence_interval(0.95)
    assert (first.low, first.high) == pytest.approx((ends.low / 2, ends.high / 2))
    assert first.se == pytest.approx(np.sqrt(0.07 / 3 + 0.04 / 3 / 4) / 2)
    assert (first.units, first.unit_mem) == (0, None)


def test_an_encoder_that_spreads_all_views_more_is_not_taken_for_one_that_forgot():
    random = np.random.default_rng(0)
    none = [[Units(0)], [Units(0)]]
    f, g = 0.5 + 0.01 * random.normal(size=(2, 2, 1, 200))
    offset = np.array([0.0, 0.05])[:, None, None]
    of_f = LayerMeasurement(["a"], [4], f + offset, none)
    of_g = LayerMeasurement(["a"], [4], g + offset, none)
    (row,) = layer_rows(of_f, of_g)
    assert row.low < 0 < row.high
    assert (of_f.align[1] - of_f.align[0]).mean() > 0.04  # what one direction alone would say


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
def test_every_kind_of_network_shows_its_layers_and_keeps_no_hook(name, shape, names, units):
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
