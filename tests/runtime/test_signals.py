"""Signals are obeyed at once, or between the steps of what is held."""

import signal

import pytest

from curate.runtime import signals


def test_at_once_where_nothing_is_held():
    with pytest.raises(signals.Stopped) as stopped:
        signals.obey(signal.SIGINT)
    assert stopped.value.number == signal.SIGINT


def test_at_the_end_of_what_is_held():
    done = []
    with pytest.raises(signals.Stopped) as stopped, signals.held() as work:
        assert work.wanted is None
        signals.obey(signal.SIGTERM)
        done.append(work.wanted)
    assert done == [signal.SIGTERM] and stopped.value.number == signal.SIGTERM
    with pytest.raises(signals.Stopped):
        signals.obey(signal.SIGTERM)


def test_an_error_within_is_that_error():
    with pytest.raises(ValueError, match="mine"), signals.held():
        signals.obey(signal.SIGTERM)
        raise ValueError("mine")
    with signals.held() as work:
        assert work.wanted is None
