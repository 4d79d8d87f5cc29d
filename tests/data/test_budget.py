"""Threads share the room for decoded pixels."""

import threading
import time

from curate.data.budget import Budget


def test_threads_share_one_budget_of_pixels():
    budget, most, held = Budget(100), [0], threading.Lock()

    def work(size):
        with budget.room(size), budget.room(size):
            with held:
                most[0] = max(most[0], budget.held)
            time.sleep(0.001)

    threads = [threading.Thread(target=work, args=(size,)) for size in [40, 60, 30, 500, 70] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.held == 0 and most[0] in (100, 500)
