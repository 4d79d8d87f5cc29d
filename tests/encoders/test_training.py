import json
import re
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits

from curate.data.canvas import Canvas
from curate.data.sample import content_uid
from curate.encoders import checkpoint, methods, schedule, training, views
from curate.encoders import loop as steps
from curate.encoders.backbone import Encoder, load_encoder
from curate.encoders.loop import Loop
from curate.encoders.methods.base import Method
from curate.encoders.views import apply
from curate.encoders.views.apply import augment
from curate.errors import DataError, DivergedError, MismatchError
from curate.runs import recipe
from curate.runtime import randomness, signals, versions

pytestmark = pytest.mark.numeric

N = 120
IMAGES = np.round(load_digits().images[:N, None] * 255 / 16).astype(np.uint8)
UIDS = np.array([content_uid(image.tobytes()) for image in IMAGES], dtype=object)


def recipe_of(**overrides):
    content = {
        "name": "tiny",
        "data": {"source": "digits", "size": 8, "channels": 1},
        "plan": {"kind": "halves"},
        "encoder": {"backbone": "convnet", "method": "simclr"},
        "train": {"epochs": 3, "warmup_epochs": 1, "batch_size": 32, "threads": 1},
        "views": {"train": "digits"},
    }
    return recipe.build(content, overrides, where="test")


class Idle(Method):
    n_views = 1

    def __init__(self, encoder):
        super().__init__(encoder)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, batch):
        return self.weight.sum()


@pytest.fixture
def canvas():
    return Canvas(IMAGES, UIDS.astype(np.bytes_))


def trained(canvas, out, uids=UIDS, seed=1, steps=None, **overrides):
    outcome = training.train_encoder(
        canvas,
        uids,
        recipe_of(**overrides).training_spec(),
        seed=seed,
        out=out,
        device="cpu",
        steps=steps,
    )
    return outcome, (out / "weights.safetensors").read_bytes()


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {
            "encoder.method": "mae",
            "encoder.backbone": "vit_micro",
            "encoder.decoder_dim": 32,
            "encoder.decoder_depth": 1,
            "encoder.decoder_heads": 4,
            "views.train": "crop-flip",
        },
        {"train.optimizer": "lars", "train.lr": 0.3},
        {"train.optimizer": "sgd", "train.lr": 0.03, "train.clip_norm": 1.0},
    ],
    ids=["simclr", "mae", "lars", "sgd"],
)
def test_same_seed_same_bytes_whatever_the_order_of_the_uids(canvas, tmp_path, overrides):
    outcome, one = trained(canvas, tmp_path / "a", **overrides)
    _, two = trained(canvas, tmp_path / "b", uids=UIDS[::-1], **overrides)
    assert one == two
    _, other = trained(canvas, tmp_path / "c", seed=2, **overrides)
    assert one != other
    assert (outcome.steps, outcome.epochs, outcome.skipped) == (9, 3, 0)
    images = torch.from_numpy(IMAGES)
    assert torch.isfinite(load_encoder(tmp_path / "a")(images)).all()


def test_the_loss_falls_and_the_log_says_so(canvas, tmp_path):
    overrides = {"train.epochs": 25, "train.lr": 0.003}
    seen = []
    training.train_encoder(
        canvas,
        UIDS,
        recipe_of(**overrides).training_spec(),
        seed=0,
        out=tmp_path,
        device="cpu",
        progress=lambda *progress: seen.append(progress),
    )
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 26))
    assert lines[-1]["step"] == 75 and lines[-1]["lr"] < 1e-4
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.3
    assert seen[-1] == ("train", 75, 75) and len(seen) == 75
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["encoder"]["backbone"] == "convnet" and config["samples"] == N
    assert config["method"]["name"] == "simclr" and config["method"]["temperature"] == 0.5


def test_every_sample_is_seen_once_an_epoch_where_batches_fill_it(canvas):
    method = Idle(None)
    loop = Loop(
        method, recipe_of(**{"train.batch_size": 40}).training_spec(), canvas=canvas, uids=UIDS
    )
    assert (loop.per_epoch, loop.total) == (3, 9)
    orders = [loop.gradients.order(epoch).tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(N)) for order in orders)
    assert orders[0] != orders[1] != orders[2]


