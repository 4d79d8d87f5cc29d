"""Losses and representations that are not finite, or all the same: exit 7, and no scores."""

import json
import re

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from curate.data.canvas import open_canvas
from curate.data.shards import Reader
from curate.encoders import training
from curate.runs.recipe import load_recipe
from curate.runtime.files import file_sha256, sealed, write_json
from tests.faults.drilling import copied, snapshot
from tests.faults.line import ALONE, OFTEN, TINY

RUN = "runs/tiny"
LONG = ("--set", "train.epochs=20")


def finite(path):
    """Whether everything in a safetensors file is a number."""
    return all(bool(t.float().isfinite().all()) for t in load_file(path).values())


@pytest.mark.parametrize("rate", ["1e20", "1e30", "1e38"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lars"])
def test_a_training_that_diverges_ends_with_7(rate, optimizer, zygotes, faults, place):
    set_ = [f"train.lr={rate}", f"train.optimizer={optimizer}", "views.noise=0"]
    typed = ["train", TINY, *ALONE, *OFTEN, *LONG, *(x for s in set_ for x in ("--set", s))]
    for again in range(2):
        ended = zygotes.type(place, *typed)
        run = place / RUN
        under_final_names = [*run.glob("encoders/*/*"), *run.glob("records/train/*")]
        # The last step whose loss was finite may have left weights that are not; then the state
        # before it is kept beside its own.
        states = sorted(run.glob("cache/states/train/*/*.safetensors"))
        lost = [s for s in states[:-1] if not finite(s)]
        if ended.code == 7 and "diverged" in ended.err and not under_final_names and not lost:
            faults.detected("loss")
        else:
            faults.undetected("loss", f"lr {rate} {optimizer} {again}: {ended}")


def test_single_steps_that_are_not_finite_are_skipped_and_counted(
    line, faults, drills, monkeypatch, place
):
    """The loss of chosen steps is made NaN or infinite; what is kept is finite and counts them."""
    run = line["train"].folder / RUN
    recipe = load_recipe(str(TINY), {"train.epochs": 5})
    index = pq.read_table(run / "shards/index.parquet")
    canvas = open_canvas(run / "cache/canvas.npy", _index_of(Reader(run / "shards"), index))
    uids = sorted(index["uid"].to_pylist()[:40])
    real = training.methods.build
    for number in range(max(3, drills // 5)):
        bad, value = {number + 1, 3 * number % 9 + 1}, (float("nan"), float("inf"))[number % 2]
        step = iter(range(1, 100))

        def poisoned(*arguments, bad=bad, value=value, step=step):
            method = real(*arguments)
            forward = method.forward
            method.forward = lambda *a: forward(*a) * (value if next(step) in bad else 1.0)
            return method

        monkeypatch.setattr(training.methods, "build", poisoned)
        out = place / f"{number}"
        arguments = {"seed": 1, "out": out, "device": "cpu"}
        trained = training.train_encoder(canvas, uids, recipe.training_spec(), **arguments)
        if trained.skipped == len(bad) and finite(out / "weights.safetensors"):
            faults.survived("loss", len(bad))
        else:
            faults.lost("loss", f"steps {bad} of loss {value}: {trained}")


def _index_of(reader, table):
    """Return what ``open_canvas`` takes of an index: the table, or the reader of it."""
    return reader.index() if callable(getattr(reader, "index", None)) else table


def spoiled(kind):
    """Return what makes the weights of one encoder give such representations."""

    def spoil(run, name):
        path = run / f"encoders/{name}/weights.safetensors"
        weights = load_file(path)
        for key, tensor in weights.items():
            if tensor.is_floating_point():
                full = {"zero": 0.0, "nan": float("nan"), "inf": float("inf")}[kind]
                weights[key] = torch.full_like(tensor, full)
                if kind == "zero" and key.endswith("running_var"):
                    weights[key] = torch.ones_like(tensor)
        save_file(weights, path)
        record = run / f"records/train/{name}.json"
        facts = json.loads(record.read_text())
        made = facts["outputs"][f"encoders/{name}/weights.safetensors"]
        # As if the training had ended so: weights that only changed since are trained again.
        made["bytes"], made["sha256"] = path.stat().st_size, file_sha256(path)
        write_json(record, sealed(facts))

    return spoil


@pytest.mark.parametrize("kind", ["zero", "nan", "inf"])
@pytest.mark.parametrize("names", [("fold0",), ("fold1",), ("fold0", "fold1")], ids="-".join)
def test_representations_that_collapse_give_no_scores(kind, names, line, zygotes, faults, place):
    work = copied(line["train"].folder, place / "work")
    for name in names:
        spoiled(kind)(work / RUN, name)
    for command in ("score", "run"):
        ended = zygotes.type(work, command, "tiny", *ALONE)
        named = re.search(rf"encoder ({'|'.join(names)}) of ", ended.err)
        scored = [n for n in snapshot(work) if "scores" in n or "manifests" in n or "report" in n]
        if ended.code == 7 and named and not scored:
            faults.detected("collapse")
        else:
            faults.undetected("collapse", f"{command}, {kind} {names}: {ended}, {scored}")


@pytest.mark.parametrize("kind", ["nan", "inf"])
def test_nothing_is_made_of_representations_that_are_not_finite(kind, line, zygotes, faults, place):
    work = copied(line["train"].folder, place / "work")
    spoiled(kind)(work / RUN, "fold0")
    for command in (
        ["inspect", "tiny", "--runs", "runs", "--device", "cpu"],
        ["probe", f"{RUN}/encoders/fold0", "--device", "cpu"],
    ):
        before = set(snapshot(work))
        ended = zygotes.type(work, *command)
        # Which test images have a copy is told by their pixels, before any encoder is asked.
        new = {name for name in set(snapshot(work)) - before if "/leaks-" not in name}
        if ended.code == 7 and not new:
            faults.detected("collapse")
        else:
            faults.undetected("collapse", f"{command[0]}, {kind}: {ended}, {new}")
