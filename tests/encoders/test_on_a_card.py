"""What a card is asked for, told without one: devices under fake tensors, and counts of operations.

Numbers are no part of it: they are the same code's on a CPU.
"""

import numpy as np
import pytest
import torch

from curate.data.canvas import Canvas
from curate.data.sample import content_uid
from curate.encoders import methods, views
from curate.encoders.backbone import Encoder
from curate.encoders.loop import Loop
from curate.encoders.representation import features
from curate.encoders.schedule import Tables
from curate.encoders.views.apply import augment, orders
from curate.inspection import thumbnails, triage
from curate.runs import recipe as recipes
from curate.scores.alignment import align_images, distances
from tests.golden.losses import SMALL
from tests.operations import Operations, as_on_card, card, on_card

N = 4

KERNELS = {
    # recipe: (of the views, of the rest) of one training step, as a card repeats it
    "digits": (242, 112),
    "digits-mae": (109, 239),
    "cifar10-mae": (116, 570),
    "cifar10-simclr-resnet18": (466, 255),
    "cifar10-dino-vit": (2295, 1212),
    "cifar10-vicreg": (466, 1135),
    "cifar10-supervised": (53, 441),
    "digits-simsiam": (242, 250),
    "digits-barlow-twins": (242, 185),
}
"""Most kernels of a step. Each takes some 5 us to ask for, where a card does not repeat them by
itself, and some 2 us else. Who makes a step of fewer lowers its ceiling here."""


def method_of(recipe):
    """Return what a recipe trains."""
    data, encoder = recipe.data, recipe.encoder
    network = Encoder(encoder.backbone, size=data.size, channels=data.channels, patch=encoder.patch)
    return methods.build(encoder.method, network, recipe.method_config, 10).train()


def loop_of(recipe, method, device):
    """Return the loop of a recipe's training on a few images of noise."""
    data = recipe.data
    shape = (N, data.channels, data.size, data.size)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    uids = np.array(sorted(content_uid(image.tobytes()) for image in images), dtype=object)
    return Loop(
        method,
        recipe.training_spec(),
        canvas=Canvas(images, uids.astype(np.bytes_)),
        uids=uids,
        labels=np.arange(N) % 10,
        device=device,
    )


def small(method, channels, **changes):
    """Return a recipe of a method on images of 8 pixels."""
    content = {
        "name": "small",
        "data": {"source": "digits", "size": 8, "channels": channels},
        "plan": {"kind": "halves"},
        "encoder": {"backbone": "convnet", "method": method} | SMALL.get(method, {}),
        "train": {"epochs": 2, "warmup_epochs": 1, "batch_size": N, "threads": 1},
        "views": {"train": "simclr"},
    }
    return recipes.build(content, changes, where="test")


def whole(name):
    """Return a packaged recipe, its network as it is, on batches of a few images."""
    content = recipes.load_recipe(name).model_dump(mode="json")
    changes = {"train.batch_size": N, "train.epochs": 8, "train.warmup_epochs": 1}
    # The widest heads, with as many layers.
    narrow = {"vicreg": "expansion", "barlow-twins": "expansion", "dino": "out_dim"}
    if (method := content["encoder"]["method"]) in narrow:
        changes[f"encoder.{narrow[method]}"] = 1
    return recipes.build(content, changes, where=name)


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", sorted(views.VIEWS))
def test_every_view_set_is_made_on_the_card(name, channels):
    with card():
        pixels = torch.zeros(N, channels, 32, 32, dtype=torch.uint8, device="cuda")
        keys = torch.zeros(N, dtype=torch.int64, device="cuda")
        for view in range(6):  # orders of the colour changes
            with Operations() as asked:
                shown = augment(pixels, views.VIEWS[name], key=5, keys=keys, view=view)
            assert (shown.device.type, shown.dtype) == ("cuda", torch.float32)
            assert not asked.reads and not asked.copies


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_the_loss_of_every_method_is_found_on_the_card(method, channels, precision):
    changes = {"train.precision": precision, "train.alignment_lambda": 0.1}
    recipe = small(method, channels, **changes)
    method = method_of(recipe)
    with card():
        loop = loop_of(recipe, on_card(method), "cuda")
        loop.feed.take(0)  # what tells the card of many steps
        tables = Tables(loop.steps, orders(loop.key, 9), "cuda")
        with Operations() as asked:
            batch = loop.batch(tables.now(), *loop.feed.take(1))
        assert not asked.reads and not asked.copies
        assert {shown.device.type for shown in [*batch.views, *batch.extra]} == {"cuda"}
        lower = torch.autocast("cuda", dtype=torch.bfloat16, enabled=precision == "bfloat16")
        with lower, Operations() as asked:
            loss = loop.loss(batch)
        assert (loss.device.type, loss.dtype, loss.shape) == ("cuda", torch.float32, ())
        assert not asked.reads and not asked.copies


@pytest.mark.parametrize("representation", ["full", "pooled"])
@pytest.mark.parametrize("pairing", ["anchored", "all"])
@pytest.mark.parametrize("backbone", ["convnet", "vit_micro"])
def test_alignment_is_measured_on_the_card(backbone, pairing, representation):
    recipe = small("simclr", 3, **{"score.pairing": pairing, "score.views": 4})
    encoders = {n: Encoder(backbone, size=8, channels=3).eval() for n in "fg"}
    with card(), torch.no_grad():
        encoders = {name: on_card(encoder) for name, encoder in encoders.items()}
        pixels = torch.zeros(N, 3, 8, 8, dtype=torch.uint8, device="cuda")
        keys = torch.zeros(N, dtype=torch.int64, device="cuda")
        with Operations() as asked:
            shown = (
                augment(pixels, views.VIEWS["simclr"], key=5, keys=keys, view=k) for k in range(4)
            )
            clean = pixels.float() / 255
            found = distances(encoders, clean, shown, recipe.score, representation)
        assert {(d.device.type, tuple(d.shape)) for d in found.values()} == {
            ("cuda", (N, 4 if pairing == "anchored" else 6))
        }
        assert not asked.reads and not asked.copies


