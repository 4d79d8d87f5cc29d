"""Encoders side by side are those of separate trainings, and none sees another."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from curate.data.canvas import Canvas
from curate.encoders import methods, training
from curate.encoders.backbone import Encoder, load_encoder
from curate.encoders.loop import Loop
from curate.encoders.methods.base import Method
from curate.encoders.stacked import Stack
from curate.errors import UsageError
from curate.runs import recipe as recipes
from curate.runtime import signals
from tests.golden.losses import IMAGES, LABELS, SMALL, UIDS
from tests.operations import Operations, as_on_card, card, on_card, recorded

pytestmark = pytest.mark.numeric

SEEDS = (3, 3, 4)
"""Of trainings side by side: two of a repeat, and one of another."""


def recipe_of(method, **changes):
    """Return a recipe of a method whose every epoch is a step of 16 digits."""
    content = {
        "name": "small",
        "data": {"source": "digits", "size": 8, "channels": changes.pop("channels", 1)},
        "plan": {"kind": "halves"},
        "encoder": {"backbone": "convnet", "method": method} | SMALL.get(method, {}),
        "train": {"epochs": 6, "warmup_epochs": 1, "batch_size": 16, "lr": 1e-3, "threads": 1},
        "views": {"train": "simclr"},
    }
    return recipes.build(content, changes, where="test")


def canvas_of(channels):
    images = np.repeat(IMAGES, channels, axis=1)
    if channels == 3:
        images[:, 1] //= 2  # colours
    return Canvas(images, UIDS.astype(np.bytes_))


def members(k):
    """Return the samples of training k: 24 of 40, others of each."""
    return np.array(sorted(np.random.default_rng(k).permutation(UIDS)[:24]), dtype=object)


def loop_of(recipe, k, method=None):
    """Return the loop of training k."""
    torch.manual_seed(SEEDS[k])
    data, config = recipe.data, recipe.encoder
    encoder = Encoder(config.backbone, size=8, channels=data.channels, patch=config.patch)
    made = method or methods.build(config.method, encoder, recipe.method_config, 10)
    return Loop(
        made.train(),
        recipe.training_spec(),
        canvas=canvas_of(data.channels),
        uids=members(k),
        labels=LABELS,
        seed=SEEDS[k],
    )


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        *((name, {"channels": 3, "train.alignment_lambda": 0.1}) for name in methods.METHODS),
        ("simclr", {"train.optimizer": "lars", "train.lr": 0.3, "train.clip_norm": 0.5}),
        ("simclr", {"encoder.backbone": "resnet18"}),
        ("dino", {"encoder.backbone": "vit_micro", "encoder.local_side": 4}),
    ],
)
def test_every_step_of_a_stack_is_that_of_separate_trainings(method, changes):
    recipe = recipe_of(method, **changes)
    stack = Stack([loop_of(recipe, k) for k in range(3)])
    alone = [loop_of(recipe, k) for k in range(3)]
    deep = recipe.encoder.backbone == "resnet18"
    for step in range(1 if deep else 3):
        # The same weights again: what a step makes of rounding is not this step's.
        for loop, other in zip(stack.loops, alone, strict=True):
            other.method.load_state_dict(loop.method.state_dict())
        losses = stack.advance(step)
        for k, (loop, other) in enumerate(zip(stack.loops, alone, strict=True)):
            assert float(losses[k]) == pytest.approx(float(other.advance(step)), rel=1e-5, abs=1e-6)
            pairs = list(zip(loop.method.parameters(), other.method.parameters(), strict=True))
            assert [p.grad is None for p, _ in pairs] == [q.grad is None for _, q in pairs]
            pairs = [(p.grad, q.grad) for p, q in pairs if p.grad is not None]
            off, whole = (
                float(sum(g.square().sum() for g in some)) ** 0.5
                for some in ([g - h for g, h in pairs], [h for _, h in pairs])
            )
            # Eighteen layers make more of the rounding of a convolution, however it is done.
            assert off < (5e-5 if deep else 1e-5) * whole
            for a, b in zip(loop.method.buffers(), other.method.buffers(), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_card_repeats_the_step_of_a_stack_and_asks_nothing_of_the_host(precision):
    changes = {"train.precision": precision, "encoder.freeze_last_epochs": 1.0, "channels": 3}
    recipe, ends = recipe_of("dino", **changes, **{"train.epochs": 8}), []
    for capture in (None, recorded):
        stack = Stack([as_on_card(loop_of(recipe, k)) for k in range(3)])
        stack.capture = capture
        outcomes = stack.run(None, snapshots=[lambda epoch: None] * 3)
        assert (stack.repeated is not None) == (capture is not None)
        ends.append([outcome.loss for outcome in outcomes])
    rough = 5e-3 if precision == "bfloat16" else 1e-4  # a rate of 24 bits is almost the host's
    assert ends[1] == pytest.approx(ends[0], rel=rough)


@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_a_stack_is_asked_for_hardly_more_often_than_one(method):
    asked = []
    for k in (1, 3):
        recipe = recipe_of(method)
        stack = Stack([as_on_card(loop_of(recipe, 0)) for _ in range(k)])
        for step in range(3):
            stack.advance(step)
        with Operations() as told:
            stack.advance(3)
        assert not told.reads
        asked.append(told.total)
    assert asked[1] < 1.6 * asked[0]


def test_losses_of_a_stack_are_found_on_the_card():
    recipe = recipe_of("dino", channels=3, **{"train.alignment_lambda": 0.1})
    made = [loop_of(recipe, k).method for k in range(2)]
    with card():
        stack = Stack([on_its_card(recipe, k, method) for k, method in enumerate(made)])
        stack.feed.take(0)
        taken = stack.feed.take(1)
        with Operations() as asked:
            batch = stack.batch(stack.steps.at(0), *taken)
            assert {v.device.type for v in [*batch.views, *batch.extra]} == {"cuda"}
            losses = stack.losses(batch)
        assert (losses.device.type, losses.shape) == ("cuda", (2,))
        assert not asked.reads and not asked.copies


def on_its_card(recipe, k, method):
    return Loop(
        on_card(method),
        recipe.training_spec(),
        canvas=canvas_of(3),
        uids=members(k),
        labels=LABELS,
        seed=SEEDS[k],
        device="cuda",
    )


class Poisoned(Method):
    """A loss that is not finite from some step on, of one of the trainings."""

    n_views = 1

    def __init__(self, encoder, poison):
        super().__init__(encoder)
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.register_buffer("poison", torch.tensor(poison))

    def forward(self, batch):
        seen = self.encoder.forward_float(batch.views[0]).square().mean()
        return seen * self.weight + self.poison * seen


def test_a_training_that_is_not_finite_leaves_those_beside_it_alone():
    recipe, ends = recipe_of("simclr", **{"train.epochs": 4}), []
    for poison in (0.0, float("nan")):
        loops = [loop_of(recipe, k) for k in range(2)]
        loops = [
            loop_of(recipe, k, Poisoned(loop.method.encoder, poison if k else 0.0))
            for k, loop in enumerate(loops)
        ]
        before = {n: t.clone() for n, t in loops[1].method.state_dict().items()}
        stack = Stack(loops)
        first, second = stack.run(None, snapshots=[lambda epoch: None] * 2)
        ends.append((first.loss, loops[0].method.state_dict()))
    assert (first.skipped, second.skipped) == (0, 4)
    assert ends[0][0] == ends[1][0]
    assert all(torch.equal(t, ends[1][1][n]) for n, t in ends[0][1].items())
    for name, tensor in loops[1].method.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor.isnan(), before[name].isnan()), name
            assert torch.equal(tensor.nan_to_num(), before[name].nan_to_num()), name


def side_by_side(recipe, folder, told=None, some=range(3)):
    """Train encoders side by side; returns their outcomes."""
    asked = [
        training.Asked(members(k), SEEDS[k], folder / f"e{k}", folder / "states" / f"e{k}")
        for k in some
    ]
    return training.train_side_by_side(
        asked,
        canvas_of(1),
        recipe.training_spec(),
        device="cpu",
        labels=LABELS,
        progress=told or (lambda *progress: None),
    )


def test_encoders_of_a_stack_are_those_of_separate_trainings(tmp_path):
    recipe = recipe_of("mae", **{"train.snapshots": 2, "train.epochs": 4})
    outcomes = side_by_side(recipe, tmp_path)
    pixels = torch.from_numpy(IMAGES)
    for k, outcome in enumerate(outcomes):
        alone, made = tmp_path / f"alone{k}", tmp_path / f"e{k}"
        wanted = training.train_encoder(
            canvas_of(1), members(k), recipe.training_spec(), seed=SEEDS[k],
            out=alone, states=tmp_path / f"other{k}", device="cpu",
        )  # fmt: skip
        assert outcome.loss == pytest.approx(wanted.loss, rel=1e-5)
        assert (outcome.steps, outcome.epochs, outcome.skipped) == (4, 4, 0)
        for place in (".", "snapshots/00002"):
            one, other = (load_encoder(folder / place)(pixels) for folder in (made, alone))
            assert float((one - other).abs().max()) < 1e-4 * float(other.abs().max())
        (said, told) = (json.loads((f / "config.json").read_text()) for f in (made, alone))
        assert said.pop("side_by_side") is True and said == told
        assert len((made / "log.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize("method", ["dino", "mae"])
def test_who_else_is_in_a_stack_changes_no_byte_of_one_thread(method, tmp_path):
    recipe, files = recipe_of(method), {}
    for some in ((0, 1, 2), (2, 1), (2,)):
        folder = tmp_path / "".join(map(str, some))
        side_by_side(recipe, folder, some=some)
        files[some] = (folder / "e2/weights.safetensors").read_bytes()
    assert len(set(files.values())) == 1


@pytest.mark.parametrize("at", [1, 4])
def test_a_stack_that_is_stopped_goes_on_and_ends_with_the_same_bytes(at, tmp_path):
    recipe = recipe_of("dino")
    wanted = side_by_side(recipe, tmp_path / "undisturbed")

    def stop(what, done, total):
        if done == at:
            signals.obey(15)

    with pytest.raises(signals.Stopped):
        side_by_side(recipe, tmp_path / "stopped", stop)
    # A kill came between the states of the first and those of the others.
    newest = sorted((tmp_path / "stopped/states/e2").glob(f"{at:09d}*"))
    assert len(newest) == 2
    if at > 1:
        for path in newest:
            path.unlink()
    done = []
    outcomes = side_by_side(recipe, tmp_path / "stopped", lambda w, d, t: done.append(d))
    assert done[0] == (at + 1 if at == 1 else 1)
    for k, (one, other) in enumerate(zip(outcomes, wanted, strict=True)):
        assert dataclasses.replace(one, seconds=0) == dataclasses.replace(other, seconds=0)
        files = [
            (tmp_path / place / f"e{k}/weights.safetensors").read_bytes()
            for place in ("undisturbed", "stopped")
        ]
        assert files[0] == files[1]


def test_a_stack_goes_on_from_no_state_of_another_training(tmp_path):
    with pytest.raises(signals.Stopped):
        side_by_side(recipe_of("simclr"), tmp_path, lambda *_: signals.obey(15))
    done = []
    side_by_side(
        recipe_of("simclr", **{"train.lr": 2e-3}), tmp_path, lambda w, d, t: done.append(d)
    )
    assert done == [1, 2, 3, 4, 5, 6]


def test_what_cannot_be_trained_side_by_side_is_named():
    recipe = recipe_of("simclr")
    other = recipe_of("simclr", **{"train.epochs": 7})
    with pytest.raises(UsageError, match="other steps"):
        Stack([loop_of(recipe, 0), loop_of(other, 1)])
    for changes, says in (
        ({"train.parts": 2}, "leave out one"),
        ({"train.dp": {"noise": 1.0}}, "leave out stack"),
    ):
        with pytest.raises(UsageError, match=says):
            recipe_of("mae", **{"train.stack": 2, **changes})


class Deciding(Poisoned):
    """A loss that asks the host for a number."""

    def forward(self, batch):
        loss = super().forward(batch)
        return loss if bool(loss > 0) else -loss


def test_a_method_that_asks_the_host_is_told_to_train_alone():
    recipe = recipe_of("simclr")
    stack = Stack([loop_of(recipe, k, Deciding(loop_of(recipe, k).method.encoder, 0.0))
                   for k in range(2)])  # fmt: skip
    with pytest.raises(UsageError, match=r"cannot be trained side by side.*train\.stack.*1"):
        stack.advance(0)
