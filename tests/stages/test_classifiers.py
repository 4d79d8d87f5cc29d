"""Label memorization of classifiers over subsets: against brute force, and of planted labels."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy import stats
from sklearn.datasets import load_digits

from curate.encoders.backbone import load_encoder, pool
from curate.runtime.files import file_sha256
from curate.scores.plan import Plan
from tests.command import curate

pytestmark = pytest.mark.numeric

N, TESTS, MISLABELLED = 120, 40, 12
SETTINGS = {
    "data.limit": "null",
    "data.test": "test",
    "data.size": 8,
    "data.channels": 1,
    "plan": "{kind: subsets, subsets: 5, fraction: 0.5, repeats: 2}",
    "encoder.method": "supervised",
    "train.epochs": 25,
    "train.batch_size": 8,
    "train.lr": "5e-3",
    "views.train": "noise",
    "score.views": 1,
}


def score(home, *more):
    words = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    result = curate(
        *("score", "tests/tiny.yaml", "--runs", home / "runs", "--device", "cpu"),
        *("--workers", "1", "--set", f"data.source=folder:{home / 'images'}", *words, *more),
    )
    assert result.code == 0, result.err


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return a folder with 120 digits, 12 of which are under another label, and their run."""
    home, data = tmp_path_factory.mktemp("classifiers"), load_digits()
    draws = np.random.default_rng(0)
    wrong = set(draws.choice(N, MISLABELLED, replace=False).tolist())
    for i in range(N + TESTS):
        label = int(data.target[i])
        label = (label + draws.integers(1, 10)) % 10 if i in wrong else label
        folder = home / "images" / ("train" if i < N else "test") / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(np.rint(data.images[i] * 255 / 16).astype(np.uint8))
        image.save(folder / f"{'wrong' if i in wrong else 'right'}-{i}.png")
    score(home)
    return home


@pytest.fixture(scope="module")
def measured(home):
    """Return the run's folder, what ``measure`` said of it, and its table by uid."""
    kinds = ("--kinds", "feldman,feldman-softmax")
    result = curate("measure", "tiny", "--runs", home / "runs", "--device", "cpu", "--json", *kinds)
    assert result.code == 0, result.err
    table = pq.read_table(home / "runs/tiny/measures.parquet")
    return home / "runs/tiny", json.loads(result.out), table


def known(run, uids):
    """Return paths and labels of samples, in their order."""
    index = pq.read_table(run / "shards/index.parquet", columns=["uid", "path", "label"])
    rows = {row["uid"]: row for row in index.to_pylist()}
    return [rows[uid]["path"] for uid in uids], np.array([rows[uid]["label"] for uid in uids])


def test_it_is_what_counting_every_networks_answers_gives(measured):
    run, facts, table = measured
    uids = table["uid"].to_pylist()
    paths, labels = known(run, uids)
    plan = Plan.read(run / "plan.parquet")
    files = {path.name: path for path in (run.parent.parent / "images").rglob("*.png")}
    pixels = [np.asarray(Image.open(files[path.rpartition("/")[2]])) for path in paths]
    x = torch.from_numpy(np.stack(pixels)[:, None].astype(np.float32) / 255)
    right, likely, inside = [], [], []
    place = {uid.decode(): row for row, uid in enumerate(plan.uids)}
    for e, name in enumerate(plan.encoders):
        folder = run / "encoders" / name
        head = load_file(folder / "head.safetensors")
        with torch.no_grad():
            h = pool(load_encoder(folder).forward_float(x))
            logits = h @ head["weight"].T + head["bias"]
        right.append((logits.argmax(dim=1).numpy() == labels).astype(float))
        likely.append(logits.softmax(dim=1).numpy()[np.arange(N), labels])
        inside.append([bool(plan.inclusion[place[uid], e]) for uid in uids])
    right, likely, inside = np.array(right), np.array(likely), np.array(inside)
    assert len(right) == 10 and (inside.sum(axis=1) == round(0.5 * N)).all()
    for column, answers in (("feldman", right), ("feldman_softmax", likely)):
        wanted, errors = np.full((2, N), np.nan)
        for i in range(N):
            a, b = answers[inside[:, i], i], answers[~inside[:, i], i]
            if not (len(a) and len(b)):
                continue
            wanted[i] = a.mean() - b.mean()
            if column == "feldman":
                shares = [(s.sum() + 1) / (len(s) + 2) for s in (a, b)]
                parts = [p * (1 - p) / len(s) for p, s in zip(shares, (a, b), strict=True)]
                errors[i] = np.sqrt(sum(parts))
            elif min(len(a), len(b)) > 1:
                errors[i] = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
        found = table[column].to_numpy()
        assert found == pytest.approx(wanted, abs=1e-5, nan_ok=True)
        assert table[f"{column}_se"].to_numpy() == pytest.approx(errors, abs=1e-5, nan_ok=True)
        said = facts["measures"][column.replace("_", "-")]
        assert said["mean"] == pytest.approx(np.nanmean(wanted), abs=1e-5)
        assert said["se"] == pytest.approx(np.nanmean(errors), abs=1e-5)
    assert right[inside].mean() > 0.9


