"""The stages that are drilled, each from the state that the ones before it left."""

from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.drilling import copied, differing, snapshot

TINY = Path(__file__).parents[1] / "tiny.yaml"
RUNS = ("--runs", "runs", "--device", "cpu")
ALONE = (*RUNS, "--workers", "1")
OFTEN = ("--set", "train.save_every=0")
"""A state is stored after every step, so that trainings are cut between and within them."""
SMALL_SHARDS = [["curate.data.shards.writer", "SHARD_SAMPLES", 8]]
MANIFEST = "runs/tiny/manifests/top-40.parquet"


@dataclass(frozen=True)
class Stage:
    """A command, and the stage whose result it starts from; ``IMAGES`` stands for a folder."""

    command: str
    after: str | None = None
    request: dict = field(default_factory=dict)

    def arguments(self, images):
        """Return what is typed."""
        return [word.replace("IMAGES", str(images)) for word in self.command.split()]


def _words(*parts):
    return " ".join(" ".join(part) if isinstance(part, tuple) else str(part) for part in parts)


STAGES = {
    "shard": Stage("shard folder:IMAGES --out shards", None, {"patches": SMALL_SHARDS}),
    "train": Stage(_words("train", TINY, ALONE, OFTEN)),
    "score": Stage(_words("score tiny", ALONE), "train"),
    "inspect": Stage("inspect tiny --runs runs --device cpu", "score"),
    "select": Stage("select tiny --top 40 --runs runs", "score"),
    "export csv": Stage(f"export {MANIFEST} --to csv --out kept.csv", "select"),
    "export paths": Stage(f"export {MANIFEST} --to paths --out kept.txt", "select"),
    "export folder": Stage(f"export {MANIFEST} --to folder --out kept", "select"),
    "retrain": Stage(f"retrain {MANIFEST} --device cpu", "select"),
    "probe": Stage("probe runs/tiny/encoders/fold0 --on folder:IMAGES --device cpu", "score"),
    "compare": Stage(_words("compare tiny --seeds 1", ALONE), "score"),
    "report": Stage("report tiny --runs runs", "compare"),
    "run": Stage(_words("run", TINY, ALONE, OFTEN, "--set compare.remove=[]")),
}


@dataclass(frozen=True)
class Undisturbed:
    """A command as it goes when nothing happens to it.

    Attributes:
        arguments: What is typed.
        request: What the zygote is told besides.
        before: Folder that holds what it starts from.
        start: Snapshot of that.
        folder: What it leaves.
        after: Snapshot of that.
        seconds: What it takes.
        events: How often it changes something on disk.
    """

    arguments: list
    request: dict
    before: Path
    start: dict
    folder: Path
    after: dict
    seconds: float
    events: int


def go(zygotes, home, before, arguments, request=None):
    """Type a command twice in copies of ``before`` below ``home``, and return how it goes."""
    request, count = request or {}, home / "events"
    folder, again = copied(before, home / "after"), copied(before, home / "again")
    ended = zygotes.type(folder, *arguments, count=str(count), **request)
    assert ended.code == 0, f"{arguments} fails undisturbed: {ended}"
    # The first time is slower than any later one.
    seconds = zygotes.type(again, *arguments, **request).seconds
    after = snapshot(folder)
    assert differing(after, snapshot(again)) == [], f"{arguments} is not the same twice"
    events = int(count.read_text())
    return Undisturbed(
        list(arguments), request, before, snapshot(before), folder, after, seconds, events
    )


class Line:
    """Undisturbed stages, each gone through once, when it is first asked for."""

    def __init__(self, zygotes, home, images):
        self.zygotes, self.home, self.images = zygotes, home, images
        self._made = {}

    def __getitem__(self, name):
        """Return a stage as it goes undisturbed."""
        if name not in self._made:
            stage, home = STAGES[name], self.home / name.replace(" ", "-")
            before = self[stage.after].folder if stage.after else home / "before"
            before.mkdir(parents=True, exist_ok=True)
            arguments = stage.arguments(self.images)
            self._made[name] = go(self.zygotes, home, before, arguments, stage.request)
        return self._made[name]
