"""Labelled samples are split for a probe by what they are, not by where they lie."""

import logging
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from curate.data.canvas import Canvas
from curate.data.sample import content_uid
from curate.errors import DataError
from curate.evaluation.probing import HELD_OUT, probe_set

UIDS = [content_uid(b"%d" % i) for i in range(1000)]


def split(labels=None, roles=None, *, uids=UIDS, test_role=None):
    canvas = Canvas(np.zeros((len(uids), 1, 1, 1), np.uint8), np.array(uids, dtype="S40"))
    index = pa.table(
        {
            "uid": uids,
            "label": pa.array([i % 2 for i in range(len(uids))] if labels is None else labels,
                              pa.int64()),
            "split": ["train"] * len(uids) if roles is None else roles,
        }
    )  # fmt: skip
    return probe_set("digits", canvas, index, test_role)


def test_a_test_split_is_taken_as_it_is():
    roles = ["train", "train", "test", "extra"] * 250
    made = split(roles=roles, test_role="test")
    wanted = {role: sorted(u for u, r in zip(UIDS, roles, strict=True) if r == role)
              for role in ("train", "test")}  # fmt: skip
    assert [uid.decode() for uid in made.train.tolist()] == wanted["train"]
    assert [uid.decode() for uid in made.test.tolist()] == wanted["test"]
    assert not made.held_out


def test_without_a_test_split_a_fifth_is_held_out_by_content():
    made = split()
    assert made.held_out
    assert abs(len(made.test) / 1000 - HELD_OUT) < 0.04
    again = split(labels=[i % 2 for i in range(1000)][::-1], uids=UIDS[::-1])
    assert again.test.tolist() == made.test.tolist()
    assert again.test_labels.tolist() == made.test_labels.tolist()
    # Copies of an image stand on the side of the image.
    copies = split(uids=[*UIDS, *(f"{uid}-1" for uid in UIDS)])
    held = {uid.decode()[:32] for uid in copies.test.tolist()}
    assert held == {uid.decode() for uid in made.test.tolist()}


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([None] * 1000, r"none of 1,000 samples .* overrides={.probe.sources.: .*probe on="),
        ([None] * 3 + [1] * 997, "of 1 classes"),
        ([1] * 1000, "of 1 classes"),
    ],
)
def test_samples_that_cannot_be_probed_are_refused(labels, text):
    with pytest.raises(DataError, match=text):
        split(labels=labels)


@pytest.mark.parametrize("known", [1000, 300])
def test_samples_without_a_label_are_left_out_and_counted(known, caplog):
    caplog.set_level(logging.INFO, logger="curate")
    labels = [i % 2 for i in range(known)] + [None] * (1000 - known)
    made = split(labels=labels)
    used = Counter(made.train_labels.tolist()) + Counter(made.test_labels.tolist())
    assert used == Counter(labels[:known])
    uids = [uid.decode() for uid in np.concatenate([made.train, made.test]).tolist()]
    assert sorted(uids) == sorted(UIDS[:known])
    said = f"{1000 - known} of 1,000 samples have no label and are left out"
    assert (said in caplog.text) == (known < 1000)


def test_a_test_split_without_labels_is_too_few():
    labels, roles = [0, 1] * 250 + [None] * 500, ["train"] * 500 + ["test"] * 500
    with pytest.raises(DataError, match="500 labelled training samples of 2 classes and 0 test"):
        split(labels=labels, roles=roles, test_role="test")
