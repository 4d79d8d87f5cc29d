"""Which samples a probe is fitted to and tested on, where only some have a label."""

import hashlib
import logging
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import DataError
from curate.evaluation.probing import probe_set

UIDS = [hashlib.sha256(b"%d" % i).hexdigest()[:32] for i in range(200)]


def index(labels, splits=None):
    return pa.table(
        {
            "uid": UIDS[: len(labels)],
            "label": pa.array(labels, pa.int64()),
            "split": splits or ["train"] * len(labels),
        }
    )


@pytest.mark.parametrize("known", [200, 60])
def test_samples_without_a_label_are_left_out_and_counted(known, caplog):
    caplog.set_level(logging.INFO, logger="curate")
    labels = [i % 2 for i in range(known)] + [None] * (200 - known)
    found = probe_set("self", None, index(labels), None)
    used = Counter(found.train_labels.tolist()) + Counter(found.test_labels.tolist())
    assert used == Counter(labels[:known]) and found.held_out
    uids = {uid.hex() for uid in np.concatenate([found.train, found.test])}
    assert len(uids) == known
    said = f"{200 - known} of 200 samples have no label and are left out"
    assert (said in caplog.text) == (known < 200)


def test_a_test_split_without_labels_is_too_few():
    labels = [i % 2 for i in range(20)] + [None] * 20
    rows = index(labels, ["train"] * 20 + ["test"] * 20)
    with pytest.raises(DataError, match="20 labelled training samples of 2 classes and 0 test"):
        probe_set("self", None, rows, "test")
    assert len(probe_set("self", None, rows, None).train) < 20


def test_where_no_sample_has_a_label_both_ways_out_are_named():
    with pytest.raises(DataError, match=r"none of 9 samples .* data.label.* --set probe.sources="):
        probe_set("self", None, index([None] * 9), None)
