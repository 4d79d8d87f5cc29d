"""A bit that flips, a file that goes or that is another run's: named, mended, or without effect."""

import random
import re
import shutil
from dataclasses import dataclass

import pytest

from curate.data.shards import Reader
from curate.reports.viewer.marks import save
from curate.runs.marks import Marks
from curate.runs.run import Run
from tests.faults.drilling import copied, differing, snapshot
from tests.faults.line import ALONE, RUNS, TINY

FEW = 20
"""Drills that every test run has; with as many a file is hit four times, with more that often."""
RUN = "runs/tiny"
MANIFEST = f"{RUN}/manifests/top-0.5.parquet"

SCORE = ("score", "tiny", *ALONE)
INSPECT = ("inspect", "tiny", *RUNS)
SELECT = ("select", "tiny", "--top", "40", "--runs", "runs")
REPORT = ("report", "tiny", "--runs", "runs")
SAMPLE = (*INSPECT, "--sample", "UID")
PROBE = ("probe", f"{RUN}/encoders/fold0", "--on", "self", "--device", "cpu")
CSV = ("export", MANIFEST, "--to", "csv", "--out", "kept.csv")
FOLDER = ("export", MANIFEST, "--to", "folder", "--out", "kept")
METADATA = ("export", MANIFEST, "--to", "hf-metadata", "--out", "for-hub")
VERIFY = ("verify", RUN, "--full")

ALIGN = (f"{RUN}/records/align/*.json", "runs/.store/align/*/record.json")
CANVAS = (f"{RUN}/records/canvas.json", "runs/.store/canvas/*/record.json")
SCORES = (f"{RUN}/records/score.json",)
INSPECTED = (f"{RUN}/records/inspect.json",)


@dataclass(frozen=True)
class Artefact:
    """A file, and the commands that read it.

    Attributes:
        name: As the table has it.
        file: Where it lies in the run.
        commands: What is typed after it was damaged, in this order.
        without: Records that are not there yet when it is damaged, so that a stage has to read it.
        said: What names it; nothing stands for the name of the file.
    """

    name: str
    file: str
    commands: tuple = ()
    without: tuple = ()
    said: str = ""


BETWEEN_STAGES = (
    Artefact("weights", "encoders/fold0/weights.safetensors", (SCORE,), (*ALIGN, *SCORES)),
    Artefact("weights, probed", "encoders/fold0/weights.safetensors", (PROBE,)),
    Artefact("canvas", "cache/canvas.npy", (SCORE, REPORT), (*ALIGN, *SCORES)),
    Artefact("alignment", "alignment/00000.parquet", (SCORE,), SCORES),
    Artefact("plan", "plan.parquet", (SCORE, REPORT), SCORES),
    Artefact("index", "shards/index.parquet", (SCORE, FOLDER), SCORES),
    Artefact("tar", "shards/00000.tar", (SCORE, FOLDER), (*CANVAS, *ALIGN, *SCORES)),
    Artefact("facts of the shards", "shards/dataset.json", (SCORE, REPORT, METADATA), SCORES),
    Artefact("scores", "scores.parquet", (SELECT, INSPECT, REPORT), INSPECTED),
    Artefact("summary of the scores", "scores.json", (SELECT, REPORT)),
    Artefact("inspection", "inspect.parquet", (REPORT, METADATA, SAMPLE)),
    Artefact("neighbours", "inspect_neighbours.parquet", (REPORT, SAMPLE)),
    Artefact("summary of the inspection", "inspect.json", (REPORT,)),
)
OF_A_RUN = (
    Artefact(
        "run.json", "run.json", (SCORE, REPORT), said="run.json|records/train/fold0.json is of"
    ),
    Artefact("record of an encoder", "records/train/fold0.json", (SCORE, REPORT)),
    Artefact(
        "record of the plan", "records/plan.json", (SCORE, REPORT), said="plan.(json|parquet)"
    ),
    Artefact("record of the shards", "records/shard.json", (SCORE, REPORT), SCORES),
    Artefact("record of an alignment", "records/align/00000.json", (SCORE,), SCORES),
    Artefact(
        "record of the scores",
        "records/score.json",
        (SELECT, SCORE, REPORT),
        said="score.json|scores.(json|parquet)|scores of run runs/tiny are older",
    ),
    Artefact(
        "record of the inspection",
        "records/inspect.json",
        (SAMPLE, INSPECT, REPORT),
        said="inspect.(json|parquet)",
    ),
    Artefact("scores", "scores.parquet", (SELECT, REPORT)),
    Artefact("summary of the scores", "scores.json", (SELECT, REPORT)),
    Artefact("manifest", "manifests/top-0.5.parquet", (CSV, REPORT, VERIFY)),
    Artefact("JSON of a manifest", "manifests/top-0.5.json", (CSV, REPORT, VERIFY)),
    Artefact("marks", "marks.jsonl", (VERIFY,)),
    Artefact("inspection", "inspect.parquet", (REPORT, METADATA, SAMPLE)),
    Artefact("neighbours", "inspect_neighbours.parquet", (REPORT, SAMPLE)),
    Artefact("summary of the inspection", "inspect.json", (REPORT,)),
)


@pytest.fixture(scope="module")
def whole(line, zygotes, home):
    """A finished run, with marks of four samples and a manifest that was saved of them."""
    folder = copied(line["run"].folder, home / "whole")
    return marked(folder)


