"""digits: the images of scikit-learn, in two halves."""

import numpy as np
from sklearn.datasets import load_digits

from curate.data.decoding import picture
from curate.data.sources import open_source


def test_digits_are_the_pixels_of_scikit_learn():
    source = open_source("digits", split="all", data=None)
    found, entries = load_digits(), list(source.entries())
    assert len(entries) == len(list(source.paths())) == 1797
    assert [entry.path for entry in entries] == list(source.paths())
    assert [entry.label for entry in entries] == found.target.tolist()
    assert source.splits == ("train", "test", "all") and source.classes == tuple("0123456789")
    for entry, image in zip(entries[::50], found.images[::50], strict=True):
        pixels = np.asarray(picture(entry.data))
        assert np.array_equal(pixels, np.rint(image / 16 * 255))
    some = list(source.entries(lambda path: path.endswith("7.png")))
    assert some == entries[7::10]
    halves = [open_source("digits", split=split).entries() for split in ("train", "test")]
    assert [entry for half in halves for entry in half] == entries
    assert len(list(open_source("digits", split="train").paths())) == 898
