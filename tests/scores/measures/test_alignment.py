"""alignment, on a case that is worked by hand."""

from curate.scores.measures import MEASURES
from tests.scores.measures.by_hand import samples


def test_alignment_is_what_it_is_given_and_asks_no_encoder():
    measure = MEASURES["alignment"](samples(align=[0.5, 0.25]))
    assert not measure.wants(0)
    assert measure.values().tolist() == [0.5, 0.25]
