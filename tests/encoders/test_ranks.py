"""Two real processes that train one encoder: the bits of one process with as many parts."""

import json
import multiprocessing as mp
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from curate.encoders.ranks import ALONE, LostRankError, Ranks
from tests.golden import losses

pytestmark = pytest.mark.numeric

CASES = [case for case in losses.CASES if case != losses.PRIVATE]
CHANGES = {
    "dino": {"train.parts": 4},
    "simclr": {"train.optimizer": "lars", "train.lr": 0.1, "train.clip_norm": 1.0},
    "simsiam": {"train.alignment_lambda": 0.2},
}


def changes(case):
    return {"train.parts": 2, **CHANGES.get(case, {})}


def be_a_rank(rank, size, folder):
    """Train every method, exchange numbers of every kind; then rank 1 is gone, and 0 is not."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size
    )
    ranks = Ranks(rank, size)
    for case in CASES:
        losses.trained(case, Path(folder, case), ranks=ranks, **changes(case))
    own = [torch.full((2,), 10.0 * rank + i) for i in range(2)]
    big = torch.tensor([[1e8, 1.0, 3.0, 4.0], [1.0, 1.0, 5.0, 6.0]]) * (-1) ** rank
    said = {
        "gathered": [t.tolist() for t in ranks.gather(own)],
        "bfloat16": [t.item() for t in ranks.gather([torch.tensor(rank + 0.5).bfloat16()])],
        "total": ranks.total(big).tolist(),
        "stop": ranks.agreed(15 if rank else None, rank == 1),
        "due": ranks.agreed(None, rank == 0),
        "told": ranks.told(7 + rank),
    }
    Path(folder, f"{rank}.json").write_text(json.dumps(said))
    if rank == 1:
        os._exit(0)
    try:
        while True:
            ranks.agreed(None, False)
    except LostRankError as error:
        Path(folder, "error").write_text(str(error))
    # Not by the interpreter's end, at which a thread of gloo that still runs aborts the process.
    os._exit(0)


@pytest.fixture(scope="module")
def by_two():
    with tempfile.TemporaryDirectory() as folder:
        context = mp.get_context("spawn")
        processes = [context.Process(target=be_a_rank, args=(r, 2, folder)) for r in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(200)
        assert [process.exitcode for process in processes] == [0, 0]
        yield Path(folder)


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_give_the_weights_of_one_process_bit_for_bit(case, by_two, tmp_path):
    found, weights = losses.trained(case, tmp_path / "parts", **changes(case))
    assert (by_two / case / "weights.safetensors").read_bytes() == weights
    lines = (by_two / case / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in lines] == found
    # And, but for roundings, those of a batch that is whole.
    whole, _ = losses.trained(case, tmp_path / "whole", **{**changes(case), "train.parts": 1})
    np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-4)


def test_every_rank_is_told_the_same_and_who_is_gone_is_named(by_two):
    one, two = (json.loads((by_two / f"{rank}.json").read_text()) for rank in range(2))
    assert one == two
    assert one["gathered"] == [[0, 0], [1, 1], [10, 10], [11, 11]]
    assert one["bfloat16"] == [0.5, 1.5]
    # ((1e8 + 1) - 1e8) - 1 in float32: another order would give 0.
    assert one["total"] == [-1, 0, 0, 0]
    assert one["stop"] == [15, False] and one["due"] == [None, True]
    assert one["told"] == 7
    # Nobody waits for who is gone.
    assert "type the same command again" in (by_two / "error").read_text()


def test_who_is_alone_sends_nothing():
    parts = torch.tensor([[1e8, 1.0], [1.0, 1.0], [-1e8, -1.0], [-1.0, -1.0]])
    assert ALONE.total(parts).tolist() == [-1, 0]
    assert [t.item() for t in ALONE.gather([torch.tensor(3)])] == [3]
    assert ALONE.agreed(2, True) == (2, True) and ALONE.told(4) == 4
