"""Two processes on one run: the second leaves at once, and a dead owner is not obeyed."""

import random
import signal

import pytest

from tests.faults.drilling import copied, differing, snapshot
from tests.faults.line import ALONE, OFTEN, TINY

SECONDS = {
    "train": ["train", TINY, *ALONE, *OFTEN],
    "score": ["score", "tiny", *ALONE],
    "inspect": ["inspect", "tiny", "--runs", "runs"],
    "run": ["run", TINY, *ALONE, *OFTEN],
    "select": ["select", "tiny", "--top", "9", "--runs", "runs"],
    "fresh": ["train", TINY, *ALONE, *OFTEN, "--fresh"],
}
"""What is typed while another command works on the run."""


@pytest.mark.parametrize("name", ["train", "score"])
def test_the_second_is_refused_and_the_dead_are_not_obeyed(
    name, line, zygotes, faults, drills, place
):
    undisturbed, (one, two) = line[name], zygotes.pair()
    drawn = random.Random(f"two {name}")
    for number in range(max(2, drills // 5)):
        work = copied(undisturbed.before, place / f"{number}")
        # Held from soon after the beginning until all but the last event.
        event = drawn.randrange(min(20, undisturbed.events // 2), undisturbed.events - 2)
        first = one.type(work, *undisturbed.arguments, stop_event=event)
        assert first.pid, first
        wrong = None
        for what, arguments in SECONDS.items():
            second = two.type(work, *arguments, hang=30)
            if second.code != 5 or f"process {first.pid} on " not in second.err:
                wrong = f"{what}: {second}"
        # What only reads does, or says what there is not yet.
        reads = two.type(work, "report", "tiny", "--runs", "runs", hang=30)
        if reads.code not in (0, 3):
            wrong = f"report: {reads}"
        (work / "runs/tiny/report.html").unlink(missing_ok=True)
        # Killed, or ended in its own time.
        number_of_signal = (signal.SIGKILL, signal.SIGCONT)[number % 2]
        first = one.go_on(number_of_signal)
        last = two.type(work, *undisturbed.arguments)
        gone = differing(snapshot(work), undisturbed.after)
        expected = -signal.SIGKILL if number_of_signal == signal.SIGKILL else 0
        if wrong or first.code != expected or last.code != 0 or gone:
            faults.lost("two", f"event {event}: {wrong}, {first}, {last}, {gone}")
        else:
            faults.detected("two", len(SECONDS))
            faults.survived("two")


def test_two_writers_of_one_folder_of_shards(line, zygotes, faults, place):
    undisturbed, (one, two) = line["shard"], zygotes.pair()
    for event in (8, undisturbed.events // 2, undisturbed.events - 6):
        work = copied(undisturbed.before, place / f"{event}")
        first = one.type(work, *undisturbed.arguments, stop_event=event, **undisturbed.request)
        assert first.pid, first
        second = two.type(work, *undisturbed.arguments, **undisturbed.request)
        one.go_on(signal.SIGKILL)
        last = two.type(work, *undisturbed.arguments, **undisturbed.request)
        gone = differing(snapshot(work), undisturbed.after)
        if second.code != 5 or last.code != 0 or gone:
            faults.lost("two", f"shard, event {event}: {second}, {last}, {gone}")
        else:
            faults.detected("two")
            faults.survived("two")
