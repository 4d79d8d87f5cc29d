"""Work on threads: in order, whole, with as many items in hand as there is room for."""

import threading
import time

import pytest
import torch

from curate.data.decoding import (
    check,
)
from curate.errors import DataError
from curate.runtime.threads import in_order, torch_threads
from tests.rendered import encoded
from tests.rendered import picture as render


@pytest.mark.parametrize(("size", "most"), [(1, 2000), (2**22, 40), (2**30, 40)])
def test_work_comes_back_in_order_and_few_at_a_time(size, most, monkeypatch):
    monkeypatch.setattr("curate.runtime.threads.cores", lambda: 8)
    taken = 0

    def numbers():
        nonlocal taken
        for i in range(5000):
            taken += 1
            yield i

    done = in_order(lambda i: i * i, numbers(), size=lambda i: size)
    assert next(done) == 0
    assert taken < most
    assert list(done) == [i * i for i in range(1, 5000)]


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33])
def test_no_item_is_lost_at_the_edge_of_a_group(n):
    assert list(in_order(str, range(n), size=lambda i: 1)) == [str(i) for i in range(n)]


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_the_callers_thread_works_too_and_an_error_keeps_its_place(cores, monkeypatch):
    monkeypatch.setattr("curate.runtime.threads.cores", lambda: cores)
    mine, theirs = set(), set()

    def work(i):
        time.sleep(1e-4)
        (mine if threading.current_thread() is threading.main_thread() else theirs).add(i)
        if i == 1000:
            raise DataError("the thousandth")
        return i

    seen = []
    with pytest.raises(DataError, match="the thousandth"):
        for i in in_order(work, range(3000), size=lambda i: 1):
            seen.append(i)
    assert seen == list(range(1000 - 1000 % 32))
    assert mine and theirs and not mine & theirs


def test_an_error_in_a_thread_reaches_the_caller():
    with pytest.raises(DataError, match="empty"):
        list(in_order(check, [encoded(render(1, 9, 9), "PNG"), b""], size=len))


def test_torch_has_as_many_threads_afterwards_as_before():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(ValueError), torch_threads(1, "cpu"):
            assert torch.get_num_threads() == 1
            raise ValueError
        assert torch.get_num_threads() == 2
        with torch_threads(1, "cuda"):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
