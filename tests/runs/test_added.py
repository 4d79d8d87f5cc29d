"""A run knows what was added to it, and which of its repeats may."""

import pytest

from curate.runs.added import Addition, additions, dataset_of, generation


class Grown:
    """A run as far as this module asks."""

    added = (
        Addition("folder:a", 30, 2, 3, "one", "two", 1.5, 10.0).to_json(),
        Addition("folder:b", 10, 4, 5, "two", "three").to_json(),
    )


def test_what_is_written_down_is_read_again():
    first, second = additions(Grown())
    assert (first.source, first.samples, first.seconds) == ("folder:a", 30, 1.5)
    assert (second.fingerprint, second.seconds, second.anew_seconds) == ("three", None, None)


@pytest.mark.parametrize(
    ("shard", "which"), [("00000", 0), ("00001", 0), ("00002", 1), ("00003", 1), ("00004", 2)]
)
def test_a_shard_is_of_the_addition_that_wrote_it(shard, which):
    assert generation(Grown(), shard) == which


def test_a_repeat_is_drawn_from_what_was_there():
    assert [dataset_of(Grown(), repeat) for repeat in (0, 2, 3, 4, 5, 9)] == [
        "one", "one", "two", "two", None, None
    ]  # fmt: skip
