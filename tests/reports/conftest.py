import pytest

from tests.reports.made_run import PLANS, add_comparison, add_probe, add_selection, make_run


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Runs by the kind of their plan, with nothing but scores and neighbours; not to be changed."""
    home = tmp_path_factory.mktemp("runs")
    return {kind: make_run(home / kind, kind=kind) for kind in PLANS}


@pytest.fixture(scope="session")
def full_run(tmp_path_factory):
    """A run of folds with selections, a comparison and a probe; not to be changed."""
    path = make_run(tmp_path_factory.mktemp("full") / "full")
    add_selection(path, "drop-50", "drop-top", keep=220)
    add_selection(path, "top-100", "top", keep=100)
    add_comparison(path, seeds=3)
    add_probe(path, "encoders/fold0")
    return path


@pytest.fixture
def run(tmp_path):
    """A small run of folds that a test may change."""
    return make_run(tmp_path / "digits", n=120)