def test_the_order_of_shared_samples_does_not_depend_on_the_others(canvas):
    method = Idle(None)
    few = np.array(sorted(UIDS)[10:90], dtype=object)
    orders = []
    for uids in (np.array(sorted(UIDS), dtype=object), few):
        loop = Loop(
            method, recipe_of(**{"train.batch_size": 8}).training_spec(), canvas=canvas, uids=uids
        )
        orders.append([u for u in uids[loop.gradients.order(0)] if u in set(few)])
    shared = [u for u in orders[0] if u in set(orders[1])]
    assert shared == orders[1]


def test_equal_steps_and_small_sets(canvas, tmp_path):
    outcome, _ = trained(canvas, tmp_path / "a", uids=UIDS[:10], steps=7)
    assert outcome.steps == 7 and outcome.epochs == 7
    with pytest.raises(DataError, match="at least 2"):
        trained(canvas, tmp_path / "b", uids=UIDS[:1])


def test_divergence_is_named_and_leaves_no_weights(canvas, tmp_path):
    overrides = {"train.lr": 1e30, "train.optimizer": "sgd", "train.epochs": 20}
    with pytest.raises(DivergedError, match=r"lower train\.lr"):
        trained(canvas, tmp_path / "a", **overrides)
    assert not (tmp_path / "a" / "weights.safetensors").exists()


def test_trainings_with_one_seed_show_a_shared_sample_the_same_views(canvas, tmp_path, monkeypatch):
    shown = {}
    real = apply.view_of

    def spy(x, spec, draws):
        out = real(x, spec, draws)
        for word, image in zip(draws.state.tolist(), out, strict=True):
            shown.setdefault((word, draws.view), []).append(image.numpy().tobytes())
        return out

    monkeypatch.setattr(apply, "view_of", spy)
    word = randomness.hash64(randomness.stream(1, "views"), randomness.uid_keys(UIDS[:1]))
    shared = int(word.view(np.int64)[0])
    for k, uids in enumerate((UIDS[:32], np.concatenate([UIDS[:1], UIDS[60:91]]))):
        trained(canvas, tmp_path / str(k), uids=uids)
    for view in range(6):
        one, two = shown[shared, view]
        assert one == two


MAE = {
    "encoder.method": "mae", "encoder.backbone": "vit_micro", "encoder.decoder_dim": 32,
    "encoder.decoder_depth": 1, "encoder.decoder_heads": 4, "views.train": "crop-flip",
}  # fmt: skip


def stop_after(step):
    def report(what, done, total):
        if done == step:
            signals.obey(signal.SIGTERM)

    return report


def without_times(out):
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"], line["images_per_second"]
    return lines


@pytest.mark.parametrize("overrides", [{}, MAE, {"train.optimizer": "lars", "train.lr": 0.3},
                                       {"train.optimizer": "sgd", "train.lr": 0.03}],
                         ids=["simclr", "mae", "lars", "sgd"])  # fmt: skip
@pytest.mark.parametrize("steps", [(1,), (3, 7), (2, 3, 8), (9,)])
def test_stopped_and_gone_on_with_gives_the_same_bytes(canvas, tmp_path, overrides, steps):
    outcome, wanted = trained(canvas, tmp_path / "undisturbed", **overrides)
    out, states = tmp_path / "stopped", tmp_path / "states"

    def go_on(progress):
        torch.rand(3)  # what else this process drew does not matter
        return training.train_encoder(
            canvas,
            UIDS,
            recipe_of(**overrides).training_spec(),
            seed=1,
            out=out,
            device="cpu",
            states=states,
            progress=progress,
        )

    for step in steps:
        with pytest.raises(signals.Stopped):
            go_on(stop_after(step))
        assert not out.exists()
        assert max(int(path.stem.partition("-")[0]) for path in states.glob("*.json")) == step
    seen = []
    again = go_on(lambda *progress: seen.append(progress))
    assert [done for _, done, _ in seen] == list(range(steps[-1] + 1, 10))
    assert (out / "weights.safetensors").read_bytes() == wanted
    assert without_times(out) == without_times(tmp_path / "undisturbed")
    assert replace(again, seconds=0) == replace(outcome, seconds=0)