@pytest.mark.parametrize("column", ["feldman", "feldman_softmax"])
def test_planted_wrong_labels_score_high(measured, column):
    run, _, table = measured
    paths, _ = known(run, table["uid"].to_pylist())
    wrong = np.array(["wrong-" in path for path in paths])
    values = table[column].to_numpy()
    planted, clean = values[wrong], values[~wrong]
    low = stats.ttest_ind(planted, clean, equal_var=False).confidence_interval(0.95).low
    assert wrong.sum() == MISLABELLED and low > 0.5
    # Most of the top are planted, of which chance would give a tenth.
    assert wrong[np.argsort(-values)[:MISLABELLED]].mean() > 0.5


def test_it_is_selected_and_compared_by_and_taken_to_other_runs(measured):
    run, _, table = measured
    runs = ("--runs", run.parent)
    top = sorted(zip(-table["feldman_softmax"].to_numpy(), table["uid"].to_pylist(), strict=True))
    by_file = f"{run / 'measures.parquet'}:feldman_softmax"
    for by in ("feldman-softmax", by_file):
        named = ("--by", by, "--top", "20", "--name", "chosen")
        result = curate("select", "tiny", *runs, *named)
        assert result.code == 0, result.err
        manifest = pq.read_table(run / "manifests/chosen.parquet").to_pylist()
        kept = {row["uid"] for row in manifest if row["decision"] == "keep"}
        assert kept == {uid for _, uid in top[:20]}
    result = curate(
        *("compare", "tiny", *runs, "--strategies", f"feldman-softmax,{by_file},bottom:feldman"),
        *("--remove", "100", "--seeds", "1", "--on", "self", "--set", "probe.kinds=[linear]"),
        *("--workers", "1", "--device", "cpu", "--json"),
    )
    assert result.code == 0, result.err
    arms = {arm["strategy"]: arm["by_seed"] for arm in json.loads(result.out)["arms"]}
    assert len(arms) == 4 and arms["feldman-softmax"] == arms[by_file]
    # Two names of one selection are one training, beside that of the lowest and of random ones.
    assert len(list((run / "comparisons/encoders").iterdir())) == 3


def test_heads_are_the_same_bytes_however_a_training_went(home, tmp_path):
    heads = sorted((home / "runs/tiny/encoders").glob("*/head.safetensors"))
    before = {path: file_sha256(path) for path in heads[:1]}
    assert len(heads) == 10
    for path in before:
        # A file that is gone is made again: the encoder is trained once more.
        (home / "runs/tiny/records/train" / f"{path.parent.name}.json").unlink()
        path.unlink()
    score(home)
    assert {path: file_sha256(path) for path in before} == before
