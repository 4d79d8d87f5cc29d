import json
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats
from sklearn.datasets import load_digits

from curate.data.canvas import Canvas
from curate.data.sample import content_uid
from curate.encoders import dp_sgd, methods, training
from curate.encoders.backbone import Encoder
from curate.encoders.config import PrivacyConfig
from curate.encoders.dp_sgd import Guarantee, PrivateGradients
from curate.encoders.loop import Loop
from curate.encoders.methods.base import Batch, Method
from curate.errors import DivergedError, ResourceError, UsageError
from curate.runs import recipe
from curate.runtime import randomness, signals
from tests.operations import Operations, card

pytestmark = pytest.mark.numeric

opacus = pytest.importorskip("opacus", reason="opacus is not installed")

N = 90
DIGITS = load_digits()
IMAGES = np.round(DIGITS.images[:N, None] * 255 / 16).astype(np.uint8)
LABELS = DIGITS.target[:N].astype(np.int64)
UIDS = np.array([content_uid(image.tobytes()) for image in IMAGES], dtype=object)
MAE = {"method": "mae", "decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}


def recipe_of(**overrides):
    content = {
        "name": "tiny",
        "data": {"source": "digits", "size": 8, "channels": 1},
        "plan": {"kind": "halves"},
        "encoder": {"backbone": "vit_micro", "patch": 4, **MAE},
        "train": {"epochs": 2, "warmup_epochs": 1, "batch_size": 30, "threads": 1, "lr": 1e-3,
                  "dp": {"noise": 1.0, "delta": 1e-3, "clip": 0.5}},
        "views": {"train": "crop-flip"},
    }  # fmt: skip
    return recipe.build(content, overrides, where="test")


@pytest.fixture
def canvas():
    return Canvas(IMAGES, UIDS.astype(np.bytes_))


def loop_of(canvas, config, seed=0):
    torch.manual_seed(3)
    encoder = Encoder(config.encoder.backbone, size=8, channels=1, patch=config.encoder.patch)
    method = methods.build(config.encoder.method, encoder, config.method_config, 10)
    return Loop(
        method.train(), config.training_spec(), canvas=canvas, uids=UIDS, labels=LABELS, seed=seed
    )


def trained(canvas, out, uids=UIDS, seed=1, states=None, progress=lambda *_: None, **overrides):
    outcome = training.train_encoder(
        canvas,
        uids,
        recipe_of(**overrides).training_spec(),
        seed=seed,
        out=out,
        device="cpu",
        states=states,
        labels=LABELS,
        progress=progress,
    )
    return outcome, (out / "weights.safetensors").read_bytes()


def autograd(loop, batch):
    """Return the gradients of one batch by plain autograd, flattened, float64."""
    loop.method.zero_grad()
    loop.loss(batch).backward()
    parts = [p.grad.flatten() for p in loop.method.parameters() if p.requires_grad]
    return torch.cat(parts).double()


TEACHER = {"encoder": {"backbone": "vit_micro", "patch": 4, "method": "supervised"}}


@pytest.mark.parametrize(
    ("overrides", "dtype", "off"),
    [({}, torch.float64, 1e-12), ({}, torch.float32, 1e-5), (TEACHER, torch.float32, 1e-5),
     ({"train.alignment_lambda": 0.4}, torch.float32, 1e-5)],
    ids=["mae-float64", "mae", "supervised", "alignment"],
)  # fmt: skip
def test_gradients_are_those_of_one_sample_at_a_time(canvas, overrides, dtype, off):
    loop = loop_of(canvas, recipe_of(**overrides))
    loop.method.to(dtype)
    batch = loop.batch(loop.steps.at(0), *loop.feed.of(np.arange(6)))
    gradients, losses = loop.gradients.per_sample(batch)
    assert set(gradients) == {n for n, p in loop.method.named_parameters() if p.requires_grad}
    together = torch.cat([g.flatten(1) for g in gradients.values()], dim=1).double()

    def differs(found, part):
        wanted = autograd(loop, part)
        return float((found - wanted).norm() / wanted.norm())

    for i in range(6):
        alone = dp_sgd.part_of(batch, slice(i, i + 1))
        assert differs(together[i], alone) < off
        assert losses[i].item() == pytest.approx(loop.loss(alone).item(), rel=1e-5)
    # What the method calls its loss is the mean, or clipping would bound something else.
    assert differs(together.mean(0), batch) < off


def test_clipping_by_hand():
    a = torch.tensor([[3.0, 0.0], [0.3, 0.0], [float("nan"), 1.0], [0.0, 0.0]])
    b = torch.tensor([[[4.0]], [[0.4]], [[1.0]], [[0.0]]])
    summed, good = dp_sgd.clipped_sum({"a": a, "b": b}, 2.0)
    # The first has length 5 and is brought to 2; the second has 0.5 and stays.
    torch.testing.assert_close(summed["a"], torch.tensor([3 * 0.4 + 0.3, 0.0]))
    torch.testing.assert_close(summed["b"], torch.tensor([[4 * 0.4 + 0.4]]))
    assert good.tolist() == [True, True, False, True]


def test_no_sample_moves_the_gradient_by_more_than_the_clip(canvas, monkeypatch):
    loop = loop_of(canvas, recipe_of(**{"train.dp.clip": 0.05}))
    monkeypatch.setattr(loop.gradients, "together", 4)

    def gradient(chosen):
        shown = loop.batch(loop.steps.at(0), *loop.feed.of(np.array(chosen, dtype=int)))
        loop.gradients.backward(shown, 7)
        return torch.cat([p.grad.flatten() for p in loop.gradients.trained.values()]).double() * 30

    everyone, nobody = gradient(range(9)), gradient([])
    moved = [float((everyone - gradient([j for j in range(9) if j != i])).norm()) for i in range(9)]
    assert max(moved) == pytest.approx(0.05, rel=1e-4) == min(moved)
    # All norms are above 0.05, so that the sum is one of vectors of that length.
    shown = loop.batch(loop.steps.at(0), *loop.feed.of(np.arange(9)))
    gradients, _ = loop.gradients.per_sample(shown)
    each = torch.cat([g.flatten(1) for g in gradients.values()], dim=1).double()
    wanted = (0.05 * each / each.norm(dim=1, keepdim=True)).sum(0)
    torch.testing.assert_close(everyone - nobody, wanted, rtol=1e-3, atol=1e-5)


def test_noise_has_the_stated_deviation_and_is_one_of_seed_and_step(canvas):
    def noise(step, seed=0, **overrides):
        loop = loop_of(canvas, recipe_of(**overrides), seed)
        empty = loop.batch(loop.steps.at(0), *loop.feed.of(np.arange(0)))
        assert loop.gradients.backward(empty, step) is None
        return torch.cat([p.grad.flatten() for p in loop.gradients.trained.values()]).numpy() * 30

    one = noise(0, **{"train.dp.noise": 3.0})
    n = len(one)
    assert n > 100_000
    assert one.std() == pytest.approx(3.0 * 0.5, rel=5 / np.sqrt(2 * n))
    assert abs(one.mean()) < 5 * 1.5 / np.sqrt(n)
    assert np.abs(one).max() < 1.5 * 6.5 and (one**4).mean() / 1.5**4 == pytest.approx(3, abs=0.15)
    np.testing.assert_array_equal(one, noise(0, **{"train.dp.noise": 3.0}))
    np.testing.assert_allclose(one, 3 * noise(0), rtol=1e-5)
    for other in (noise(1), noise(0, seed=1)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(n)
    assert not noise(0, **{"train.dp.noise": 0.0}).any()


def test_samples_are_drawn_independently_with_one_probability():
    n, steps, rate = 500, 400, 0.13
    words = randomness.uid_keys([f"{randomness.stream(5, k):016x}{k:016x}" for k in range(n)])
    drawn = np.zeros((steps, n), dtype=bool)
    for step in range(steps):
        drawn[step, dp_sgd.poisson(0, step, words, rate)] = True
    spread = rate * (1 - rate)
    assert drawn.mean() == pytest.approx(rate, abs=5 * np.sqrt(spread / drawn.size))
    # Batch sizes vary as a binomial's, and so do the times that a sample is drawn.
    assert drawn.sum(1).var() == pytest.approx(n * spread, rel=5 * np.sqrt(2 / steps))
    assert drawn.sum(0).var() == pytest.approx(steps * spread, rel=5 * np.sqrt(2 / n))
    between = np.corrcoef(drawn.T)[np.triu_indices(n, 1)]
    assert between.std() == pytest.approx(1 / np.sqrt(steps), rel=0.05)
    few = dp_sgd.poisson(0, 3, words[100:200], rate)
    np.testing.assert_array_equal(few, np.flatnonzero(drawn[3, 100:200]))
    assert len(dp_sgd.poisson(0, 0, words, 1.0)) == n


def test_epsilon_is_that_of_the_accountant():
    from opacus.accountants import PRVAccountant, RDPAccountant

    known = RDPAccountant()
    for _ in range(1000):
        known.step(noise_multiplier=1.1, sample_rate=0.01)
    config = PrivacyConfig(noise=1.1, delta=1e-5)
    found = dp_sgd.guarantee(config, batch=100, samples=10_000, steps=1000)
    assert found == Guarantee(found.epsilon, 1e-5, 1.1, 1.0, 0.01, 1000, "rdp")
    assert found.epsilon == pytest.approx(known.get_epsilon(1e-5), rel=1e-9)
    assert found.epsilon == pytest.approx(1.7118, abs=1e-3)
    tight = PRVAccountant()
    tight.history = [(1.1, 0.01, 1000)]
    assert 0.8 * found.epsilon < tight.get_epsilon(1e-5) < found.epsilon


def test_noise_that_a_card_draws_is_normal_and_one_of_step_and_weight():
    like = [torch.zeros(200, 30), torch.zeros(200, 30), torch.zeros(())]
    one, two, scalar = dp_sgd.gaussian_on_card(7, like)
    assert one.shape == (200, 30) and scalar.shape == ()
    other = next(dp_sgd.gaussian_on_card(8, like))
    for drawn in (one, two, other):
        assert stats.kstest(drawn.flatten(), "norm").pvalue > 1e-3
    drawn = torch.stack([one, two, other]).flatten(1)
    assert (torch.corrcoef(drawn) - torch.eye(3)).abs().max() < 0.06
    assert torch.equal(one, next(dp_sgd.gaussian_on_card(7, like)))
    with card(), Operations() as asked:
        there = [torch.zeros(3, 4, device="cuda")]
        (noise,) = dp_sgd.gaussian(0, 5, there)
    assert (noise.device.type, noise.shape) == ("cuda", (3, 4))
    assert not asked.copies and not asked.reads


@pytest.mark.parametrize("epsilon", [0.5, 8.0, 20.0])
def test_noise_is_found_for_an_epsilon(epsilon):
    config = PrivacyConfig(epsilon=epsilon, delta=1e-4)
    found = dp_sgd.guarantee(config, batch=64, samples=898, steps=1400)
    assert 0.999 * epsilon <= found.epsilon <= epsilon
    less = dp_sgd.spent(0.99 * found.noise_multiplier, 1e-4, rate=64 / 898, steps=1400)
    assert less > epsilon


def test_what_promises_nothing_is_said():
    unheard = PrivacyConfig(noise=0.0, delta=1e-3)
    assert dp_sgd.guarantee(unheard, batch=2, samples=9, steps=9).epsilon is None
    with pytest.raises(UsageError, match=r"delta 0\.2 would let a training on 9 samples"):
        dp_sgd.guarantee(PrivacyConfig(noise=1.0, delta=0.2), batch=2, samples=9, steps=9)
    with pytest.raises(UsageError, match=r"epsilon 1e-08: no noise is enough for 9 steps"):
        config = PrivacyConfig(epsilon=1e-8, delta=1e-9)
        dp_sgd.guarantee(config, batch=2, samples=9, steps=9)


def test_a_training_is_its_seed_s_and_says_what_it_promises(canvas, tmp_path):
    outcome, one = trained(canvas, tmp_path / "a")
    _, two = trained(canvas, tmp_path / "b", uids=UIDS[::-1])
    _, other = trained(canvas, tmp_path / "c", seed=2)
    assert one == two != other
    promised = {
        "epsilon": dp_sgd.spent(1.0, 1e-3, rate=1 / 3, steps=6),
        "delta": 1e-3, "noise_multiplier": 1.0, "clip": 0.5, "sample_rate": 1 / 3, "steps": 6,
        "accountant": "rdp",
    }  # fmt: skip
    assert outcome.to_json()["privacy"] == promised and (outcome.steps, outcome.skipped) == (6, 0)
    assert json.loads((tmp_path / "a" / "config.json").read_text())["privacy"] == promised
    outcome, plain = trained(canvas, tmp_path / "d", **{"train.dp": None})
    assert plain != one and "privacy" not in outcome.to_json()


@pytest.mark.parametrize("batch_size", [30, 1])
def test_stopped_and_gone_on_with_gives_the_same_bytes(canvas, tmp_path, batch_size):
    # With one sample expected, a third of the batches are empty.
    overrides = {"train.batch_size": batch_size, "train.epochs": 2}
    uids = UIDS[:: N // 10] if batch_size == 1 else UIDS
    outcome, wanted = trained(canvas, tmp_path / "undisturbed", uids, **overrides)
    out, states = tmp_path / "stopped", tmp_path / "states"

    def stop_after(step):
        return lambda what, done, total: done == step and signals.obey(signal.SIGTERM)

    for step in (2, 3):
        with pytest.raises(signals.Stopped):
            trained(canvas, out, uids, states=states, progress=stop_after(step), **overrides)
        assert not out.exists()
    again, found = trained(canvas, out, uids, states=states, **overrides)
    assert found == wanted
    assert replace(again, seconds=0) == replace(outcome, seconds=0)


def test_a_step_without_samples_is_noise_alone(canvas, tmp_path, monkeypatch):
    monkeypatch.setattr(dp_sgd, "poisson", lambda *_: np.empty(0, dtype=np.int64))
    outcome, _ = trained(canvas, tmp_path / "a")
    assert (outcome.loss, outcome.steps, outcome.skipped) == (None, 6, 0)
    monkeypatch.undo()
    trained(canvas, tmp_path / "b", **{"train.dp.noise": 0.0, "train.lr": 1e-30})
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in "ab")
    moved = {name for name in one if not torch.equal(one[name], two[name])}
    assert moved == set(one) - {"net.pos_embed"}


def test_a_training_that_diverges_is_named(canvas, tmp_path):
    overrides = {"train.lr": 1e30, "train.optimizer": "sgd", "train.epochs": 20}
    with pytest.raises(DivergedError, match="not finite for 10 steps"):
        trained(canvas, tmp_path / "a", **overrides)
    assert not (tmp_path / "a" / "weights.safetensors").exists()


def test_a_sample_that_is_not_finite_adds_nothing():
    class Bent(Method):
        per_sample = True
        n_views = 1

        def __init__(self):
            super().__init__(None)
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, batch):
            return (self.weight * batch.views[0]).mean()

    method = Bent()
    promised = Guarantee(None, 1e-3, 0.0, 10.0, 0.5, 1)
    gradients = PrivateGradients(
        method, method.forward, keys=np.empty(0), seed=0, guarantee=promised, batch=2
    )
    views = torch.tensor([1.0, float("inf"), 4.0, float("nan")])
    assert gradients.backward(Batch(views=[views]), 0).item() == pytest.approx(2.5)
    assert method.weight.grad.item() == pytest.approx(2.5)
    assert gradients.backward(Batch(views=[views[[1, 3]]]), 0).isnan()
    assert method.weight.grad.item() == 0


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"encoder": {"backbone": "vit_micro", "patch": 4, "method": "simclr"}},
         "the loss of simclr is no mean over single samples"),
        ({"encoder": {"backbone": "convnet", "method": "supervised"}}, "batch normalisation"),
    ],
    ids=["simclr", "batch-norm"],
)  # fmt: skip
def test_what_has_no_gradients_of_single_samples_is_refused(canvas, tmp_path, overrides, said):
    with pytest.raises(UsageError, match=said):
        trained(canvas, tmp_path / "a", **overrides)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"train.dp.epsilon": 8}, r"train\.dp: give exactly one of epsilon and noise"),
        ({"train.dp": {"delta": 1e-3}}, "give exactly one of epsilon and noise"),
        ({"train.clip_norm": 1.0}, "leave out clip_norm"),
        ({"train.precision": "bfloat16"}, "dp trains in float32"),
        ({"train.dp.sigma": 1.0}, r"unknown key 'train\.dp\.sigma'.*Known here: clip, delta, "),
        ({"train.dp.clip": 0}, r"train\.dp\.clip"),
    ],
)
def test_recipes_that_cannot_be_meant(overrides, said):
    with pytest.raises(UsageError, match=said):
        recipe_of(**overrides)


def test_a_recipe_without_privacy_takes_it_by_set():
    assert recipe_of(**{"train.dp": None, "train.dp.epsilon": "8"}).train.dp.epsilon == 8
    assert recipe_of().fingerprint() != recipe_of(**{"train.dp.noise": 2.0}).fingerprint()


def test_a_missing_opacus_is_named(canvas, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus", None)
    for dp in ({"noise": 1.0}, {"epsilon": 8.0}):
        with pytest.raises(ResourceError, match=r"pip install 'curate\[dp\]'"):
            trained(canvas, tmp_path / "a", **{"train.dp": {"delta": 1e-3, **dp}})