@pytest.fixture(scope="module")
def other(zygotes, home):
    """The same recipe on the same images with other seeds: another run, of the same name."""
    folder = home / "other"
    folder.mkdir()
    typed = ("run", TINY, *ALONE, "--seed", "1", "--set", "compare.remove=[]")
    ended = zygotes.type(folder, *typed)
    assert ended.code == 0, ended
    return marked(folder, first=4)


def marked(folder, first=0):
    run = Run.open(folder / RUN)
    marks = Marks(run.path / "marks.jsonl")
    marks.put(run.scores(["uid"])["uid"].to_pylist()[first : first + 4], "drop")
    save(run, marks.read(), name="by-hand", base=None)
    return folder


@pytest.fixture(scope="module")
def undisturbed(whole, zygotes, home):
    """Gives the files that commands leave when nothing is damaged, by what is to be made again."""
    made = {}

    def after(artefact):
        for command in artefact.commands:
            asked = command, artefact.without
            if asked not in made:
                work = ready(whole, home / f"undisturbed-{len(made)}", artefact)
                ended = zygotes.type(work, *spelled(command, whole))
                assert ended.code == 0, ended
                made[asked] = snapshot(work)
        return {command: made[command, artefact.without] for command in artefact.commands}

    return after


def ready(whole, work, artefact):
    """Copy the finished run, without what the artefact is to be read for."""
    copied(whole, work)
    for pattern in artefact.without:
        for path in work.glob(pattern):
            path.unlink()
    return work


def spelled(command, whole):
    """Return a command with the uid of a sample in it."""
    uid = Run.open(whole / RUN).scores(["uid"])["uid"][5].as_py()
    return [uid if word == "UID" else word for word in command]


def flip(bit):
    """Return what flips a bit of a file where it lies, and so of all that are links to it."""

    def done(path):
        data = bytearray(path.read_bytes())
        data[bit // 8] ^= 1 << bit % 8
        with path.open("rb+") as stream:
            stream.write(data)

    return done


def judged(zygote, whole, expected, work, artefact, damage):
    """Damage a file before each command that reads it; returns the worst end, and why."""
    ends = []
    for number, command in enumerate(artefact.commands):
        place = ready(whole, work / f"{number}", artefact)
        path = place / RUN / artefact.file
        damage(path)
        damaged = path.read_bytes() if path.is_file() else None
        ended = zygote.type(place, *spelled(command, whole))
        now, there = path.read_bytes() if path.is_file() else None, snapshot(place)
        # Not what is damaged, and what is a link to it.
        left = [
            n
            for n in differing(there, expected[command])
            if not (n == f"{RUN}/{artefact.file}" or (n in there and same(place / n, damaged)))
        ]
        # What is wrong has to be named, and not only the stage.
        named = re.search(artefact.said or re.escape(path.name), ended.err) is not None
        if named:
            end = "mended" if ended.code == 0 and now != damaged and not left else "named"
        else:
            end = "used in silence" if ended.code or left else "all results equal"
        if ended.code not in (0, 2, 3, 4):
            end = "used in silence"
        ends.append((end, f"{command}: {left} differ; {ended}"))
        shutil.rmtree(place)
    # Named or mended tells more than equal, of a file that not every command reads.
    order = "all results equal", "mended", "named", "used in silence"
    return max(ends, key=lambda found: order.index(found[0]))


def same(path, data):
    return path.read_bytes() == data


def count(drills):
    return max(1, drills // 5) if drills <= FEW else drills


def tried(zygotes, faults, whole, undisturbed, place, artefact, fault, damages):
    expected = undisturbed(artefact)

    def go(zygote, numbered):
        number, damage = numbered
        return judged(zygote, whole, expected, place / f"{number}", artefact, damage)

    for end, why in zygotes.map(go, enumerate(damages), f"{fault} {artefact.name}"):
        faults.damaged(artefact.name, fault, end, why)


def flips(artefact, whole, n):
    """Draw bits of a file; of a tar every second within an image, which are a small part of it."""
    drawn, size = random.Random(artefact.name), (whole / RUN / artefact.file).stat().st_size
    bits = [drawn.randrange(8 * size) for _ in range(n)]
    if artefact.file.endswith(".tar"):
        images = Reader(whole / RUN / "shards").index(["offset", "size"]).to_pylist()
        for k in range(0, n, 2):
            image = drawn.choice(images)
            bits[k] = 8 * image["offset"] + drawn.randrange(8 * image["size"])
    return [flip(bit) for bit in bits]


@pytest.mark.parametrize("artefact", BETWEEN_STAGES, ids=lambda a: a.name)
def test_a_bit_flipped_between_stages(artefact, whole, undisturbed, zygotes, faults, drills, place):
    damages = flips(artefact, whole, count(drills))
    fault = "one bit flipped between stages"
    tried(zygotes, faults, whole, undisturbed, place, artefact, fault, damages)


@pytest.mark.parametrize("artefact", OF_A_RUN, ids=lambda a: a.name)
def test_a_file_of_a_run_that_is_flipped_deleted_or_another_runs(
    artefact, whole, other, undisturbed, zygotes, faults, drills, place
):
    def swap(path):
        path.unlink()
        path.write_bytes((other / RUN / artefact.file).read_bytes())

    cases = {
        "one bit flipped": flips(artefact, whole, count(drills)),
        "deleted": [lambda path: path.unlink()],
        "another run's": [swap],
    }
    for fault, damages in cases.items():
        folder = place / fault.replace(" ", "-")
        folder.mkdir()
        tried(zygotes, faults, whole, undisturbed, folder, artefact, fault, damages)
