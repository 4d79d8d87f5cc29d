"""Whoever stops a command is obeyed within two seconds, or told what is being finished."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.command import TINY

SECONDS = 5.0
"""Two where nothing else runs; here other tests do, and whatever the machine has to do besides."""
LARGE = ("data.size=32", "encoder.backbone=vit_tiny", "encoder.patch=2")
LONG = ("--name", "long", "--set", "train.epochs=4000")
COMMANDS = {
    "forecast": (
        ["train", "digits", "--dry-run", *(word for value in LARGE for word in ("--set", value))],
        8.0,
    ),
    "train": (["train", TINY, *LONG], 8.0),
    "train, two workers": (["train", TINY, *LONG, "--workers", "2"], 10.0),
    "align": (["score", "tiny", "--set", "score.views=2000"], 8.0),
    "inspect": (["inspect", "tiny", "--set", "inspect.encoder=timm-random:resnet50"], 8.0),
    "report": (["report", "tiny"], 3.0),
    "bench": (["bench", "digits"], 12.0),
}
"""What is typed, and how many seconds after its start a signal comes at the latest."""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_stop_is_obeyed_or_answered(name, tiny_runs, drills):
    arguments, latest = COMMANDS[name]
    command = [sys.executable, "-m", "curate", *map(str, arguments), "--runs", str(tiny_runs)]
    draws = random.Random(name)
    wrong = []
    for number in range(max(1, drills // 20)):
        sent = (signal.SIGTERM, signal.SIGINT)[(number + len(name)) % 2]
        # Tests that run in the background may have been told to ignore it, and so would this.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            process = subprocess.Popen(
                command,
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        finally:
            signal.signal(signal.SIGINT, before)
        # Earlier, Python itself begins, and nobody can answer for what it says.
        time.sleep(draws.uniform(0.2, latest))
        if sent == signal.SIGINT:
            os.killpg(process.pid, sent)  # a Ctrl-C reaches workers as well
        else:
            process.send_signal(sent)
        begun = time.monotonic()
        _, told = process.communicate(timeout=180)
        spent = time.monotonic() - begun
        if spent > SECONDS and "stopping: " not in told:
            wrong.append(f"{sent.name} after {spent:.1f} s: {told[-300:]}")
        # While curate is imported the system itself ends it, and a shell says 128 + sent, too.
        if process.returncode not in (0, 128 + sent, -sent) or "Traceback" in told:
            wrong.append(f"{sent.name}: exit {process.returncode}: {told[-600:]}")
    assert not wrong, "\n".join(wrong)
