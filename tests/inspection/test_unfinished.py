"""A search for copies that was cut short goes on behind what it had matched."""

import numpy as np
import pytest

from curate.inspection import duplicates, matching, thumbnails
from curate.inspection.unfinished import PREFIX, Unfinished
from tests.inspection.test_duplicates import SCENES, stacked


@pytest.fixture
def images(monkeypatch):
    monkeypatch.setattr(matching, "PART", 16)
    monkeypatch.setattr(matching, "BLOCK", 8)
    return thumbnails.of_canvas(stacked([*SCENES[:36], *SCENES[:6]]))


class CutError(Exception):
    """Stands for a signal."""


def forget():
    """A process remembers its last search, and that is another one now."""
    duplicates.find(thumbnails.of_canvas(stacked(SCENES[:2])))


def until(most):
    """Return what progress told, and a callback that stops the search of so many images."""
    told = []

    def progress(what, done, total):
        if what == "copies":
            told.append(done)
            if done >= most:
                raise CutError

    return told, progress


def cut_short(images, home):
    forget()
    told, progress = until(24)
    with pytest.raises(CutError):
        duplicates.find(images, home=home, progress=progress)
    return told


def test_a_search_goes_on_behind_what_was_matched(images, tmp_path):
    forget()
    whole = duplicates.find(images)
    assert len(whole) >= 6
    assert cut_short(images, tmp_path) == [0, 8, 16, 24]
    (folder,) = tmp_path.glob(f"{PREFIX}*")
    assert len([*folder.iterdir()]) == 1
    told, progress = until(1000)
    again = duplicates.find(images, home=tmp_path, progress=progress)
    # The first part comes whole, and nothing of it is matched again.
    assert told[:4] == [0, 16, 24, 32]
    for name in ("a", "b", "similarity", "evidence", "mirrored", "cropped", "recoloured"):
        assert getattr(again, name).tobytes() == getattr(whole, name).tobytes(), name
    assert again.search == whole.search
    assert not [*tmp_path.iterdir()]


def test_a_search_of_other_images_takes_nothing(images, tmp_path):
    cut_short(images, tmp_path)
    others = images.take(np.arange(1, len(images)))
    assert cut_short(others, tmp_path) == [0, 8, 16, 24]
    assert len([*tmp_path.glob(f"{PREFIX}*")]) == 1


def test_a_broken_part_is_matched_again(tmp_path):
    unfinished = Unfinished.of(tmp_path, "these images")
    columns = {"a": np.arange(3), "evidence": np.ones(3, np.float32)}
    nothing = {name: values[:0] for name, values in columns.items()}
    unfinished.keep(0, columns, nothing)
    found, decoys = unfinished.part(0)
    assert found["a"].tolist() == [0, 1, 2] and found["evidence"].dtype == np.float32
    assert len(decoys["a"]) == 0 and unfinished.part(2048) is None
    (file,) = unfinished.folder.iterdir()
    file.write_bytes(file.read_bytes()[:50])
    assert unfinished.part(0) is None
    unfinished.end()
    assert not unfinished.folder.exists()
