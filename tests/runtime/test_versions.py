"""The code that makes artefacts: what is recorded of it, and what a change of it is called."""

import platform
import re
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
    assert "--fresh" in str(caught.value)
