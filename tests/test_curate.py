"""The package itself: the public names, each at its place, loaded when it is first used."""

import ast
from pathlib import Path

import pytest

import curate


def test_every_public_name_is_the_function_of_its_module():
    assert sorted(curate.PLACES) == curate.__all__ == dir(curate)
    for name, module in curate.PLACES.items():
        found = getattr(curate, name)
        assert (found.__module__, found.__name__) == (module, name)
        assert found.__doc__


def test_type_checkers_see_the_names_that_are_loaded():
    tree = ast.parse(Path(curate.__file__).read_text())
    (block,) = (n for n in tree.body if isinstance(n, ast.If))
    seen = {a.name: line.module for line in block.body for a in line.names}
    assert seen == curate.PLACES


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'scoer'"):
        _ = curate.scoer
    assert not hasattr(curate, "PLACE")
