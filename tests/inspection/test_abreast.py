"""Blocks abreast: in their order, each on one core, and afterwards as it was before."""

import threading

import numpy as np
import pytest
import torch

from curate.inspection import thumbnails
from curate.inspection.abreast import abreast
from curate.inspection.matching import searched
from curate.inspection.neighbours import faiss_library
from curate.runtime.progress import silent
from tests.inspection.test_duplicates import COPIES, SCENES, stacked


@pytest.fixture(params=[1, 3])
def number(request):
    """Let torch and FAISS have so many threads."""
    faiss = faiss_library()
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(request.param)
    faiss.omp_set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before[0])
    faiss.omp_set_num_threads(before[1])


def used(_=None):
    return torch.get_num_threads(), faiss_library().omp_get_max_threads()


def test_results_come_in_order_from_threads_on_one_core_each(number):
    meeting = threading.Barrier(number, timeout=60)

    def work(item):
        meeting.wait()  # all threads are at it at once
        return item, threading.get_ident(), used()

    with abreast("cpu") as run:
        items, idents, each = zip(*run(work, range(4 * number)), strict=True)
        assert used() == (1, 1)
    assert list(items) == list(range(4 * number))
    assert len(set(idents)) == number
    assert set(each) == {(1, 1)}
    assert used() == (number, number)


def test_a_card_takes_one_block_after_another_with_what_was_set(number):
    with abreast("cuda") as run:
        assert [*run(used, range(2))] == [(number, number)] * 2


def test_threads_that_begin_afterwards_have_what_was_set(number):
    with abreast("cpu") as run:
        assert [*run(abs, [-1, 2])] == [1, 2]
    told = []
    thread = threading.Thread(target=lambda: told.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert told == [number]


def test_an_error_of_a_block_is_raised_in_its_turn_and_ends_all(number):
    begun, results = [], []

    def work(item):
        begun.append(item)
        if item == 4:
            raise ValueError("four")
        return item

    with pytest.raises(ValueError, match="four"), abreast("cpu") as run:
        for result in run(work, range(1000)):
            results.append(result)
    assert results == [0, 1, 2, 3]
    assert max(begun) < 20
    assert used() == (number, number)


def test_whoever_stops_waits_for_begun_blocks_alone(number):
    begun = []
    with pytest.raises(KeyboardInterrupt), abreast("cpu") as run:
        for _ in run(begun.append, range(1000)):
            raise KeyboardInterrupt
    assert len(begun) < 20
    assert used() == (number, number)


def test_a_search_gives_the_same_bytes_on_however_many_threads():
    images = [*SCENES[:100], *(COPIES["crop"](image) for image in SCENES[:40])] * 2
    thumbs = thumbnails.of_canvas(stacked(images))

    def found(threads):
        torch.set_num_threads(threads)
        pairs, decoys, *_ = searched(thumbs, np.arange(len(thumbs)), "cpu", silent)
        return [v.tobytes() for part in (pairs, decoys) for v in vars(part).values()]

    before = torch.get_num_threads()
    try:
        assert found(1) == found(2) == found(5)
    finally:
        torch.set_num_threads(before)
