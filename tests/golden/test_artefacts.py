"""A change of the code's shape changes no result: the tiny run gives the bytes it gave before."""

import platform

import pytest

from tests.golden.artefacts import KINDS, digests, machine, recorded


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc/cpuinfo")
def test_a_run_gives_the_bytes_that_were_recorded_on_this_kind_of_machine(tiny_made):
    known = recorded()
    if machine() not in known:
        pytest.skip(f"no bytes are recorded for {machine()}")
    run = tiny_made[1] / "tiny"
    assert all(list(run.glob(kind)) for kind in KINDS)
    assert digests(run) == known[machine()]
