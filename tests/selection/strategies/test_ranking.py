"""The two ends of a ranking leave nothing out."""

import pytest

from curate.selection.strategies.ranking import bottom, top

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("n", [1, 100, 299])
def test_what_the_top_leaves_is_the_bottom(some, n):
    assert (top(some, n, 0) == ~bottom(some, 300 - n, 0)).all()
    assert some.scores[top(some, n, 0)].min() >= some.scores[bottom(some, 300 - n, 0)].max()