def test_states_are_stored_as_often_as_the_recipe_says(canvas, tmp_path, monkeypatch):
    stored = []
    real = steps.store
    monkeypatch.setattr(steps, "store", lambda *a: (stored.append(a[1]), real(*a)))
    for every, wanted in ((0, list(range(1, 9))), (1000, [])):
        stored.clear()
        training.train_encoder(
            canvas,
            UIDS,
            recipe_of(**{"train.save_every": every}).training_spec(),
            seed=1,
            out=tmp_path / "out",
            device="cpu",
            states=tmp_path / "states",
        )
        assert stored == wanted
    assert recipe_of(**{"train.save_every": 1}).fingerprint() == recipe_of().fingerprint()


def test_a_state_of_another_training_is_not_taken(canvas, tmp_path):
    states = tmp_path / "states"

    def train(progress, uids=UIDS, seed=1):
        training.train_encoder(
            canvas,
            uids,
            recipe_of().training_spec(),
            seed=seed,
            out=tmp_path / "out",
            device="cpu",
            states=states,
            progress=progress,
        )

    with pytest.raises(signals.Stopped):
        train(stop_after(4))
    for other in ({"seed": 2}, {"uids": UIDS[:100]}):
        seen = []
        shutil.copytree(states, tmp_path / "kept", dirs_exist_ok=True)
        train(lambda *progress, seen=seen: seen.append(progress), **other)
        assert seen[0][1] == 1
        shutil.copytree(tmp_path / "kept", states, dirs_exist_ok=True)
    seen = []
    train(lambda *progress: seen.append(progress))
    assert seen[0][1] == 5


def test_other_code_does_not_go_on_with_a_training(canvas, tmp_path, monkeypatch):
    def train(progress):
        training.train_encoder(
            canvas,
            UIDS,
            recipe_of().training_spec(),
            seed=1,
            out=tmp_path / "out",
            device="cpu",
            states=tmp_path / "states",
            progress=progress,
        )

    with pytest.raises(signals.Stopped):
        train(stop_after(4))
    now = versions.of_stage("train")
    monkeypatch.setattr(versions, "of_stage", lambda stage: {**now, "torch": "99.0"})
    with pytest.raises(MismatchError, match=rf"torch: '{re.escape(now['torch'])}' -> '99.0'"):
        train(lambda *_: None)


def test_another_kind_of_device_does_not_go_on_with_a_training(canvas, tmp_path):
    spec = recipe_of(**{"train.save_every": 0}).training_spec()
    loop = Loop(Idle(None), spec, canvas=canvas, uids=UIDS)
    loop.run(tmp_path)
    again = Loop(Idle(None), spec, canvas=canvas, uids=UIDS)
    again.resume(tmp_path)
    assert again.progress.step == loop.total - 1
    state = max(tmp_path.glob("*.json"))
    about = json.loads(state.read_text())
    assert about["device"] == "cpu"
    state.write_text(json.dumps({**about, "device": "cuda"}))
    with pytest.raises(MismatchError, match="was made on cuda, and numbers on cpu are others"):
        again.resume(tmp_path)


@pytest.mark.parametrize(
    ("precision", "found", "kind"),
    [("auto", "float32", "ieee"), ("float32", "float32", "ieee"),
     ("tf32", "float32", "ieee"), ("bfloat16", "bfloat16", "ieee")],
)  # fmt: skip
def test_an_encoder_says_where_and_in_what_it_was_computed(
    canvas, tmp_path, precision, found, kind
):
    torch.backends.cudnn.conv.fp32_precision = "tf32"  # PyTorch's own choice
    trained(canvas, tmp_path, **{"train.precision": precision, "train.epochs": 1})
    about = json.loads((tmp_path / "config.json").read_text())
    assert (about["device"], about["precision"]) == ("cpu", found)
    assert torch.backends.cudnn.conv.fp32_precision == kind
    assert torch.backends.cuda.matmul.fp32_precision == kind


class Sometimes(Idle):
    """Its loss is not finite at some steps, and its forward pass spoils a statistic then."""

    def __init__(self, encoder, bad):
        super().__init__(encoder)
        self.bad, self.calls, self.after = bad, 0, 0
        self.register_buffer("statistic", torch.zeros(1))

    def forward(self, batch):
        self.calls += 1
        value = float("nan") if self.calls in self.bad else 1.0
        self.statistic += value
        return self.weight.sum() * value + value

    def after_step(self, batch):
        self.after += 1


