"""Every next step that is printed works as it stands."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.command import curate

SHORT = (
    "train.epochs=1 data.size=16 plan.repeats=2 score.views=2 train.batch_size=8 probe.kinds=[knn]"
)
"""What keeps a session on pictures short; it is given with the first commands and never again."""
SESSION = (
    "recipes",
    "init 'my photos' SHORT",
    "train images --dry-run --data 'my photos' --workers 1 SHORT",
    "shard 'my photos' --out shards",
    "run './my photos' --device cpu SHORT",
    "train my-photos",
    "inspect my-photos",
    "inspect my-photos --sample 'kind 0/photo 0.png'",
    "measure my-photos",
    "localize my-photos",
    "select my-photos --top 12",
    "export runs/my-photos/manifests/top-12.parquet --to folder --out kept",
    "retrain runs/my-photos/manifests/top-12.parquet",
    "compare my-photos --remove 4 --strategies top,random --seeds 2",
    "probe my-photos --on self",
    "report my-photos",
    "ledger my-photos",
    "verify my-photos",
)
"""What is typed; whatever it prints as a next step is typed as well."""
SKIPPED = ("view", "run digits", "run wds:")
"""Serves until it is stopped, and take minutes."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Work in an empty folder beside a folder with pictures, whose name has a space."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for number in range(36):
        kind = number % 3
        pixels = random.normal(100, 20 + 20 * kind, (24, 24, 3))
        pixels[:, :: 2 + kind] += 60
        folder = tmp_path / "my photos" / f"kind {kind}"
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(folder / f"photo {number}.png")
    return tmp_path


def typed(line):
    """Type a line as a shell would read it."""
    for part in line.split(" && "):
        words = shlex.split(part, comments=True)[1:]
        words, out = (words[:-2], words[-1]) if ">" in words else (words, None)
        result = curate(*words)
        if out is not None:
            Path(out).write_text(result.out)
        if result.code:
            break
    return result


def kind_of(line):
    """Two lines of one command with the same options are one step."""
    words = shlex.split(line, comments=True)
    return words[1], *sorted(word for word in words if word.startswith("--"))


def test_each_next_step_of_a_session_on_pictures_can_be_pasted(place):
    short = " ".join(f"--set {setting}" for setting in SHORT.split())
    done, wrong = {}, []
    for begin in SESSION:
        waiting = [f"curate {begin.replace('SHORT', short)}"]
        while waiting:
            line = waiting.pop(0)
            if kind_of(line) in done or any(line.startswith(f"curate {s}") for s in SKIPPED):
                continue
            result = typed(line)
            done[kind_of(line)] = line
            if result.code:
                wrong.append(f"{line}\n{result.err}")
            for hint in result.err.splitlines():
                waiting += [hint.removeprefix("next: ")] if hint.startswith("next: ") else []
    assert not wrong, "\n".join(wrong)
    assert len(done) > len(SESSION)
