import copy

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.datasets import load_digits

from curate.data.sample import content_uid
from curate.encoders import views
from curate.encoders.backbone import Encoder
from curate.encoders.compiled import Compiled
from curate.encoders.representation import distance
from curate.encoders.views.apply import augment
from curate.runtime import randomness
from curate.scores import alignment
from curate.scores.alignment import Alignment, align_images, centres_of, distances
from curate.scores.config import ScoreConfig

pytestmark = pytest.mark.numeric

N = 40
IMAGES = np.round(load_digits().images[:N, None] * 255 / 16).astype(np.uint8)
WORDS = randomness.uid_keys([content_uid(image.tobytes()) for image in IMAGES])
# Alignments are distances of unit vectors in float32, whose last bit is 1e-7: they are off by so
# much however small they are.
OFF = 2e-6
SPEC = views.spec("digits", {})
CASES = [
    (pairing, distance, representation)
    for pairing in ("anchored", "all")
    for distance in ("l2", "cosine", "angular")
    for representation in ("full", "pooled")
]


@pytest.fixture(scope="module")
def encoders():
    out = {}
    for seed, (name, backbone) in enumerate({"f": "convnet", "g": "vit_micro"}.items()):
        torch.manual_seed(seed)
        out[name] = Encoder(backbone, size=8, channels=1).eval().requires_grad_(False)
    return out


def aligned(encoders, config, images=IMAGES, keys=WORDS, representation="full"):
    return align_images(
        encoders, images, keys, SPEC, config, representation=representation, device="cpu"
    )


def reference(encoder, image, word, config, representation):
    """Return alignment and leave-one-out of one sample: one view at a time, in float64 (Eq. 1)."""
    encoder = copy.deepcopy(encoder).double()
    pixels = torch.from_numpy(image[None])
    words = torch.tensor([word.astype(np.int64)])
    key = randomness.stream(config.seed, "measure")

    def z(shown):
        tokens = encoder.net.forward_features((shown.double() - encoder.mean) / encoder.deviation)
        tokens = tokens.flatten(2).transpose(1, 2) if tokens.ndim == 4 else tokens
        r = tokens.mean(dim=1).ravel() if representation == "pooled" else tokens.ravel()
        return (r / r.square().sum().sqrt()).numpy()

    def d(a, b):
        cosine = float(a @ b)
        return {
            "l2": float(np.sqrt(((a - b) ** 2).sum())),
            "cosine": 1 - cosine,
            "angular": float(np.arccos(min(1.0, cosine))),
        }[config.distance]

    shown = [
        z(augment(pixels, SPEC, key=key, keys=words, view=k)) for k in range(1, config.views + 1)
    ]
    clean = z(pixels.double() / 255)

    def align(kept):
        if config.pairing == "anchored":
            return np.mean([d(clean, shown[k]) for k in kept])
        pairs = [(i, j) for i in kept for j in kept if i < j]
        return np.mean([d(shown[i], shown[j]) for i, j in pairs])

    every = list(range(config.views))
    return align(every), [align([k for k in every if k != left]) for left in every]


@pytest.mark.parametrize(("pairing", "kind", "representation"), CASES)
def test_the_slow_reference_agrees(encoders, pairing, kind, representation):
    config = ScoreConfig(views=4, pairing=pairing, distance=kind)
    found = aligned(encoders, config, representation=representation)
    for name, encoder in encoders.items():
        for i in (0, 13):
            align, left_out = reference(encoder, IMAGES[i], WORDS[i], config, representation)
            assert found[name].align[i] == pytest.approx(align, rel=0, abs=OFF)
            assert found[name].leave_one_out[i] == pytest.approx(left_out, rel=0, abs=OFF)


@pytest.mark.parametrize("pairing", ["anchored", "all"])
def test_batch_size_and_order_change_nothing(encoders, pairing):
    plain = aligned(encoders, ScoreConfig(views=5, pairing=pairing, batch_size=64))
    small = aligned(encoders, ScoreConfig(views=5, pairing=pairing, batch_size=7))
    order = np.random.default_rng(0).permutation(N)
    mixed = aligned(encoders, ScoreConfig(views=5, pairing=pairing), IMAGES[order], WORDS[order])
    alone = aligned({"f": encoders["f"]}, ScoreConfig(views=5, pairing=pairing))
    for name, one in plain.items():
        assert np.allclose(one.align, small[name].align, rtol=0, atol=OFF)
        assert np.allclose(one.align[order], mixed[name].align, rtol=0, atol=OFF)
        assert np.allclose(one.leave_one_out, small[name].leave_one_out, rtol=0, atol=OFF)
    assert (alone["f"].align == plain["f"].align).all()
    again = aligned(encoders, ScoreConfig(views=5, pairing=pairing, batch_size=64))
    assert (again["g"].align == plain["g"].align).all()


def test_equal_images_align_equally_and_seeds_matter(encoders):
    images, words = IMAGES[[3, 3]], WORDS[[3, 3]]
    found = aligned(encoders, ScoreConfig(views=3), images, words)["f"]
    assert found.align[0] == pytest.approx(found.align[1], rel=0, abs=OFF)
    assert found.align[0] > 0.01
    other = aligned(encoders, ScoreConfig(views=3, seed=1), images, words)["f"]
    assert abs(other.align[0] - found.align[0]) > 0.001


