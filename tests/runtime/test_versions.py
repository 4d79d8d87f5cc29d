"""The code that makes artefacts: what is recorded of it, and what a change of it is called."""

import ast
import platform
import re
import shutil
import sys
from importlib.metadata import version

import pytest

from curate.errors import MismatchError
from curate.runtime import versions
from curate.runtime.versions import difference


def test_differences_name_the_leaves_that_changed():
    old = {"a": {"x": 1, "y": [1, 2]}, "b": None}
    new = {"a": {"x": 1, "y": [1, 3]}, "b": 0, "c": "new"}
    assert difference(old, new) == ["a.y: [1, 2] -> [1, 3]", "b: None -> 0", "c: None -> 'new'"]
    assert difference(old, old) == []


def test_the_versions_are_those_that_are_installed():
    found = versions.versions()
    assert found["python"] == platform.python_version()
    assert found["torch"] == version("torch") and found["curate"] == version("curate")
    assert set(found) <= {"python", *versions.PACKAGES}


def test_a_training_hangs_on_few_packages_and_on_the_code_itself():
    made = versions.of_stage("train")
    assert set(made) == {*versions.SHAPING, "curate code"}
    assert re.fullmatch("[0-9a-f]{12}", made["curate code"])
    assert versions.of_stage("train") == made


def test_other_code_is_refused_with_what_changed():
    made = versions.of_stage("train")
    versions.refuse_other_code(made, "train", "stage train")
    with pytest.raises(MismatchError) as caught:
        versions.refuse_other_code({**made, "torch": "1.0"}, "train", "stage train")
    assert str(caught.value).startswith("stage train was made by other code: torch: '1.0' -> ")
    assert "fresh=True" in str(caught.value)


def _copied(tmp_path, number):
    # A folder is read once a process, so that each look at it is at a copy of it.
    source = versions.HOME if number == 0 else tmp_path / str(number - 1) / "curate"
    # What this very installation has kept is no part of a first copy.
    without = shutil.ignore_patterns("__pycache__") if number == 0 else None
    return shutil.copytree(source, tmp_path / str(number) / "curate", ignore=without)


def _count_parsed(monkeypatch):
    parsed = []
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda *given: parsed.append(given) or parse(*given))
    return parsed


def test_a_module_is_parsed_once_until_its_text_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    parsed = _count_parsed(monkeypatch)
    first = versions.code_of("train", _copied(tmp_path, 0))
    assert len(parsed) > 10
    parsed.clear()
    assert versions.code_of("train", _copied(tmp_path, 1)) == first
    assert parsed == []
    home = _copied(tmp_path, 2)
    training = home / "encoders" / "training.py"
    training.write_text(training.read_text() + "\nANOTHER = 1\n")
    assert versions.code_of("train", home) != first
    assert len(parsed) == 1


def test_what_was_kept_of_modules_is_used_only_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    first = versions.code_of("train", _copied(tmp_path, 0))
    home = _copied(tmp_path, 1)
    [kept] = (home / "__pycache__").glob("digests.*.json")
    kept.write_text(kept.read_text().replace('"bare": "', '"bare": "0', 1))
    assert versions.code_of("train", home) == first


def test_nothing_is_kept_where_python_may_keep_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    home = shutil.copytree(
        versions.HOME, tmp_path / "curate", ignore=shutil.ignore_patterns("__pycache__")
    )
    versions.code_of("train", home)
    assert not list(tmp_path.rglob("__pycache__"))
