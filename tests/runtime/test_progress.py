"""The progress of several units is told of as that of one piece of work."""

import pytest

from curate.runtime.progress import Together


def told_by(units, *events):
    told = []
    together = Together("train", "encoders", units, lambda *event: told.append(event))
    for unit, *steps in events:
        together.tell(unit, *steps) if steps else together.finish(unit)
    return told


def test_steps_of_units_add_up_and_finished_ones_are_counted():
    assert told_by(2, ("a", 5, 10), ("b", 1, 10), ("a", 10, 10), ("a",), ("b", 10, 10), ("b",)) == [
        ("train: 0 of 2 encoders", 5, 20),
        ("train: 0 of 2 encoders", 6, 20),
        ("train: 0 of 2 encoders", 11, 20),
        ("train: 1 of 2 encoders", 11, 20),
        ("train: 1 of 2 encoders", 19, 20),
        ("train: 2 of 2 encoders", 20, 20),
    ]


def test_units_that_have_told_of_nothing_count_as_many_as_the_others():
    assert told_by(4, ("a", 0, 10), ("b", 0, 20)) == [
        ("train: 0 of 4 encoders", 0, 40),
        ("train: 0 of 4 encoders", 0, 60),
    ]


@pytest.mark.parametrize("units", [1, 3])
def test_units_that_tell_of_nothing_end_the_work_all_the_same(units):
    told = told_by(units, *((str(n),) for n in range(units)))
    assert [done >= total for _, done, total in told] == [False] * (units - 1) + [True]
    assert told[-1] == (f"train: {units} of {units} encoders", units, units)