def test_more_views_add_to_the_first_ones(encoders):
    few = aligned(encoders, ScoreConfig(views=3))["f"]
    many = aligned(encoders, ScoreConfig(views=4))["f"]
    # The mean without the fourth view is the mean of the first three.
    assert many.leave_one_out[:, 3] == pytest.approx(few.align, rel=0, abs=OFF)


def test_standard_error_of_anchored_views_is_that_of_their_mean(encoders):
    found = aligned(encoders, ScoreConfig(views=6))["f"]
    distances = 6 * found.align[:, None] - 5 * found.leave_one_out
    assert found.se == pytest.approx(distances.std(axis=1, ddof=1) / np.sqrt(6), rel=0, abs=OFF)


def test_one_view_has_no_standard_error(encoders):
    found = aligned(encoders, ScoreConfig(views=1))["f"]
    assert np.isnan(found.se).all() and np.isfinite(found.align).all()


class Constant(Encoder):
    """An encoder that has collapsed."""

    def forward_float(self, pixels):
        return torch.ones(len(pixels), 4, 64)


def test_a_constant_encoder_aligns_exactly():
    found = aligned({"c": Constant("convnet", size=8, channels=1)}, ScoreConfig(views=4))["c"]
    assert (found.align == 0).all() and (found.se == 0).all()


class Grey(Encoder):
    """An encoder whose representation is an angle: its alignment is known in closed form."""

    def forward_float(self, pixels):
        angle = pixels.mean(dim=(1, 2, 3))
        return torch.stack([angle.cos(), angle.sin()], dim=1)[:, None]


def test_alignment_of_a_known_encoder_in_closed_form():
    encoder, config = Grey("convnet", size=8, channels=1), ScoreConfig(views=3, distance="angular")
    encoder.dim, encoder.tokens = 2, 1
    found = aligned({"e": encoder}, config)["e"]
    key, words = randomness.stream(0, "measure"), torch.from_numpy(WORDS.view(np.int64))
    pixels = torch.from_numpy(IMAGES)
    clean = IMAGES.mean(axis=(1, 2, 3)) / 255
    apart = [
        augment(pixels, SPEC, key=key, keys=words, view=k).mean(dim=(1, 2, 3)).numpy() - clean
        for k in (1, 2, 3)
    ]
    assert found.align == pytest.approx(np.abs(apart).mean(axis=0), rel=0, abs=OFF)


def test_distances_of_known_angles():
    angle = torch.tensor([0.0, 1e-4, 1.0, np.pi])
    a = torch.stack([torch.ones(4), torch.zeros(4)], dim=1)
    b = torch.stack([angle.cos(), angle.sin()], dim=1)
    assert torch.allclose(distance(a, b, "angular"), angle, atol=1e-6, rtol=1e-3)
    assert torch.allclose(distance(a, b, "l2"), 2 * (angle / 2).sin(), atol=1e-6)
    assert torch.allclose(distance(a, b, "cosine"), 1 - angle.cos(), atol=1e-6)