@pytest.mark.parametrize("pairing", ["anchored", "all"])
def test_a_shard_is_measured_by_several_views_at_once_and_comes_back_at_its_end(
    pairing, monkeypatch
):
    n, looks, copied = 70, [], []
    recipe = small("simclr", 3, **{"score.pairing": pairing, "score.views": 5,
                                   "score.batch_size": 16})  # fmt: skip
    encoders = {n: Encoder("convnet", size=8, channels=3).eval() for n in "fg"}
    real = Encoder.forward_float
    monkeypatch.setattr(
        Encoder, "forward_float", lambda self, x: looks.append(len(x)) or real(self, x)
    )
    with card(), torch.no_grad():
        encoders = {name: on_card(encoder) for name, encoder in encoders.items()}
        monkeypatch.setattr(torch.Tensor, "double", lambda d: copied.append(len(d)) or Came(d))
        images = np.zeros((n, 3, 8, 8), dtype=np.uint8)
        with Operations() as asked:
            found = align_images(
                encoders, images, np.arange(n).astype(np.uint64), views.VIEWS["simclr"],
                recipe.score, representation="full", device="cuda",
            )  # fmt: skip
    assert copied == [n, n] and {len(a.align) for a in found.values()} == {n}
    assert not asked.reads
    # Five batches, on two encoders, each seen once with all its views.
    each = 5 + (pairing == "anchored")
    assert looks == [16 * each] * 8 + [6 * each] * 2


class Came:
    """Distances that came from the pretended card, which has none."""

    def __init__(self, d):
        self.shape = tuple(d.shape)

    def cpu(self):
        return self

    def numpy(self):
        return np.ones(self.shape)


def test_pixels_are_inspected_on_the_card(monkeypatch):
    kinds = {torch.uint8: np.uint8, torch.float64: np.float64, torch.float32: np.float32}

    def numpy(tensor):
        assert tensor.device.type == "cpu"
        return np.ones(tuple(tensor.shape), kinds[tensor.dtype])

    encoder = Encoder("convnet", size=40, channels=3).eval()
    monkeypatch.setattr(torch.Tensor, "numpy", numpy)
    with card(), Operations() as told:
        images = np.ones((9, 3, 40, 40), dtype=np.uint8)
        assert len(triage.quality(images, device="cuda")["contrast"]) == 9
        assert len(thumbnails.of_canvas(images, device="cuda")) == 9
        found = features(
            on_card(encoder), Canvas(images, np.arange(9).astype(np.bytes_)), np.arange(9)
        )
        assert found.shape == (9, encoder.dim)
    assert not told.reads
    assert told.copies["_to_copy"] > 0


def test_the_pretended_card_notices_what_a_card_would():
    with card():
        there = torch.zeros(3, device="cuda")
        with pytest.raises(RuntimeError, match="device"):
            torch.add(there, torch.zeros(3))
        with pytest.raises(RuntimeError):
            bool(there.sum() > 0)
        with Operations() as asked:
            torch.zeros(3).to("cuda")
        assert asked.copies == {"_to_copy": 1}
        with torch.autocast("cuda", dtype=torch.bfloat16):
            assert torch.mm(there[None], there[:, None]).dtype == torch.bfloat16
    with Operations() as asked:
        x = torch.ones(3).mul_(2).view(3, 1)
        assert float(x.sum()) == 6 and len(torch.nonzero(x)) == 3
        torch.tensor([1.0, 2.0])
    assert asked.kernels == {"ones": 1, "mul_": 1, "sum": 1} and asked.copies == {"lift_fresh": 1}
    assert asked.reads == {"_local_scalar_dense": 1, "nonzero": 1}


@pytest.mark.parametrize("method", ["mae", "supervised"])
def test_a_private_step_asks_the_host_for_nothing(method, one_thread):
    private = {"encoder.backbone": "vit_micro", "train.dp.noise": 1.0, "train.dp.delta": 1e-3}
    recipe = small(method, 1, **private)
    loop = as_on_card(loop_of(recipe, method_of(recipe), "cpu"))
    taken = loop.feed.of(np.arange(N))
    for step in range(2):
        batch = loop.batch(loop.steps.at(step), *taken)
        with Operations() as asked:
            loss = loop.step(batch, 1e-4)
        assert bool(loss.isfinite())
        assert not asked.reads and asked.total > 0


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_a_step_asks_for_no_more_kernels_than_it_did(name, one_thread):
    recipe = whole(name)
    loop = as_on_card(loop_of(recipe, method_of(recipe), "cpu"))
    for step in range(4):  # DINO's last layer has moments after its second, and they have copies
        loop.step(loop.batch(loop.steps.at(step), *loop.feed.take(step)), 1e-4)
    taken = loop.feed.take(4)
    tables = Tables(loop.steps, orders(loop.key, 8 * len(loop.specs)), "cpu")
    tables.step.fill_(4)
    with Operations() as shown:
        now = tables.now()
        batch = loop.batch(now, *taken)
    with Operations() as rest:
        loop.step(batch, now.rate)
    ceilings = dict(zip(("views", "rest"), KERNELS[name], strict=True))
    found = {"views": shown.total, "rest": rest.total}
    assert {k: v for k, v in found.items() if v > ceilings[k]} == {}
    assert not shown.reads and not rest.reads and not rest.copies
