"""Payloads wherever something is read: none ever runs, and what holds one is refused."""

import json
import pickle
import signal

import numpy as np
import pytest
import torch
import yaml

from curate.runtime.files import file_sha256, sealed, write_json
from tests.faults.drilling import copied
from tests.faults.line import ALONE, TINY
from tests.faults.test_tars import Payload
from tests.rendered import mixed

RUN = "runs/tiny"
SCORE = ("score", "tiny", *ALONE)
FRESH_ALIGNMENT = ("records/align/00000.json", "records/score.json", "scores.parquet")
"""What is taken away so that the encoder is read again."""


def payload(canary):
    """Return a pickle that makes the file ``canary`` when it is loaded."""
    return pickle.dumps(Payload(canary))


def weights(run, canary):
    """A torch checkpoint in the place of an encoder's weights, with the record that fits it."""
    path = run / "encoders/fold0/weights.safetensors"
    torch.save({"x": Payload(canary)}, path)
    _sized(run, "records/train/fold0.json", path)
    for name in FRESH_ALIGNMENT:
        (run / name).unlink()


def canvas(run, canary):
    """An array of objects in the place of the decoded images."""
    path = run / "cache/canvas.npy"
    with path.open("wb") as stream:
        np.save(stream, np.array([Payload(canary)] * 9, dtype=object), allow_pickle=True)
    _sized(run, "records/canvas.json", path)
    for name in FRESH_ALIGNMENT:
        (run / name).unlink()


def _sized(run, record, path):
    """Make a record say what it would if it had been made with the file that is there."""
    facts = json.loads((run / record).read_text())
    facts["outputs"][str(path.relative_to(run))]["bytes"] = path.stat().st_size
    write_json(run / record, sealed(facts))


def replaced(*names, forget=()):
    """Return what puts a pickle in the place of files of a run."""

    def plant(run, canary):
        for name in names:
            (run / name).write_bytes(payload(canary))
        for name in forget:
            (run / name).unlink()

    return plant


PLANTED = {
    "weights as a torch checkpoint": (weights, SCORE, None),
    "weights, probed": (weights, ("probe", f"{RUN}/encoders/fold0"), 3),
    "canvas of objects": (canvas, SCORE, None),
    "scores.parquet": (
        replaced("scores.parquet"),
        ("select", "tiny", "--runs", "runs", "--top", "9"),
        3,
    ),
    "plan.parquet": (replaced("plan.parquet", forget=["records/score.json"]), SCORE, None),
    "index.parquet": (replaced("shards/index.parquet", forget=["records/score.json"]), SCORE, None),
    "dataset.json": (replaced("shards/dataset.json"), ("verify", RUN, "--full"), 3),
    "run.json": (replaced("run.json"), SCORE, 3),
    "a record": (replaced("records/train/fold0.json"), SCORE, None),
    "alignment": (
        replaced("alignment/00000.parquet", forget=["records/score.json"]),
        SCORE,
        None,
    ),
    "config.json": (replaced("encoders/fold0/config.json"), ("probe", f"{RUN}/encoders/fold0"), 3),
    "everything": (
        lambda run, canary: [p.write_bytes(payload(canary)) for p in run.rglob("*.parquet")],
        ("report", "tiny", "--runs", "runs"),
        3,
    ),
}


def judge(faults, what, ended, canary, code):
    """Count a drill; ``code`` None means that the stage may also make what is broken again."""
    if canary.exists():
        faults.fired("canary", f"{what}: {ended}")
    elif ended.code == 3 or (code is not None and ended.code == code):
        faults.detected("canary")
    elif code is None and ended.code == 0:
        faults.survived("canary")
    else:
        faults.lost("canary", f"{what}: {ended}")


@pytest.mark.parametrize("what", PLANTED)
def test_a_payload_in_a_run_is_refused(what, line, zygotes, faults, place):
    plant, arguments, code = PLANTED[what]
    work, canary = copied(line["score"].folder, place / "work"), place / "canary"
    plant(work / RUN, canary)
    judge(faults, what, zygotes.type(work, *arguments), canary, code)


@pytest.mark.parametrize("name", ["manifests/top-40.parquet", "manifests/top-40.json"])
@pytest.mark.parametrize("command", ["export", "retrain", "verify"])
def test_a_payload_as_a_manifest_is_refused(name, command, line, zygotes, faults, place):
    work, canary = copied(line["select"].folder, place / "work"), place / "canary"
    (work / RUN / name).write_bytes(payload(canary))
    more = {"export": ("--to", "csv", "--out", "out.csv")}.get(command, ())
    ended = zygotes.type(work, command, f"{RUN}/manifests/top-40.parquet", *more)
    judge(faults, f"{command} {name}", ended, canary, 3)


def test_a_payload_as_a_stored_state_is_refused(line, zygotes, faults, place):
    undisturbed, canary = line["train"], place / "canary"
    for kind in ("pickle", "torch", "signed"):
        work = copied(undisturbed.before, place / kind)
        killed = zygotes.type(work, *undisturbed.arguments, die_event=undisturbed.events - 60)
        states = sorted(work.glob(f"{RUN}/cache/states/train/*/*.safetensors"))
        assert killed.code == -signal.SIGKILL and states
        for path in states:
            path.write_bytes(payload(canary))
            if kind == "torch":
                torch.save({"x": Payload(canary)}, path)
            about = path.with_suffix(".json")
            if kind == "signed" and about.is_file():
                facts = json.loads(about.read_text())
                about.write_text(json.dumps({**facts, "sha256": file_sha256(path)}))
        ended = zygotes.type(work, *undisturbed.arguments)
        judge(faults, f"states: {kind}", ended, canary, None)