def test_an_alignment_comes_back_whole_from_its_table(encoders, tmp_path):
    found = aligned(encoders, ScoreConfig(views=3))["f"]
    uids = np.array([f"u{i}" for i in range(N)], dtype=object)
    pq.write_table(found.to_table(uids, 3), tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column_names == ["uid", "align", "se", "n_views", "leave_one_out"]
    back = Alignment.from_table(table)
    assert (back.align == found.align).all()
    assert (back.leave_one_out == found.leave_one_out).all()


def test_no_images_are_no_alignments(encoders):
    found = aligned(encoders, ScoreConfig(views=3), IMAGES[:0], WORDS[:0])
    assert found["f"].align.shape == (0,) and found["f"].leave_one_out.shape == (0, 3)


@pytest.mark.parametrize("pairing", ["anchored", "all"])
def test_bfloat16_encoders_keep_float32_distances(encoders, pairing):
    whole = aligned(encoders, ScoreConfig(views=8, pairing=pairing))
    lower = aligned(encoders, ScoreConfig(views=8, pairing=pairing, precision="bfloat16"))
    assert np.array_equal(
        whole["f"].align, aligned(encoders, ScoreConfig(views=8, pairing=pairing))["f"].align
    )
    for name, found in lower.items():
        exact = whole[name].align
        assert not np.array_equal(found.align, exact)
        np.testing.assert_allclose(found.align, exact, rtol=0.02)
        # Differences of rounded representations would be off by their last bit, 1 in 256.
        assert np.abs(found.align / exact - 1).mean() < 1 / 256 / 2
        assert np.corrcoef(found.align, exact)[0, 1] > 0.999


@pytest.mark.parametrize("pairing", ["anchored", "all"])
def test_encoders_that_memory_does_not_hold_together_are_measured_in_groups(
    encoders, pairing, monkeypatch
):
    config = ScoreConfig(views=12, pairing=pairing, batch_size=16)
    many = {f"{name}{i}": encoder for i in range(3) for name, encoder in encoders.items()}
    wanted = aligned(encoders, config)
    of_image = 4 * max(e.dim * e.tokens for e in encoders.values())
    of_image *= 12 if pairing == "all" else 2
    looks = []
    for encoder in encoders.values():
        real = encoder.forward_float
        monkeypatch.setattr(
            encoder, "forward_float", lambda x, real=real: looks.append(len(x)) or real(x)
        )
    for held, batch in ((6 * 16, 16), (4 * 16, 16), (16, 16), (5, 5), (0, 1)):
        monkeypatch.setattr(alignment, "HELD_BYTES", held * of_image)
        looks.clear()
        found = aligned(many, config)
        # However many encoders there are, a batch is what one of them can have.
        assert max(looks) == batch
        for name, alignments in found.items():
            if batch == 16:
                assert np.array_equal(alignments.align, wanted[name[0]].align)
            np.testing.assert_allclose(alignments.align, wanted[name[0]].align, rtol=0, atol=OFF)


@pytest.mark.parametrize("pairing", ["anchored", "all"])
@pytest.mark.parametrize("at_once", [2, 3, 4, 5, 99])
def test_several_views_at_once_have_the_distances_of_one_after_the_other(
    encoders, pairing, at_once, monkeypatch
):
    config = ScoreConfig(views=4, pairing=pairing)
    pixels = torch.from_numpy(IMAGES).float() / 255
    keys = torch.from_numpy(WORDS.astype(np.int64))
    shown = [augment(torch.from_numpy(IMAGES), SPEC, key=3, keys=keys, view=k) for k in range(4)]
    with torch.inference_mode():
        each = distances(encoders, pixels, shown, config, "full")
        looks = []
        for encoder in encoders.values():
            real = encoder.forward_float
            monkeypatch.setattr(
                encoder, "forward_float", lambda x, real=real: looks.append(len(x)) or real(x)
            )
        together = distances(encoders, pixels, shown, config, "full", at_once=at_once)
    views = 4 + (pairing == "anchored")
    assert len(looks) == 2 * -(-views // at_once) and sum(looks) == 2 * views * N
    for name, apart in each.items():
        assert together[name].shape == apart.shape == (N, 4 if pairing == "anchored" else 6)
        np.testing.assert_allclose(together[name], apart, rtol=0, atol=OFF)


@pytest.mark.parametrize("representation", ["full", "pooled"])
def test_centred_representations_are_measured_from_their_mean(encoders, representation):
    config = ScoreConfig(views=3, centre=True)
    centres = centres_of(encoders, IMAGES, config, representation=representation, device="cpu")
    found = align_images(
        encoders, IMAGES, WORDS, SPEC, config,
        representation=representation, device="cpu", centres=centres,
    )  # fmt: skip
    key, words = randomness.stream(config.seed, "measure"), WORDS.astype(np.int64)
    pixels = torch.from_numpy(IMAGES)
    for name, encoder in encoders.items():

        def flat(shown, encoder=encoder):
            tokens = encoder.forward_float(shown).double()
            return tokens.mean(dim=1) if representation == "pooled" else tokens.flatten(1)

        def unit(r, mean):
            return (r - mean) / (r - mean).norm(dim=1, keepdim=True)

        clean = flat(pixels.float() / 255)
        mean = clean.mean(dim=0)
        seen = [
            unit(flat(augment(pixels, SPEC, key=key, keys=torch.from_numpy(words), view=k)), mean)
            for k in (1, 2, 3)
        ]
        apart = torch.stack([(unit(clean, mean) - z).norm(dim=1) for z in seen]).mean(dim=0)
        np.testing.assert_allclose(found[name].align, apart.numpy(), rtol=1e-3, atol=1e-5)
        assert not np.allclose(found[name].align, aligned(encoders, ScoreConfig(views=3),
                               representation=representation)[name].align, rtol=1e-2)  # fmt: skip


@pytest.mark.parametrize("pairing", ["anchored", "all"])
def test_compiled_encoders_measure_the_same_whatever_the_batch(encoders, pairing, monkeypatch):
    torch._dynamo.reset()
    shapes = []

    def backend(graph, inputs):
        shapes.append(len(inputs))
        return graph

    compiled = Compiled(alignment.represent, backend)
    monkeypatch.setattr(alignment, "compiled_represent", lambda: compiled)
    config = ScoreConfig(views=3, pairing=pairing, batch_size=7)
    plain = aligned(encoders, config)
    assert len(IMAGES) % config.batch_size
    for n in (len(IMAGES), 3):
        found = align_images(
            encoders, IMAGES[:n], WORDS[:n], SPEC, config,
            representation="full", device="cpu", compiles=True,
        )  # fmt: skip
        for name in encoders:
            np.testing.assert_allclose(found[name].align, plain[name].align[:n], rtol=0, atol=OFF)
    # One compilation for all encoders of a kind, full batches and what is left of a shard.
    assert len(shapes) == len({type(e.net) for e in encoders.values()})
    torch._dynamo.reset()
