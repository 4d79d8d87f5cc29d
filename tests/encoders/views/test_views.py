"""View sets by name, and single settings of them replaced."""

import pytest

from curate.encoders import views
from curate.encoders.views import VIEWS, ViewSpec
from curate.errors import UsageError


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_a_view_set_is_what_its_name_says_but_for_what_is_replaced(name):
    assert views.spec(name, {}) == VIEWS[name]
    changed = views.spec(name, {"mask": 0.25})
    assert changed == VIEWS[name].model_copy(update={"mask": 0.25})
    assert isinstance(changed, ViewSpec)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("digts", {}, "unknown view set 'digts'. Did you mean 'digits'"),
        ("digits", {"maks": 0.5}, "unknown key of 'views' 'maks'. Did you mean 'mask'"),
        ("digits", {"mask": "much"}, r"views\.mask: .* \(got 'much'\)"),
    ],
)
def test_what_does_not_fit_is_named(name, settings, message):
    with pytest.raises(UsageError, match=message):
        views.spec(name, settings)
