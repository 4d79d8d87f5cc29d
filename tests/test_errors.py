"""Errors: one exit code a class, and a name that is nearly right gets the right one."""

import pytest

from curate import errors


def test_every_class_has_an_exit_code_of_its_own():
    classes = [errors.CurateError, *errors.CurateError.__subclasses__()]
    codes = {made.__name__: made.exit_code for made in classes}
    assert sorted(codes.values()) == list(range(1, 9))
    assert codes["UsageError"] == 2 and codes["DataError"] == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("simcrl", "unknown method 'simcrl'. Did you mean 'simclr'? Known: dino, mae, simclr."),
        ("xyz", "unknown method 'xyz'. Known: dino, mae, simclr."),
    ],
)
def test_an_unknown_name_offers_the_nearest_and_lists_all(name, text):
    assert str(errors.unknown("method", name, ["simclr", "mae", "dino"])) == text


def test_where_there_are_too_many_names_a_command_lists_them():
    error = errors.unknown("recipe", "x", ["a", "b"], listed_by="curate recipes")
    assert isinstance(error, errors.UsageError)
    assert str(error) == "unknown recipe 'x'. 'curate recipes' lists all."
