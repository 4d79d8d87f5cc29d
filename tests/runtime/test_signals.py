"""Signals are obeyed at once, or between the steps of what is held."""

import contextlib
import signal
import subprocess
import sys
import time

import pytest

from curate.runtime import signals


def test_at_once_where_nothing_is_held():
    with pytest.raises(signals.Stopped) as stopped:
        signals.obey(signal.SIGINT)
    assert stopped.value.number == signal.SIGINT


def test_at_the_end_of_what_is_held():
    done = []
    with pytest.raises(signals.Stopped) as stopped, signals.held("a step") as work:
        assert work.wanted is None
        signals.obey(signal.SIGTERM)
        done.append(work.wanted)
    assert done == [signal.SIGTERM] and stopped.value.number == signal.SIGTERM
    with pytest.raises(signals.Stopped):
        signals.obey(signal.SIGTERM)


def test_an_error_within_is_that_error():
    with pytest.raises(ValueError, match="mine"), signals.held("a step"):
        signals.obey(signal.SIGTERM)
        raise ValueError("mine")
    with signals.held("a step") as work:
        assert work.wanted is None


LONG = """
import hashlib, signal, sys, threading, time
from curate.runtime import signals
signal.signal(signal.SIGTERM, lambda number, _: signals.obey(number))
signals.answer()
kind = sys.argv[1]
signals.PATIENCE = 60 if kind == "idle" else 0.2
begin = time.monotonic()
hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000)
rounds = int(100_000 * 5 / (time.monotonic() - begin))
# Once the work below has begun.
threading.Timer(0.5, print, ["ready"], {"flush": True}).start()
if kind == "held":
    with signals.held("a step"):
        time.sleep(5)
elif kind == "computed":  # in C, where no handler in Python is called
    hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)
else:
    time.sleep(60)
"""


@pytest.mark.parametrize(("kind", "said"), [
    ("held", "stopping: a step is finished first."),
    ("computed", "stopping: what is being computed is finished first."),
    ("idle", None),
])  # fmt: skip
def test_a_signal_that_has_to_wait_is_answered(kind, said):
    process = subprocess.Popen(
        [sys.executable, "-c", LONG, kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    first, *_, last = err.splitlines()
    assert last.endswith(f"Stopped: {int(signal.SIGTERM)}")
    assert (first == said) if said else "stopping" not in err


LATE = """
import time
time.sleep(1)
from curate.runtime.signals import leave_it
leave_it()
print("there")
"""


@pytest.mark.parametrize("kept", [True, False])
def test_a_process_that_is_started_is_kept_from_an_interrupt(kept):
    # Tests that run in the background may have been told to ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with signals.starting() if kept else contextlib.nullcontext():
            process = subprocess.Popen(
                [sys.executable, "-c", LATE],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        said, told = process.communicate(timeout=60)
        wanted = ("there\n", 0) if kept else ("", -signal.SIGINT)
        assert (said, process.returncode) == wanted, told
        assert not kept or not told
        # Whoever started it is interrupted as ever.
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
