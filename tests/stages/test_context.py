"""How stages work: the device, how many trainings at once, and where the data lies."""

from pathlib import Path

import pytest

from curate.errors import UsageError
from curate.runs.recipe import load_recipe
from curate.runs.run import Run
from curate.runtime.progress import silent
from curate.stages import context
from curate.stages.context import Context
from tests.command import TINY


@pytest.mark.parametrize(
    ("asked", "cuda", "device"),
    [("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_auto_takes_cuda_where_it_is(monkeypatch, asked, cuda, device):
    monkeypatch.setattr(context.torch.cuda, "is_available", lambda: cuda)
    assert Context(device=asked).resolved_device() == device


@pytest.mark.parametrize(("asked", "text"), [("gpu", "unknown device"), ("cuda", "no CUDA device")])
def test_a_device_that_is_not_there_is_refused(monkeypatch, asked, text):
    monkeypatch.setattr(context.torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=text):
        Context(device=asked).resolved_device()


def test_trainings_fill_the_cores_of_a_cpu_and_share_no_card(monkeypatch):
    monkeypatch.setattr(context, "cores", lambda: 8)
    monkeypatch.setattr(context.torch.cuda, "is_available", lambda: True)
    recipe = load_recipe(str(TINY), {"train.threads": 3})
    assert Context(device="cpu").training_workers(recipe) == 2
    assert Context(device="cpu", workers=5).training_workers(recipe) == 5
    assert Context(device="cuda").training_workers(recipe) == 1


@pytest.mark.parametrize(
    ("asked", "cards"),
    [("cuda:0-7", range(8)), ("cuda:3", [3]), ("cuda:0,2", [0, 2]), ("cuda:6-7,1,6", [6, 7, 1]),
     ("cuda", [0])],
)  # fmt: skip
def test_cards_are_named_by_number_and_each_has_a_worker(monkeypatch, asked, cards):
    taken = []
    monkeypatch.setattr(context.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(context.torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(context.torch.cuda, "set_device", taken.append)
    chosen, named = Context(device=asked), ":" in asked
    assert chosen.cards() == tuple(cards)
    assert chosen.training_workers(load_recipe(str(TINY))) == len(cards)
    taken.clear()
    # Artefacts say the kind alone, and what this process does itself is done on the first.
    assert chosen.resolved_device() == "cuda" and taken == list(cards)[: int(named)]
    taken.clear()
    for begin in chosen.begin():
        begin()
    assert taken == (list(cards) if named else [])


@pytest.mark.parametrize(
    ("asked", "text"),
    [("cuda:8", "cards 0 to 7 are visible"), ("cuda:5-9", "cards 0 to 7"),
     ("cuda:", "cuda:0-7 or cuda:0,2"), ("cuda:x", "by number"), ("cuda:3-1", "cards 0 to 7"),
     ("cuda:0,,1", "by number"), ("cpu:0", "unknown device"), ("auto:1", "unknown device")],
)  # fmt: skip
def test_cards_that_are_not_there_are_refused(monkeypatch, asked, text):
    monkeypatch.setattr(context.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(context.torch.cuda, "device_count", lambda: 8)
    with pytest.raises(UsageError, match=text):
        Context(device=asked).resolved_device()


def test_images_are_where_they_were_unless_another_place_is_named(tmp_path):
    run = Run.create(tmp_path / "tiny", load_recipe(str(TINY)), {"data_path": "/there"})
    assert Context.of(run, None, "cpu", 1, silent).data == Path("/there")
    assert Context.of(run, "/here", "cpu", 1, silent).data == Path("/here")
    assert Context.of(None, None, "cpu", 1, silent).data is None
