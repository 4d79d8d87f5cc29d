"""Representations of unit length, the distances between them, and features put on one scale."""

import math

import numpy as np
import pytest
import torch

from curate.data.canvas import Canvas
from curate.encoders.backbone import Encoder
from curate.encoders.representation import distance, features, represent, standardiser

pytestmark = pytest.mark.numeric


def test_standardising_leaves_constant_features_at_0():
    x = np.column_stack([np.arange(10), np.full(10, 1 / 3)]).astype(np.float32)
    out = standardiser(x)(x)
    assert out[:, 0].std() == pytest.approx(1)
    assert (out[:, 1] == 0).all()


def vectors(*angles):
    """Return unit vectors of two dimensions at angles."""
    return torch.tensor([[math.cos(a), math.sin(a)] for a in angles])


@pytest.mark.parametrize("angle", [0.0, 1e-3, 1.0, math.pi / 2, math.pi])
def test_distances_are_those_of_the_circle(angle):
    a, b = vectors(0.0), vectors(angle)
    # float32 vectors of length 1 are off by 1e-7 each.
    wanted = {"l2": 2 * math.sin(angle / 2), "cosine": 1 - math.cos(angle), "angular": angle}
    for kind, value in wanted.items():
        assert distance(a, b, kind).item() == pytest.approx(value, abs=1e-3 if angle == math.pi
                                                            else 1e-6), kind  # fmt: skip


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return Encoder("convnet", size=8, channels=1).eval().requires_grad_(False)


def test_a_representation_has_length_1_and_all_tokens_or_their_mean(encoder):
    pixels = torch.rand(5, 1, 8, 8)
    tokens = encoder.forward_float(pixels)
    full, pooled = (represent(encoder, pixels, kind) for kind in ("full", "pooled"))
    assert full.shape == (5, encoder.tokens * encoder.dim) and pooled.shape == (5, encoder.dim)
    for z, raw in ((full, tokens.flatten(1)), (pooled, tokens.mean(dim=1))):
        assert torch.allclose(z.norm(dim=1), torch.ones(5), atol=1e-6)
        assert torch.allclose(z, raw / raw.norm(dim=1, keepdim=True), atol=1e-6)


def test_features_are_the_pooled_tokens_of_the_rows_asked_for(encoder):
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (300, 1, 8, 8), dtype=np.uint8)
    canvas = Canvas(images, np.array([f"{i:032d}" for i in range(300)], dtype="S32"))
    rows, told = draws.permutation(300)[:290], []
    found = features(encoder, canvas, rows, lambda *event: told.append(event))
    wanted = encoder(torch.from_numpy(images[rows])).mean(dim=1).numpy()
    assert found.dtype == np.float32
    assert found == pytest.approx(wanted, abs=1e-5)
    assert told == [("features", 256, 290), ("features", 290, 290)]