SHELL = [
    "wds:pipe:touch CANARY",
    "wds:pipe:touch CANARY #.tar",
    "wds:|touch CANARY",
    "wds:$(touch CANARY).tar",
    "wds:`touch CANARY`.tar",
    "folder:$(touch CANARY)",
    "hf:;touch CANARY;",
    "pipe:touch CANARY",
    "idx:|touch CANARY|",
]


@pytest.mark.parametrize("source", SHELL)
def test_no_source_runs_a_shell(source, zygotes, faults, place):
    canary = place / "CANARY"
    ended = zygotes.type(place, "shard", source, "--out", "out", env={"HF_HUB_OFFLINE": "1"})
    if canary.exists():
        faults.fired("canary", source)
    elif ended.code in (2, 3):
        faults.detected("canary")
    else:
        faults.lost("canary", f"{source}: {ended}")


TAGS = [
    "!!python/object/apply:os.system ['touch CANARY']",
    "!!python/object/new:os.system ['touch CANARY']",
    "!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [CANARY]]",
    "!!python/name:os.system",
    "!!python/module:os",
]


@pytest.mark.parametrize("tag", TAGS)
def test_a_recipe_makes_no_objects(tag, zygotes, faults, place):
    text = TINY.read_text().replace("description:", f"description: {tag}\nwas:")
    for number, content in enumerate((text, tag, f"name: {tag}", f"{text}\nextra: {tag}")):
        (place / "bad.yaml").write_text(content)
        ended = zygotes.type(place, "train", "./bad.yaml", *ALONE)
        if (place / "CANARY").exists():
            faults.fired("canary", f"{tag} ({number})")
        elif ended.code in (2, 3):
            faults.detected("canary")
        else:
            faults.lost("canary", f"{tag} ({number}): {ended}")


def test_set_makes_no_objects(zygotes, faults, place):
    for tag in TAGS:
        ended = zygotes.type(place, "train", TINY, *ALONE, "--set", f"train.lr={tag}")
        if (place / "CANARY").exists():
            faults.fired("canary", f"--set {tag}")
        elif ended.code == 2:
            faults.detected("canary")
        else:
            faults.lost("canary", f"--set {tag}: {ended}")


def test_metadata_is_text_and_datasets_are_not_unpickled(zygotes, faults, place):
    canary = place / "CANARY"
    for i, (name, data) in enumerate(mixed(8)):
        (place / "images").mkdir(exist_ok=True)
        (place / "images" / f"{i}{name[-4:]}").write_bytes(data)
    names = sorted(p.name for p in (place / "images").iterdir())
    formulas = ["=cmd|' /C touch CANARY'!A0", "@SUM(1+1)*cmd|' touch CANARY'!A0", "+1", "-1"]
    rows = [f'{n},"{formulas[i % 4]}"\n' for i, n in enumerate(names)]
    (place / "images" / "metadata.csv").write_text("file_name,text\n" + "".join(rows))
    ended = zygotes.type(place, "shard", "images", "--out", "out")
    if ended.code == 0 and not canary.exists():
        faults.survived("canary")
    else:
        faults.lost("canary", f"formulas: {ended}")
    (place / "images" / "metadata.csv").write_bytes(payload(canary))
    judge(faults, "metadata.csv", zygotes.type(place, "shard", "images", "--out", "b"), canary, 3)
    (place / "images" / "metadata.csv").unlink()
    (place / "images" / "metadata.parquet").write_bytes(payload(canary))
    judge(
        faults, "metadata.parquet", zygotes.type(place, "shard", "images", "--out", "c"), canary, 3
    )
    saved = place / "saved"
    saved.mkdir()
    for name in ("dataset_info.json", "state.json", "data-00000-of-00001.arrow", "dataset.pkl"):
        (saved / name).write_bytes(payload(canary))
    script = f"import pathlib\npathlib.Path({str(canary)!r}).touch()\n"
    (saved / "saved.py").write_text(script)
    for source in ("hf:saved", f"hf:{saved}"):
        ended = zygotes.type(place, "shard", source, "--out", "d", env={"HF_HUB_OFFLINE": "1"})
        if canary.exists():
            faults.fired("canary", f"{source}: {ended}")
        elif ended.code in (2, 3, 6):
            faults.detected("canary")
        else:
            faults.lost("canary", f"{source}: {ended}")


def test_every_payload_runs_where_it_is_loaded_carelessly(place):
    """Every payload runs where it is loaded by what must never load it."""
    for number, load in enumerate(
        (
            lambda path: pickle.loads(path.read_bytes()),
            lambda path: torch.load(path, weights_only=False),
            lambda path: np.load(path, allow_pickle=True),
        )
    ):
        canary, path = place / f"canary{number}", place / f"payload{number}"
        if number == 1:
            torch.save({"x": Payload(canary)}, path)
        elif number == 2:
            with path.open("wb") as stream:
                np.save(stream, np.array([Payload(canary)], dtype=object), allow_pickle=True)
        else:
            path.write_bytes(payload(canary))
        load(path)
        assert canary.exists()
    here = place / "CANARY"
    yaml.unsafe_load(TAGS[0].replace("CANARY", str(here)))
    assert here.exists()
