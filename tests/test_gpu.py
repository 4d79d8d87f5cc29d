"""What only a card can show: `pytest -m gpu`, on a machine with one."""

import numpy as np
import pytest
import torch

from curate.data.canvas import Canvas
from curate.encoders import feed, methods, views
from curate.encoders.backbone import Encoder
from curate.encoders.loop import Loop
from curate.encoders.views.apply import augment
from curate.encoders.views.draws import Draws
from curate.inspection import duplicates, thumbnails, triage
from curate.inspection.on_a_card import ExactSearch
from curate.runs import recipe as recipes
from curate.scores.alignment import align_images
from curate.scores.config import ScoreConfig
from tests.golden.losses import IMAGES, LABELS, SMALL, UIDS

pytestmark = pytest.mark.gpu
KEYS = torch.arange(40) * 987654321987
OFF = 2e-5
"""Alignments in float32, on another device."""


@pytest.fixture(autouse=True)
def needs_a_card():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device is visible")


def loop_of(method, device, precision="float32", **changes):
    content = {
        "name": "small",
        "data": {"source": "digits", "size": 8, "channels": 1},
        "plan": {"kind": "halves"},
        "encoder": {"backbone": "convnet", "method": method} | SMALL.get(method, {}),
        "train": {"epochs": 20, "warmup_epochs": 2, "batch_size": 32, "lr": 1e-4,
                  "precision": precision},
        "views": {"train": "digits"},
    }  # fmt: skip
    recipe = recipes.build(content, changes, where="test")
    torch.manual_seed(0)
    encoder = Encoder(recipe.encoder.backbone, size=8, channels=1)
    trained = methods.build(method, encoder, recipe.method_config, 10)
    return Loop(
        trained.to(device).train(), recipe.training_spec(), device=device, labels=LABELS,
        canvas=Canvas(IMAGES, UIDS.astype(np.bytes_)), uids=np.array(sorted(UIDS), dtype=object),
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(views.VIEWS))
def test_views_are_those_of_the_cpu(name):
    pixels = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8)
    here, there = (
        augment(pixels.to(d), views.VIEWS[name], key=5, keys=KEYS.to(d), view=3)
        for d in ("cpu", "cuda")
    )
    # A solarized or masked pixel at a border may fall on the other side.
    assert ((here - there.cpu()).abs() > 1e-4).float().mean() < 1e-3


def test_draws_are_bit_for_bit_those_of_the_cpu():
    here, there = (Draws.of(5, KEYS.to(d), 3).uniform(0, 34).cpu() for d in ("cpu", "cuda"))
    assert torch.equal(here, there)


@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_a_step_in_float32_has_the_loss_of_the_cpu_and_waits_for_nothing(method):
    losses = []
    for device in ("cpu", "cuda"):
        loop = loop_of(method, device)
        batch = loop.batch(loop.steps.at(0), *loop.feed.take(0))
        losses.append(float(loop.step(batch, 1e-4)))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4, abs=1e-4)
    for step in (1, 2, 3):  # DINO's last layer has moments after its first epoch
        loop.progress.step = step
        loop.step(loop.batch(loop.steps.at(step), *loop.feed.take(step)), 1e-4)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in (4, 5, 6):
            loop.progress.step = step
            loss = loop.step(loop.batch(loop.steps.at(step), *loop.feed.take(step)), 1e-4)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert bool(loss.isfinite())


@pytest.mark.parametrize("changes", [{}, {"train.optimizer": "lars"}, {"train.optimizer": "sgd"}],
                         ids=["adamw", "lars", "sgd"])  # fmt: skip
@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_a_step_that_the_card_repeats_is_the_step_that_was_due(method, changes, caplog):
    ends = []
    for kind in ("asked", "repeated"):
        loop = loop_of(method, "cuda", **changes)
        if kind == "asked":
            loop.capture = None
        ends.append([line["loss"] for line in (loop.run(None), loop.progress.log)[1]])
        assert (loop.repeated is not None) == (kind == "repeated")
    assert ends[1] == pytest.approx(ends[0], rel=1e-3, abs=1e-5)
    assert not [r.message for r in caplog.records if r.name == "curate"]


