"""The search of a card, held on a CPU against FAISS."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from curate.inspection import neighbours, on_a_card

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def points():
    found = load_digits().data[:500].astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("block", [1 << 16, 130, 7])
@pytest.mark.parametrize("k", [1, 11, 500])
def test_the_card_finds_what_faiss_finds(points, block, k, monkeypatch):
    monkeypatch.setattr(on_a_card, "BLOCK", block)
    similar, near = on_a_card.ExactSearch(points, "cpu").search(points[:40], k)
    theirs, _ = neighbours.Index.of(points, k).search(points[:40], k)
    np.testing.assert_allclose(similar, theirs, rtol=0, atol=2e-6)
    own = np.take_along_axis(points[:40].astype(np.float64) @ points.T.astype(np.float64), near, 1)
    np.testing.assert_allclose(own, theirs, rtol=0, atol=2e-6)
    assert all(len(set(row)) == k for row in near.tolist())


def test_neighbours_on_a_card_are_those_on_the_cpu(points, monkeypatch):
    wanted = neighbours.nearest(points, 10)
    seen = []
    real = on_a_card.ExactSearch

    def on_this_cpu(held, device):
        seen.append(device)
        return real(held, "cpu")

    # A machine with a GPU that FAISS does not see.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(neighbours, "gpus", lambda: 0)
    monkeypatch.setattr(on_a_card, "ExactSearch", on_this_cpu)
    found = neighbours.nearest(points, 10)
    assert seen == ["cuda"]
    assert np.array_equal(found.distance, wanted.distance)
    assert np.array_equal(found.near, wanted.near)
