"""SIGTERM and SIGINT at any moment: saved, 143 or 130, and the same command goes on from there."""

import signal
from dataclasses import replace

import pytest

from tests.faults.drilling import Moment, times
from tests.faults.interrupted import drill
from tests.faults.line import OFTEN, go

STOPPED = {signal.SIGTERM: 143, signal.SIGINT: 130}
LONG = ("--set", "train.epochs=40", "--set", "train.save_every=1000")
"""Long enough to be stopped within; a state is stored for the signal and for nothing else."""


def go_through(undisturbed, moments, zygotes, place, faults, what, **more):
    """Stop a stage at each moment; returns how many were stopped."""

    def stop(zygote, numbered):
        number, moment = numbered
        sent = (signal.SIGTERM, signal.SIGINT)[number % 2]
        interrupt, work = moment.request(sent), place / f"{number}"
        return drill(zygote, undisturbed, work, interrupt, expected=(STOPPED[sent],), **more)

    stopped = 0
    for moment, (first, wrong) in zip(
        moments, zygotes.map(stop, enumerate(moments), what), strict=True
    ):
        stopped += first.code != 0
        if wrong:
            faults.lost("signal", f"{what}, {moment}: {wrong}")
        else:
            faults.survived("signal")
    return stopped


@pytest.mark.parametrize("name", ["shard", "train", "score", "inspect", "probe", "compare", "run"])
def test_a_stopped_stage_is_gone_on_with(name, line, zygotes, faults, drills, place):
    undisturbed = line[name]
    moments = times(f"signal {name}", max(3, drills // 5), undisturbed.seconds)
    assert go_through(undisturbed, moments, zygotes, place, faults, f"signal {name}")


def _lengthened(undisturbed, zygotes, place):
    """Return training as it goes with more epochs."""
    often = undisturbed.arguments.index(OFTEN[1])
    arguments = [*undisturbed.arguments, *LONG]
    del arguments[often - 1 : often + 1]
    return go(zygotes, place / "undisturbed", undisturbed.before, arguments)


def test_a_stopped_training_stores_its_state_and_goes_on_from_it(
    line, zygotes, faults, drills, place
):
    long = _lengthened(line["train"], zygotes, place)
    moments = [
        Moment(seconds=long.seconds * (0.3 + 0.6 * m.seconds))
        for m in times("stored", max(4, drills // 5), 1.0)
    ]
    kept = []

    def stored(work):
        kept.append(len(list(work.glob("runs/tiny/cache/states/train/*/*.safetensors"))))

    assert go_through(long, moments, zygotes, place, faults, "signal, stored", look=stored)
    # Between two trainings there is nothing to store.
    assert sum(map(bool, kept)) >= len(kept) // 2, kept


def test_workers_store_their_states_too(line, zygotes, faults, drills, place):
    alone = _lengthened(line["train"], zygotes, place)
    beside = replace(alone, arguments=[*alone.arguments, "--workers", "2"])
    moments = [Moment(seconds=4 + 6 * m.seconds) for m in times("beside", max(1, drills // 20), 1)]
    what = "signal, workers"
    go_through(beside, moments, zygotes, place, faults, what, second=alone.arguments)