def test_a_step_that_is_not_finite_is_as_if_it_had_not_been(canvas, tmp_path, caplog):
    method = Sometimes(None, {2, 3})
    loop = Loop(method, recipe_of().training_spec(), canvas=canvas, uids=UIDS)
    outcome = loop.run(tmp_path)
    assert outcome.skipped == 2 and method.after == loop.total - 2
    assert method.statistic.item() == loop.total - 2 and method.weight.isfinite().all()
    assert "2 steps with a loss that was not finite" in caplog.text


class Spoilt(methods.base.Method):
    """A method whose loss is not finite at some steps, after it has changed its statistics."""

    def __init__(self, method, bad):
        super().__init__(method.encoder)
        self.method, self.bad, self.calls = method, bad, 0
        self.n_views, self.settles = method.n_views, method.settles

    def view(self, number, spec):
        return self.method.view(number, spec)

    def numbers(self, epoch, done):
        return self.method.numbers(epoch, done)

    def forward(self, batch):
        self.calls += 1
        return self.method(batch) * (float("nan") if self.calls in self.bad else 1.0)

    def after_step(self, batch):
        self.method.after_step(batch)


DINO = {
    "encoder.method": "dino", "encoder.local_views": 2, "encoder.hidden_dim": 64,
    "encoder.bottleneck_dim": 32, "encoder.out_dim": 64, "encoder.batch_norm": True,
}  # fmt: skip


@pytest.mark.parametrize("overrides", [{}, DINO, {"train.optimizer": "lars", "train.lr": 0.3},
                                       {"train.optimizer": "sgd", "train.lr": 0.03,
                                        "train.clip_norm": 1.0}],
                         ids=["simclr", "dino", "lars", "sgd"])  # fmt: skip
@pytest.mark.parametrize("bad", [set(), {1}, {2, 3, 9}], ids=["none", "first", "some"])
def test_a_device_that_takes_steps_back_itself_trains_the_same(canvas, tmp_path, overrides, bad):
    ends = []
    for ahead in (1, 4, 50):
        chosen = recipe_of(**overrides)
        torch.manual_seed(3)
        encoder = Encoder("convnet", size=8, channels=1)
        method = Spoilt(methods.build(chosen.encoder.method, encoder, chosen.method_config), bad)
        loop = Loop(method.train(), chosen.training_spec(), canvas=canvas, uids=UIDS)
        loop.ahead = ahead
        outcome = loop.run(None)
        tensors = checkpoint.tensors_of(loop.method, loop.optimizer)
        losses = [line["loss"] for line in loop.progress.log]
        ends.append((outcome.skipped, losses, {n: t.clone() for n, t in tensors.items()}))
    for skipped, losses, tensors in ends[1:]:
        assert (skipped, losses) == ends[0][:2] and skipped == len(bad)
        for name, tensor in tensors.items():
            # What is counted without being trained may have seen the steps that were taken back.
            counted = name.endswith("num_batches_tracked")
            assert counted or torch.equal(tensor, ends[0][2][name]), name


def test_a_device_ahead_of_the_host_is_stopped_by_divergence_as_well(canvas, tmp_path):
    method = Sometimes(None, set(range(4, 100)))
    spec = recipe_of(**{"train.save_every": 0, "train.epochs": 30}).training_spec()
    loop = Loop(method, spec, canvas=canvas, uids=UIDS)
    loop.ahead = 50
    with pytest.raises(DivergedError, match=r"step 13 of 90"):
        loop.run(tmp_path)
    assert max(path.stem[:9] for path in tmp_path.glob("*.json")) == "000000003"
    assert method.statistic.item() == 3 and method.weight.isfinite().all()


def test_no_state_is_stored_behind_a_step_that_was_not_finite(canvas, tmp_path):
    method = Sometimes(None, set(range(4, 100)))
    loop = Loop(
        method,
        recipe_of(**{"train.save_every": 0, "train.epochs": 9}).training_spec(),
        canvas=canvas,
        uids=UIDS,
    )
    with pytest.raises(DivergedError, match=r"step 13 of 27"):
        loop.run(tmp_path)
    assert sorted(path.stem[:9] for path in tmp_path.glob("*.json")) == ["000000002", "000000003"]


def test_a_supervised_method_needs_the_label_of_every_sample(canvas):
    class Taught(Idle):
        supervised = True

    labels = np.arange(N)
    loop = Loop(Taught(None), recipe_of().training_spec(), canvas=canvas, uids=UIDS, labels=labels)
    shown = loop.batch(loop.steps.at(0), *loop.feed.of(np.array([3, 5])))
    assert shown.labels.tolist() == loop.rows[[3, 5]].tolist()
    for missing in (None, np.where(labels == 7, -1, labels)):
        with pytest.raises(DataError, match=r"needs labels; (1 of 120|120 of 120)"):
            Loop(
                Taught(None), recipe_of().training_spec(), canvas=canvas, uids=UIDS, labels=missing
            )


