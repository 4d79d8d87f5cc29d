"""View: an address that can be opened, told once it is served."""

import threading
import urllib.error
import urllib.request

import curate
from curate.runs.run import Run


def test_the_address_that_is_told_can_be_opened_until_it_is_closed(tiny_runs):
    told, served = [], threading.Event()

    def started(address):
        told.append(address)
        served.set()

    run = Run.open(tiny_runs / "tiny")
    thread = threading.Thread(target=curate.view, args=(run,), kwargs={"started": started})
    thread.start()
    try:
        assert served.wait(60)
        with urllib.request.urlopen(told[0], timeout=30) as answer:
            assert b"<html" in answer.read()
    finally:
        close = urllib.request.Request(
            f"{told[0]}close", b"{}", {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(close, timeout=30).close()
        thread.join(60)
    assert not thread.is_alive() and len(told) == 1
