"""Copies among the samples of a selection: which are redundant, which leak, and what is refused."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import DataError, UsageError
from curate.selection import copied

A, B, C, D = (letter * 32 for letter in "abcd")
UIDS = pa.array([A, B, f"{B}-1", C, D])


def written(folder, groups, leaks=()):
    """Write the tables of a folder of copies: (uid, group, width, size), and leaking pairs."""
    uid, group, width, size = zip(*groups, strict=True) if groups else ((),) * 4
    ints = [pa.array(v, pa.int64()) for v in (group, width, width, size)]
    names = ["uid", "group", "width", "height", "size"]
    pq.write_table(pa.table([pa.array(uid, pa.string()), *ints], names), folder / copied.GROUPS)
    pairs = [*((*pair, True) for pair in leaks), (C, D, False)]
    columns = dict(zip(["uid", "other_uid", "leak"], zip(*pairs, strict=True), strict=True))
    pq.write_table(pa.table(columns), folder / copied.PAIRS)
    return folder


def test_the_largest_of_the_samples_in_a_group_stands(tmp_path):
    folder = written(tmp_path, [(A, 0, 32, 9), (C, 0, 32, 10), ("e" * 32, 0, 64, 99), (D, 1, 8, 8)])
    assert copied.redundant(folder, UIDS).tolist() == [True, False, False, False, False]


def test_of_two_samples_of_one_file_one_stands(tmp_path):
    folder = written(tmp_path, [(B, 0, 32, 9), (B, 0, 32, 9)])
    assert copied.redundant(folder, UIDS).tolist() == [False, False, True, False, False]


def test_no_copies_are_none(tmp_path):
    folder = written(tmp_path, [])
    assert not copied.redundant(folder, UIDS).any()
    assert not copied.leaking(folder, UIDS).any()


def test_either_end_of_a_leak_leaks_and_other_pairs_do_not(tmp_path):
    folder = written(tmp_path, [], [(A, "e" * 32), ("f" * 32, B)])
    assert copied.leaking(folder, UIDS).tolist() == [True, True, True, False, False]


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"holds no groups\.parquet: name a folder that"):
        copied.redundant(tmp_path, UIDS)
    (tmp_path / copied.PAIRS).write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"cannot read .*pairs.parquet"):
        copied.leaking(tmp_path, UIDS)
