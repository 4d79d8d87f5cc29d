"""Which test images each probe had right comes back from parquet as it went in."""

import numpy as np
import pyarrow.parquet as pq

from curate.evaluation import answers
from curate.evaluation.answers import Answers, probe_name

OWN = np.array([f"{i:032x}" for i in range(37)], dtype=np.bytes_)
OTHER = np.array(["a", "b"], dtype=np.bytes_)


def made():
    random, found, truth = np.random.default_rng(0), Answers(), {}
    for seed in range(2):
        for kind in ("linear", "knn"):
            name = probe_name("top", 5, seed, kind)
            truth[name] = random.random(len(OWN)) < 0.7
            found.add("self", OWN, name, truth[name])
    found.add("folder:x", OTHER, probe_name("top", 5, 0, "knn"), np.array([True, False]))
    return found, truth


def test_bits_come_back_as_they_were():
    found, truth = made()
    for name, right in truth.items():
        assert found.of_image("self", name).tolist() == right.tolist()


def test_the_table_has_a_row_an_image_and_a_column_a_probe(tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "ROWS", 10)
    found, truth = made()
    found.write(tmp_path / "answers.parquet")
    table = pq.read_table(tmp_path / "answers.parquet")
    assert table.column_names == ["source", "uid", *truth]
    assert table["source"].to_pylist() == ["self"] * 37 + ["folder:x"] * 2
    assert table["uid"].to_pylist() == [*OWN.astype(str), "a", "b"]
    for name, right in truth.items():
        assert table[name].to_pylist()[:37] == right.tolist()
    assert table["top-5-s0-knn"].to_pylist()[37:] == [True, False]
    assert table["top-5-s1-linear"].to_pylist()[37:] == [None, None]