def test_snapshots_are_the_encoder_as_it_was(canvas, tmp_path):
    overrides = {"train.snapshots": 2, "train.epochs": 6, "train.save_every": 0}
    kept = []
    states = tmp_path / "states"

    def report(what, done, total):
        if (done - 1) % 6 == 0 and done > 1:  # the state after the last step of epochs 2 and 4
            kept.append(load_file(next(states.glob(f"{done - 1:09d}-*.safetensors"))))

    training.train_encoder(
        canvas,
        UIDS,
        recipe_of(**overrides).training_spec(),
        seed=1,
        out=tmp_path / "out",
        device="cpu",
        states=states,
        progress=report,
    )
    folders = sorted((tmp_path / "out" / "snapshots").iterdir())
    assert [folder.name for folder in folders] == ["00002", "00004"]
    assert list(schedule.snapshot_epochs(recipe_of(**overrides).train)) == [2, 4]
    for folder, state in zip(folders, kept, strict=True):
        wanted = {n.removeprefix("method.encoder."): t for n, t in state.items()
                  if n.startswith("method.encoder.")}  # fmt: skip
        found = load_file(folder / "weights.safetensors")
        assert found.keys() == wanted.keys() and all(
            torch.equal(found[n], wanted[n]) for n in found
        )
        assert json.loads((folder / "config.json").read_text())["epoch"] == int(folder.name)
        load_encoder(folder)
    _, plain = trained(canvas, tmp_path / "plain", **{"train.epochs": 6})
    assert (tmp_path / "out" / "weights.safetensors").read_bytes() == plain


def test_no_snapshot_is_lost_where_a_training_was_killed(canvas, tmp_path):
    overrides = {"train.snapshots": 1, "train.save_every": 0}
    wanted = tmp_path / "undisturbed"
    trained(canvas, wanted, **overrides)
    for kill in (3, 4, 6):
        out, states = tmp_path / f"out-{kill}", tmp_path / f"states-{kill}"

        def train(progress=lambda *_: None, out=out, states=states):
            training.train_encoder(
                canvas,
                UIDS,
                recipe_of(**overrides).training_spec(),
                seed=1,
                out=out,
                device="cpu",
                states=states,
                progress=progress,
            )

        def die(what, done, total, kill=kill):
            if done == kill:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(die)
        train()
        for path in wanted.rglob("*.safetensors"):
            assert (out / path.relative_to(wanted)).read_bytes() == path.read_bytes()


def test_alignment_is_held_up_by_lambda(canvas, tmp_path):
    _, plain = trained(canvas, tmp_path / "plain")
    _, regular = trained(canvas, tmp_path / "regular", **{"train.alignment_lambda": 0.5})
    assert regular != plain

    recipe_ = recipe_of(**{"train.alignment_lambda": 0.25})
    encoder = Encoder("convnet", size=8, channels=1)
    method = methods.build("simclr", encoder, recipe_.method_config).eval()
    loop = Loop(method, recipe_.training_spec(), canvas=canvas, uids=UIDS)
    batch = loop.batch(loop.steps.at(0), *loop.feed.of(np.arange(5)))
    assert len(batch.views) == 2 and len(batch.extra) == 2
    key = randomness.stream(0, "views")
    words = torch.from_numpy(randomness.uid_keys(UIDS)[:5].view(np.int64))
    pixels = torch.from_numpy(IMAGES[loop.rows[:5]])
    total = 0.0
    z = []
    for view in (2, 3):
        shown = augment(pixels, views.VIEWS["digits"], key=key, keys=words, view=view)
        z.append(encoder.forward_float(shown).detach().flatten(1).double())
    for a, b in zip(*z, strict=True):
        total += float((a / a.norm() - b / b.norm()).norm()) / 5
    assert steps.mean_alignment(encoder, batch).item() == pytest.approx(total, rel=1e-5)
    with torch.no_grad():
        wanted = 0.75 * float(method(batch)) - 0.25 * total
    assert loop.step(batch, 0.0).item() == pytest.approx(wanted, rel=1e-4)
