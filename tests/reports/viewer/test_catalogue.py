"""Images of the view are shrunk to fit."""

import pytest
from PIL import Image

from curate.reports.viewer.catalogue import shrunk


@pytest.mark.parametrize(
    ("size", "box", "want"),
    [
        ((8, 8), (0, 0, 8, 8), (8, 8)),
        ((400, 100), (0, 0, 400, 100), (192, 48)),
        ((101, 401), (0.5, 0.0, 101.0, 401.0), (48, 192)),
        ((4000, 1), (0, 0, 4000, 1), (192, 1)),
    ],
)
def test_an_image_is_shrunk_to_fit_and_never_enlarged(size, box, want):
    assert shrunk(Image.new("RGB", size), box, side=192, channels=3).size == want
    assert shrunk(Image.new("L", size), box, side=192, channels=1).mode == "L"
