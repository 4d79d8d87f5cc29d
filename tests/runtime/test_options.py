"""Messages call options as whoever reads them gives them: with flags, or with keywords."""

import ast
import inspect
import os
from dataclasses import fields
from pathlib import Path

import pytest

import curate
from curate.data.sources import open_source
from curate.encoders.pretrained import Given
from curate.errors import UsageError
from curate.inspection.config import InspectConfig
from curate.runtime.engines import engine_of
from curate.runtime.engines.base import Unit, attempt
from curate.runtime.engines.local import Local
from curate.runtime.options import FLAGS, TYPED, are_typed, option, typed
from curate.runtime.progress import Together, silent
from tests import command
from tests.generate_cli_docs import commands

ROOT = Path(curate.__file__).parent
GIVEN = [
    ({"label": "none"}, "--label none", "label='none'"),
    ({"label": ...}, "--label", "label"),
    ({"max_bad": 0.5}, "--max-bad 0.5", "max_bad=0.5"),
    ({"port": 1}, "--port 1", "port=1"),
    ({"fresh": True}, "--fresh", "fresh=True"),
    ({"null": True}, "-0", "null=True"),
    ({"called": "NEW"}, "--name NEW", "called='NEW'"),
    ({"on": ["a", "b"]}, "--on a --on b", "on=['a', 'b']"),
    ({"split": "a*"}, "--split a*", "split='a*'"),
    ({"split": "a*", "quoted": True}, "--split 'a*'", "split='a*'"),
    ({"settings": ...}, "--engine-set", "settings"),
    (
        {"overrides": {"plan.repeats": 3, "data.outside": True}, "called": "x"},
        "--set plan.repeats=3 --set data.outside=true --name x",
        "overrides={'plan.repeats': 3, 'data.outside': True}, called='x'",
    ),
    (
        {"overrides": {"probe.sources": ["a", "b"], "data.label": ...}},
        "--set probe.sources=[a, b] --set data.label",
        "overrides={'probe.sources': ['a', 'b'], 'data.label': ...}",
    ),
]


@pytest.mark.parametrize(("given", "flags", "keywords"), GIVEN)
def test_an_option_is_typed_or_passed(given, flags, keywords):
    assert option(**given) == keywords
    with typed():
        assert option(**given) == flags


@pytest.mark.parametrize(("given", "keywords"), [(g, k) for g, _, k in GIVEN if "=" in k])
def test_what_is_passed_is_python(given, keywords):
    values = {name: value for name, value in given.items() if name != "quoted"}
    assert eval(f"dict({keywords})") == values


def test_a_block_leaves_things_as_they_were_also_when_it_fails():
    assert not are_typed()
    with pytest.raises(KeyError), typed():
        with typed(False):
            assert not are_typed()
        assert are_typed()
        raise KeyError
    assert not are_typed()
    assert TYPED not in os.environ


def test_the_command_line_speaks_of_flags_and_the_library_of_keywords(tmp_path):
    (tmp_path / "used" / "x").mkdir(parents=True)
    recipe = {"runs": tmp_path, "called": "used"}
    with pytest.raises(UsageError, match=r"choose another runs folder.*use fresh=True"):
        curate.open_run(str(command.TINY), **recipe)
    refused = command.curate("train", command.TINY, "--runs", tmp_path, "--name", "used")
    assert "choose another --runs folder" in refused.err
    assert "use --fresh, which" in refused.err
    with pytest.raises(UsageError, match=r"leave out label='x'\."):
        open_source("digits", label="x")
    refused = command.curate("shard", "digits", "--label", "x", "--out", tmp_path / "o")
    assert refused.err == "error: source digits has no columns; leave out --label x.\n"


def speak(path, progress):
    """Say how an option is called where a unit is done."""
    path.write_text(option(fresh=True))


@pytest.mark.parametrize(("by_command", "text"), [(True, "--fresh"), (False, "fresh=True")])
def test_processes_speak_as_whoever_started_them_does(tmp_path, by_command, text):
    with typed(by_command):
        units = [Unit(f"u{i}", speak, {"path": tmp_path / str(i)}) for i in range(2)]
        Local(2).run(units, Together("work", "units", 2, silent), tmp_path)
    assert [(tmp_path / str(i)).read_text() for i in range(2)] == [text] * 2


@pytest.mark.parametrize(("by_command", "text"), [(True, "--fresh"), (False, "fresh=True")])
def test_so_does_a_machine_that_inherits_nothing(tmp_path, by_command, text):
    with typed(by_command):
        unit = Unit("u", speak, {"path": tmp_path / "said"})
    with typed(not by_command):
        assert attempt(unit, lambda done, total: None) is None
        assert are_typed() is not by_command
    assert (tmp_path / "said").read_text() == text


def names_in_messages():
    """Yield the names of all options that a message of the library speaks of."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="option"), keywords=keywords):
                    yield from (keyword.arg for keyword in keywords if keyword.arg != "quoted")


def test_every_option_of_a_message_is_there_for_both():
    functions = [getattr(curate, name) for name in curate.__all__]
    passed = {name for one in [*functions, engine_of] for name in inspect.signature(one).parameters}
    passed |= {field.name for field in fields(Given)} | InspectConfig.model_fields.keys()
    flags = {flag for one in commands().values() for p in one.params for flag in p.opts}
    named = set(names_in_messages())
    assert {"label", "fresh", "overrides", "called", "quoted"} - named == {"quoted"}
    assert named - passed == set()
    assert {FLAGS.get(n, f"--{n.replace('_', '-')}") for n in named} - flags == set()
