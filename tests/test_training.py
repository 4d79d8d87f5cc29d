import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from curate import keyed, recipe, training
from curate.backbone import load_encoder
from curate.errors import DataError, DivergedError
from curate.images import Canvas
from curate.records.sample import content_uid

N = 120
IMAGES = np.round(load_digits().images[:N, None] * 255 / 16).astype(np.uint8)
UIDS = np.array([content_uid(image.tobytes()) for image in IMAGES], dtype=object)


def made(**overrides):
    content = {
        "name": "tiny",
        "data": {"source": "digits", "size": 8, "channels": 1},
        "plan": {"kind": "halves"},
        "encoder": {"backbone": "convnet", "method": "simclr"},
        "train": {"epochs": 3, "warmup_epochs": 1, "batch_size": 32, "threads": 1},
        "views": {"train": "digits"},
    }
    return recipe.build(content, overrides, where="test")


@pytest.fixture
def canvas():
    return Canvas(IMAGES, UIDS.astype(np.bytes_))


def trained(canvas, out, uids=UIDS, seed=1, steps=None, **overrides):
    facts = training.train_encoder(
        canvas, uids, made(**overrides), seed=seed, out=out, device="cpu", steps=steps
    )
    return facts, (out / "weights.safetensors").read_bytes()


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"encoder.method": "mae", "encoder.backbone": "vit_micro", "encoder.decoder_dim": 32,
         "encoder.decoder_depth": 1, "encoder.decoder_heads": 4, "views.train": "crop-flip"},
        {"train.optimizer": "lars", "train.lr": 0.3},
        {"train.optimizer": "sgd", "train.lr": 0.03, "train.clip_norm": 1.0},
    ],
    ids=["simclr", "mae", "lars", "sgd"],
)  # fmt: skip
def test_same_seed_same_bytes_whatever_the_order_of_the_uids(canvas, tmp_path, overrides):
    facts, one = trained(canvas, tmp_path / "a", **overrides)
    _, two = trained(canvas, tmp_path / "b", uids=UIDS[::-1], **overrides)
    assert one == two
    _, other = trained(canvas, tmp_path / "c", seed=2, **overrides)
    assert one != other
    assert facts["steps"] == 9 and facts["epochs"] == 3 and facts["skipped"] == 0
    images = torch.from_numpy(IMAGES)
    assert torch.isfinite(load_encoder(tmp_path / "a")(images)).all()


def test_the_loss_falls_and_the_log_says_so(canvas, tmp_path):
    overrides = {"train.epochs": 25, "train.lr": 0.003}
    seen = []
    training.train_encoder(
        canvas, UIDS, made(**overrides), seed=0, out=tmp_path, device="cpu",
        report=lambda *progress: seen.append(progress),
    )  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 26))
    assert lines[-1]["step"] == 75 and lines[-1]["lr"] < 1e-4
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.3
    assert seen[-1] == ("train", 75, 75) and len(seen) == 75
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["encoder"]["backbone"] == "convnet" and config["samples"] == N
    assert config["method"]["name"] == "simclr" and config["method"]["temperature"] == 0.5


def test_every_sample_is_seen_once_an_epoch_where_batches_fill_it(canvas):
    method = torch.nn.Linear(1, 1)
    method.n_views = 1
    loop = training._Loop(method, canvas, UIDS, made(**{"train.batch_size": 40}), 0, "cpu", None)
    batches = list(loop._batches())
    assert [epoch for epoch, _ in batches] == [0] * 3 + [1] * 3 + [2] * 3
    for epoch in range(3):
        seen = np.concatenate([batch for e, batch in batches if e == epoch])
        assert sorted(seen.tolist()) == list(range(N))
    assert batches[0][1].tolist() != batches[3][1].tolist()


def test_the_order_of_shared_samples_does_not_depend_on_the_others(canvas):
    method = torch.nn.Linear(1, 1)
    method.n_views = 1
    few = np.array(sorted(UIDS)[10:90], dtype=object)
    orders = []
    for uids in (np.array(sorted(UIDS), dtype=object), few):
        loop = training._Loop(method, canvas, uids, made(**{"train.batch_size": 8}), 0, "cpu", None)
        first = np.concatenate([batch for epoch, batch in loop._batches() if epoch == 0])
        orders.append([u for u in uids[first] if u in set(few)])
    shared = [u for u in orders[0] if u in set(orders[1])]
    assert shared == orders[1]


def test_equal_steps_and_small_sets(canvas, tmp_path):
    facts, _ = trained(canvas, tmp_path / "a", uids=UIDS[:10], steps=7)
    assert facts["steps"] == 7 and facts["epochs"] == 7
    with pytest.raises(DataError, match="at least 2"):
        trained(canvas, tmp_path / "b", uids=UIDS[:1])


def test_divergence_is_named_and_leaves_no_weights(canvas, tmp_path):
    overrides = {"train.lr": 1e30, "train.optimizer": "sgd", "train.epochs": 20}
    with pytest.raises(DivergedError, match=r"lower train\.lr"):
        trained(canvas, tmp_path / "a", **overrides)
    assert not (tmp_path / "a" / "weights.safetensors").exists()


def test_learning_rate_warms_up_and_falls_to_zero():
    rates = [training.learning_rate(s, 100, 10, 2.0) for s in range(100)]
    assert rates[0] == pytest.approx(0.2) and rates[9] == pytest.approx(2.0)
    assert rates[10] == 2.0 and rates[55] == pytest.approx(1.0) and rates[99] < 0.001
    assert training.learning_rate(0, 5, 0, 1.0) == 1.0
    assert training.learning_rate(4, 5, 5, 1.0) == 1.0


def test_biases_and_normalisation_are_not_decayed():
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    for name in ("adamw", "sgd", "lars"):
        groups = training.optimizer(network, made(**{"train.optimizer": name}).train).param_groups
        assert groups[0]["weight_decay"] > 0 and [p.ndim for p in groups[0]["params"]] == [2]
        assert groups[1]["weight_decay"] == 0 and len(groups[1]["params"]) == 3


def test_trainings_with_one_seed_show_a_shared_sample_the_same_views(canvas, tmp_path, monkeypatch):
    shown = {}
    real = training.augment

    def spy(pixels, spec, *, key, words, view):
        out = real(pixels, spec, key=key, words=words, view=view)
        for word, image in zip(words.tolist(), out, strict=True):
            shown.setdefault((word, view), []).append(image.numpy().tobytes())
        return out

    monkeypatch.setattr(training, "augment", spy)
    shared = int(keyed.uid_words(UIDS[:1]).view(np.int64)[0])
    for k, uids in enumerate((UIDS[:32], np.concatenate([UIDS[:1], UIDS[60:91]]))):
        trained(canvas, tmp_path / str(k), uids=uids)
    for view in range(6):
        one, two = shown[shared, view]
        assert one == two
