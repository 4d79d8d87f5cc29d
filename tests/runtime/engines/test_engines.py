"""An engine is named, and its settings are its own."""

import sys

import pytest

from curate.errors import ResourceError, UsageError
from curate.runtime.engines import engine_of


def test_local_is_the_processes_of_this_machine():
    assert engine_of("local") is None
    with pytest.raises(UsageError, match="engine='local' has no settings"):
        engine_of("local", {"gpus": "1"})


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("ray", "ray", "ray"), ("slurm", "submitit", "slurm")]
)
def test_what_is_not_installed_is_told_before_anything_else(monkeypatch, name, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ResourceError, match=rf"pip install 'curate\[{extra}\]'"):
        engine_of(name)


@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("slrum", {}, "unknown engine 'slrum'. Did you mean 'slurm'"),
        ("rayon", {}, "unknown engine 'rayon'"),
        ("ray", {"gpu": "0.5"}, "unknown settings 'gpu'. Did you mean 'gpus'"),
        ("ray", {"gpus": "2"}, "settings gpus: .*less than or equal to 1, not '2'"),
        ("slurm", {"time": "4h"}, "settings time: .*integer"),
    ],
)
def test_what_an_engine_has_not_is_refused(name, settings, text):
    with pytest.raises(UsageError, match=text):
        engine_of(name, settings)