@pytest.mark.parametrize("method", ["mae", "simclr", "dino"])
def test_a_compiled_training_goes_the_way_of_one_that_is_not(method, caplog):
    ends = []
    for compiles in (False, True):
        loop = loop_of(method, "cuda")
        loop.compiles = compiles
        ends.append(loop.run(None).loss)
        assert loop.repeated is not None
    assert ends[1] == pytest.approx(ends[0], rel=1e-3, abs=1e-5)
    assert not [r.message for r in caplog.records if r.name == "curate"]


@pytest.mark.parametrize("method", ["mae", "simclr"])
def test_a_training_in_bfloat16_goes_the_way_of_float32(method):
    ends = [loop_of(method, "cuda", p).run(None).loss for p in ("float32", "bfloat16")]
    assert ends[1] == pytest.approx(ends[0], rel=0.02)


def test_a_card_takes_back_a_step_that_is_not_finite():
    loop = loop_of("simclr", "cuda")
    for step in range(2):
        loop.step(loop.batch(loop.steps.at(step), *loop.feed.take(step)), 1e-4)
    before = {n: t.clone() for n, t in loop.method.state_dict().items()}
    batch = loop.batch(loop.steps.at(2), *loop.feed.take(2))
    batch.views[0][0] = float("nan")
    assert bool(loop.step(batch, 1e-4).isnan())
    for name, tensor in loop.method.state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(tensor, before[name])


def test_images_that_a_card_cannot_hold_are_streamed_to_it():
    images = np.random.default_rng(0).integers(0, 256, (200, 3, 32, 32), dtype=np.uint8)
    rows = np.random.default_rng(1).permutation(200)

    def sample(step):
        return np.random.default_rng(step).permutation(200)[:64]

    kinds = [
        kind(images, rows, sample, steps=30, device="cuda")
        for kind in (feed.Resident, feed.Streamed)
    ]
    for step in range(30):
        (places, pixels), (others, same) = (kind.take(step) for kind in kinds)
        assert torch.equal(places, others) and torch.equal(pixels, same)
        assert np.array_equal(pixels.cpu().numpy(), images[rows[sample(step)]])


def test_scores_depend_neither_on_the_batch_nor_on_the_device():
    torch.manual_seed(0)
    encoder = Encoder("vit_micro", size=8, channels=1).eval().requires_grad_(False)
    words = np.arange(len(IMAGES)).astype(np.uint64)
    found = [
        align_images(
            {"e": encoder.to(device)}, IMAGES, words, views.VIEWS["digits"],
            ScoreConfig(batch_size=batch, precision="float32"),
            representation="full", device=device,
        )["e"].align
        for device, batch in (("cpu", 64), ("cuda", 64), ("cuda", 7))
    ]  # fmt: skip
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=0, atol=OFF)


def test_the_search_on_a_card_is_that_on_the_cpu():
    points = np.random.default_rng(0).standard_normal((3000, 64), dtype=np.float32)
    (here, near), (there, same) = (
        ExactSearch(points, d).search(points, 9) for d in ("cpu", "cuda")
    )
    np.testing.assert_allclose(there, here, rtol=1e-4)
    assert (near == same).mean() > 0.999


def test_near_duplicates_and_pixels_are_those_of_the_cpu():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (300, 3, 8, 8), dtype=np.uint8).repeat(5, 2).repeat(5, 3)
    images[200:] = np.clip(images[:100] * 0.9, 0, 255).astype(np.uint8)
    pairs, measured = [], []
    for device in ("cpu", "cuda"):
        thumbs = thumbnails.of_canvas(images, device=device)
        found = duplicates.find(thumbs, 0.95, device=device)
        pairs.append(set(zip(found.a.tolist(), found.b.tolist(), strict=True)))
        measured.append(triage.quality(images, device=device))
    assert pairs[0] == pairs[1] and len(pairs[0]) >= 100
    for name, values in measured[0].items():
        np.testing.assert_allclose(measured[1][name], values, rtol=1e-4, atol=1e-6)
