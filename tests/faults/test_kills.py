"""Kill -9 at any moment of any stage; then the same command makes what it would have made."""

import shutil
import signal
from dataclasses import replace

import pytest

from tests.faults.drilling import Moment, copied, differing, events, snapshot, times
from tests.faults.interrupted import drill
from tests.faults.line import ALONE, OFTEN, STAGES, TINY, go


@pytest.mark.parametrize("name", STAGES)
def test_a_killed_stage_is_gone_on_with(name, line, zygotes, faults, drills, place):
    undisturbed = line[name]
    if name == "run":
        # Its stages have their own.
        drills = max(2, drills // 2)
    half = events(name, drills // 2, undisturbed.events)
    moments = [*half, *times(name, drills - len(half), undisturbed.seconds)]

    def go(zygote, numbered):
        number, moment = numbered
        interrupt = moment.request(signal.SIGKILL)
        return drill(zygote, undisturbed, place / f"{number}", interrupt)

    ended = zygotes.map(go, enumerate(moments), f"kill {name}")
    killed = 0
    for moment, (first, wrong) in zip(moments, ended, strict=True):
        row = "kill" if moment.event is None else "crash"
        killed += first.code == -signal.SIGKILL
        if wrong:
            faults.lost(row, f"{name}, {moment}: {wrong}")
        else:
            faults.survived(row)
    assert killed >= len(half)


@pytest.mark.parametrize(("name", "first"), [("train", 1), ("retrain", -9)])
def test_the_beginning_of_a_run_and_the_end_of_a_training(
    name, first, line, zygotes, faults, place
):
    """Every event while a run is made, and while the states of a finished training go."""
    undisturbed = line[name]
    begin = first if first > 0 else undisturbed.events + first
    moments = [Moment(event=begin + k) for k in range(10)]

    def go(zygote, moment):
        work = place / f"{moment.event}"
        return drill(zygote, undisturbed, work, moment.request(signal.SIGKILL))

    for moment, (_, wrong) in zip(moments, zygotes.map(go, moments), strict=True):
        if wrong:
            faults.lost("crash", f"{name}, {moment}: {wrong}")
        else:
            faults.survived("crash")


def test_a_killed_command_takes_its_workers_along(line, zygotes, faults, drills, place):
    """Two trainings side by side, in processes that nobody stops any more."""
    alone = line["train"]
    beside = replace(alone, arguments=[*alone.arguments, "--workers", "2"])
    moments = [Moment(seconds=3 + 5 * m.seconds) for m in times("orphans", max(1, drills // 20), 1)]

    def go(zygote, numbered):
        number, moment = numbered
        interrupt, work = moment.request(signal.SIGKILL), place / f"{number}"
        # The workers may still be there for half a second, and write what is written anew.
        return drill(zygote, beside, work, interrupt, second=alone.arguments)

    ended = zygotes.map(go, enumerate(moments), "kill workers")
    for moment, (_, wrong) in zip(moments, ended, strict=True):
        if wrong:
            faults.lost("kill", f"workers, {moment}: {wrong}")
        else:
            faults.survived("kill")


def test_a_run_that_is_killed_while_it_is_begun_anew_loses_neither(
    line, zygotes, faults, drills, place
):
    """``--fresh``: the old run is whole under its own name or beside it, at every moment."""
    old, arguments = line["score"], [*line["train"].arguments, "--fresh"]
    before = {name: digest for name, digest in old.after.items() if "/run.json" not in name}
    counted = place / "events"
    zygotes.type(copied(old.folder, place / "count"), *arguments, count=str(counted))
    # The run is set aside and the new one made within the first of them.
    moments = events("fresh", max(5, drills // 2), min(60, int(counted.read_text())))

    def go(zygote, numbered):
        number, moment = numbered
        work = copied(old.folder, place / f"{number}")
        first = zygote.type(work, *arguments, die_event=moment.event)
        there = snapshot(work)
        whole = [
            home for home in ("runs/tiny", "runs/tiny.old-1")
            if all(there.get(n.replace("runs/tiny", home)) == d for n, d in before.items())
        ]  # fmt: skip
        last = zygote.type(work, *line["train"].arguments)
        found, expected = snapshot(work / "runs/tiny"), snapshot(line["train"].folder / "runs/tiny")
        # With the encoders of the old run, which have the same keys, no image is decoded.
        other = [name for name in differing(found, expected) if "canvas" not in name]
        made = other == [] or whole == ["runs/tiny"]
        right = (first.code, last.code) == (-signal.SIGKILL, 0) and len(whole) == 1 and made
        return None if right else f"{first}, {last}, whole: {whole}"

    ended = zygotes.map(go, enumerate(moments), "kill fresh")
    for moment, wrong in zip(moments, ended, strict=True):
        if wrong:
            faults.lost("crash", f"fresh, {moment}: {wrong}")
        else:
            faults.survived("crash")


BESIDE = {
    "measured otherwise": ["--name", "beside", "--set", "views.measure=noise"],
    "trained otherwise": ["--name", "beside", "--set", "train.seed=1", *OFTEN],
}
"""Runs beside the tiny one: what each shares with it is linked, what it makes is stored."""


@pytest.fixture(scope="module")
def store_line(line, zygotes, home):
    """Commands that work on the store, as they go undisturbed."""
    before, made = line["score"].folder, {}
    for name, settings in BESIDE.items():
        place = home / f"store-{name.replace(' ', '-')}"
        made[name] = go(zygotes, place, before, ["score", TINY, *ALONE, *settings])
    without = copied(made["measured otherwise"].folder, home / "store-without")
    shutil.rmtree(without / "runs/beside")
    made["cleaned"] = go(zygotes, home / "store-cleaned", without, ["clean", "--runs", "runs"])
    return made


@pytest.mark.parametrize("name", [*BESIDE, "cleaned"])
def test_the_store_loses_nothing_when_a_command_is_killed(
    name, store_line, zygotes, faults, drills, place
):
    undisturbed = store_line[name]
    half = events(f"store {name}", drills // 2, undisturbed.events)
    moments = [*half, *times(f"store {name}", drills - len(half), undisturbed.seconds)]

    def kill(zygote, numbered):
        number, moment = numbered
        interrupt = moment.request(signal.SIGKILL)
        return drill(zygote, undisturbed, place / f"{number}", interrupt)

    ended = zygotes.map(kill, enumerate(moments), f"kill store, {name}")
    for moment, (_, wrong) in zip(moments, ended, strict=True):
        if wrong:
            faults.lost("store", f"{name}, {moment}: {wrong}")
        else:
            faults.survived("store")
    assert sum(first.code == -signal.SIGKILL for first, _ in ended) >= len(half)


def test_a_run_beside_is_made_of_what_a_killed_cleaning_left(
    store_line, zygotes, faults, drills, place
):
    """Whatever of the store is gone by then is made again, and is the same."""
    cleaned, beside = store_line["cleaned"], store_line["measured otherwise"]
    moments = events("cleaned, then made", max(2, drills // 2), cleaned.events)

    def kill(zygote, moment):
        work = copied(cleaned.before, place / f"{moment.event}")
        first = zygote.type(work, *cleaned.arguments, **moment.request(signal.SIGKILL))
        last = zygote.type(work, *beside.arguments)
        # Where all alignments are still in the store, no image is decoded.
        gone = [n for n in differing(snapshot(work), beside.after) if "canvas" not in n]
        right = (first.code, last.code) == (-signal.SIGKILL, 0) and not gone
        return None if right else f"{first}, {last}, {gone}"

    for moment, wrong in zip(moments, zygotes.map(kill, moments), strict=True):
        if wrong:
            faults.lost("store", f"cleaned, then made, {moment}: {wrong}")
        else:
            faults.survived("store")
