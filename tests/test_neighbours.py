"""Neighbours against a plain NumPy oracle, on real images and on the awkward cases."""

import builtins

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.datasets import load_digits

from curate import neighbours
from curate.errors import DivergedError, ResourceError


@pytest.fixture(scope="module")
def digits():
    points = load_digits().data[:300].astype(np.float32)
    points[250] = points[3]  # an exact duplicate
    points[251] = points[3]
    points[252] = points[40] + 0.05  # a near one
    uids = np.array([f"{(i * 7919) % 1009:04d}" for i in range(300)], dtype=object)
    return points, uids


def oracle(points, uids, k, threshold):
    """Every distance, one pair at a time in float64; groups by flooding."""
    x = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    order = np.argsort(uids)
    x, uids = x[order], uids[order]
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    alike = x @ x.T >= threshold - 1e-9
    np.fill_diagonal(alike, False)
    apart = distance + np.where(np.eye(len(x)), np.inf, 0)
    group, number = np.full(len(x), -1), 0
    for i in range(len(x)):
        if group[i] < 0 and alike[i].any():
            todo = [i]
            while todo:
                j = todo.pop()
                if group[j] < 0:
                    group[j] = number
                    todo += np.flatnonzero(alike[j]).tolist()
            number += 1
    score = np.sort(apart, axis=1)[:, :k].mean(axis=1)
    groups = [None if g < 0 else int(g) for g in group]
    return uids, score, apart.min(axis=1), uids[apart.argmin(axis=1)], groups


@pytest.mark.parametrize(("k", "threshold"), [(1, 0.98), (5, 0.9), (10, 0.8)])
def test_agrees_with_every_distance_computed(digits, k, threshold):
    points, uids = digits
    table = neighbours.inspect(points, uids, neighbours=k, threshold=threshold)
    names, score, nearest, neighbour, groups = oracle(points, uids, k, threshold)
    assert table.schema.equals(neighbours.INSPECT_SCHEMA)
    assert table["uid"].to_pylist() == names.tolist()
    np.testing.assert_allclose(table["outlier_score"], score, atol=1e-5)
    np.testing.assert_allclose(table["neighbour_distance"], nearest, atol=1e-5)
    assert table["duplicate_group"].to_pylist() == groups
    assert np.mean(np.array(table["neighbour_uid"].to_pylist()) == neighbour) > 0.99
    assert max(g for g in groups if g is not None) >= 1


def test_exact_copies_are_at_distance_0_and_share_a_group(digits):
    points, uids = digits
    table = neighbours.inspect(points, uids, neighbours=3, threshold=1.0)
    copies = table.filter(pc.is_in(table["uid"], value_set=pa.array(uids[[3, 250, 251]])))
    assert copies["neighbour_distance"].to_pylist() == [0.0] * 3
    assert copies["duplicate_group"].to_pylist() == [0] * 3
    assert table["duplicate_group"].null_count == 297
    first, second, _ = sorted(uids[[3, 250, 251]])
    assert copies["neighbour_uid"].to_pylist() == [second, first, first]


def test_permuting_the_samples_changes_nothing(digits):
    points, uids = digits
    shuffled = np.random.default_rng(0).permutation(len(uids))
    one = neighbours.inspect(points, uids, neighbours=5, threshold=0.9)
    other = neighbours.inspect(points[shuffled], uids[shuffled], neighbours=5, threshold=0.9)
    assert one["neighbour_uid"] == other["neighbour_uid"]
    assert one["duplicate_group"] == other["duplicate_group"]
    np.testing.assert_allclose(one["outlier_score"], other["outlier_score"], atol=1e-6)


def test_groups_larger_than_the_neighbours_asked_for_are_whole(digits):
    points, _ = digits
    many = np.concatenate([points, np.repeat(points[:2], 1500, axis=0)])
    names = np.array([f"{i:05d}" for i in range(len(many))], dtype=object)
    table = neighbours.inspect(many, names, neighbours=2, threshold=0.999)
    group = np.array(table["duplicate_group"].fill_null(-1))
    assert (group == 0).sum() == 1501
    assert (group == 1).sum() == 1501
    assert (group[300:1800] == group[0]).all()


def test_a_chain_is_one_group():
    angle = np.deg2rad(np.concatenate([np.arange(0, 60, 5), np.arange(180, 240, 5)]))
    points = np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
    points = np.concatenate([points, -points])  # so that the centre stays at 0
    uids = np.array([f"{i:02d}" for i in range(len(points))], dtype=object)
    table = neighbours.inspect(points, uids, neighbours=1, threshold=np.cos(np.deg2rad(5.1)))
    assert len(pc.unique(table["duplicate_group"])) == 2
    assert table["duplicate_group"].null_count == 0


@pytest.mark.parametrize("n", [0, 1])
def test_without_others_there_is_no_neighbour(n):
    table = neighbours.inspect(
        np.ones((n, 4), np.float32), np.array(["a"] * n, dtype=object), neighbours=3, threshold=0.9
    )
    assert table["uid"].to_pylist() == ["a"] * n
    assert [table[name].null_count for name in table.column_names[1:]] == [n] * 4


def test_fewer_samples_than_neighbours_asked_for():
    points = np.array([[1, 0], [0, 1], [-1, -1]], np.float32)
    table = neighbours.inspect(points, np.array(["c", "b", "a"]), neighbours=10, threshold=0.9)
    _, score, *_ = oracle(points, np.array(["c", "b", "a"], dtype=object), 2, 0.9)
    np.testing.assert_allclose(table["outlier_score"], score, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 1234.567])
def test_equal_embeddings_are_all_duplicates_not_nan(value):
    points = np.full((7, 5), value, np.float32)
    uids = np.array(list("gfedcba"), dtype=object)
    table = neighbours.inspect(points, uids, neighbours=2, threshold=0.98)
    assert table["outlier_score"].to_pylist() == [0.0] * 7
    assert table["duplicate_group"].to_pylist() == [0] * 7


def test_a_sample_at_the_centre_is_like_no_other():
    points = np.array([[1, 0], [-1, 0], [0, 0]], np.float32)
    table = neighbours.inspect(points, np.array(["a", "b", "c"]), neighbours=1, threshold=0.5)
    assert table["neighbour_distance"][2].as_py() == pytest.approx(2**0.5)
    assert table["duplicate_group"].null_count == 3


def test_representations_that_are_not_finite_are_refused():
    points = np.array([[1, 0], [np.nan, 0]], np.float32)
    with pytest.raises(DivergedError, match="not finite"):
        neighbours.inspect(points, np.array(["a", "b"]), neighbours=1, threshold=0.9)


def test_without_faiss_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "faiss":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ResourceError, match=r"pip install 'curate\[cpu\]'"):
        neighbours.faiss_version()
