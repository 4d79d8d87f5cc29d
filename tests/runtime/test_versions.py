"""The code that makes artefacts: what is recorded of it, and what a change of it is called."""

from curate.runtime.versions import difference


def test_differences_name_the_leaves_that_changed():
    old = {"a": {"x": 1, "y": [1, 2]}, "b": None}
    new = {"a": {"x": 1, "y": [1, 3]}, "b": 0, "c": "new"}
    assert difference(old, new) == ["a.y: [1, 2] -> [1, 3]", "b: None -> 0", "c: None -> 'new'"]
    assert difference(old, old) == []
