"""Methods by name: their settings are strict, and no module is imported before it is used."""

import importlib
import subprocess
import sys

import pytest

from curate.encoders import methods
from curate.encoders.methods.base import Method
from curate.errors import UsageError


def test_every_name_has_a_module_with_settings_that_have_defaults():
    for name, module in methods.METHODS.items():
        assert module.rpartition(".")[2] == name.replace("-", "_")
        settings = methods.config(name, {})
        assert isinstance(settings, importlib.import_module(module).Config)


def test_every_module_of_the_shelf_is_registered(pytestconfig):
    shelf = pytestconfig.rootpath / "curate" / "encoders" / "methods"
    stems = {path.stem for path in shelf.glob("*.py")} - {"__init__", "base"}
    assert stems == {name.replace("-", "_") for name in methods.METHODS}


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("simcrl", {}, "Did you mean 'simclr'"),
        ("simclr", {"temprature": 1}, "Did you mean 'temperature'"),
        ("simclr", {"temperature": "hot"}, r"encoder\.temperature: .* \(got 'hot'\)"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(name, settings, message):
    with pytest.raises(UsageError, match=message):
        methods.config(name, settings)


def test_a_method_keeps_the_encoder_that_it_was_built_around():
    from curate.encoders.backbone import Encoder

    encoder = Encoder("convnet", size=8, channels=1)
    made = methods.build("simclr", encoder, methods.config("simclr", {}))
    assert isinstance(made, Method) and made.kept is made.encoder is encoder


def test_importing_the_shelf_imports_no_torch():
    code = "import sys, curate.encoders.methods; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
