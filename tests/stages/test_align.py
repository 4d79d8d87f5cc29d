"""Alignment is the same whatever is held at a time, and however many cards measure."""

import functools
import os
import shutil

import pytest
import torch

import curate
from curate.data.shards import writer
from curate.runs.run import Run
from curate.runtime.engines.local import Local
from curate.stages import align
from curate.stages.context import Context
from tests.command import TINY
from tests.command import curate as typed

pytestmark = pytest.mark.numeric


def test_encoders_that_memory_does_not_hold_are_measured_group_by_group(tmp_path, monkeypatch):
    loaded, ends = [], []
    real = align.load_encoder
    monkeypatch.setattr(
        align, "load_encoder", lambda folder, device: loaded.append(folder) or real(folder)
    )
    for held in (1 << 32, 1):
        monkeypatch.setattr(align, "HELD_WEIGHTS", held)
        result = typed("score", TINY, "--runs", tmp_path / str(held), "--workers", "1")
        assert result.code == 0, result.err
        files = sorted((tmp_path / str(held) / "tiny" / "alignment").rglob("*.parquet"))
        ends.append([path.read_bytes() for path in files])
    assert len(ends[0]) == 1 and ends[0] == ends[1]
    assert len(loaded) == 2 * 2


class Undone:
    """An engine on machines without locks: the first time, one attempt undoes another one's."""

    def __init__(self, record):
        self.record, self.did = record, []

    def run(self, units, report, folder):
        Local(1).run(units, report, folder)
        if units[0].name.startswith("align"):
            self.did.append(len(units))
            if len(self.did) == 1:
                self.record.unlink()
                shutil.rmtree(self.record.parents[3] / ".store" / "align")


def test_what_another_attempt_undid_is_measured_again(tmp_path):
    whole = curate.open_run(str(TINY), runs=tmp_path / "one")
    curate.score(whole, device="cpu")
    run = curate.open_run(str(TINY), runs=tmp_path / "undone")
    engine = Undone(run.path / "records" / "align" / "00000.json")
    curate.score(run, device="cpu", engine=engine)
    assert engine.did == [2, 2]
    assert aligned(run) == aligned(whole)


def take(path, number):
    """Say which card this process has, one for all that it does."""
    torch.set_num_threads(1)  # as after a training of one thread
    with (path / str(os.getpid())).open("a") as file:
        file.write(str(number))


def aligned(run):
    files = sorted((run.path / "alignment").rglob("*.parquet"))
    return {path.relative_to(run.path): path.read_bytes() for path in files}


def test_several_cards_measure_what_one_does(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "SHARD_SAMPLES", 17)
    whole = curate.open_run(str(TINY), runs=tmp_path / "one")
    curate.score(whole, device="cpu")
    taken = tmp_path / "taken"
    taken.mkdir()
    # Three cards, without one: each worker says which it took, and computes on the CPU.
    monkeypatch.setattr(Context, "cards", lambda self: (0, 2, 5))
    begin = [functools.partial(take, taken, card) for card in (0, 2, 5)]
    monkeypatch.setattr(Context, "begin", lambda self: begin)
    seen = []
    several = curate.open_run(str(TINY), runs=tmp_path / "three")
    curate.score(several, device="cpu", progress=lambda *told: seen.append(told))
    assert aligned(several) == aligned(whole) and len(aligned(whole)) > 3
    assert sorted(path.read_text() for path in taken.iterdir()) == ["0", "2", "5"]
    assert [told for told in seen if told[0].startswith("align")][-1] == (
        "align: 3 of 3 parts",
        80,
        80,
    )
    assert Run.open(several.path).scores().equals(whole.scores())
