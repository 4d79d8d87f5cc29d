"""Orders and places against plain sorts and dictionaries."""

import numpy as np
import pyarrow as pa
import pytest

from curate.data.ordering import (
    order_of_texts,
    places,
    repeats,
    sorted_by_uid,
    words,
)
from curate.data.sample import content_uid


def hashes(n):
    return [content_uid(i.to_bytes(4, "little")) for i in range(n)]


TEXTS = {
    "hashes": hashes(1000),
    "hashes and repeats": [f"{uid}{end}" for uid in hashes(300) for end in ("", "-1", "-10", "-2")],
    "equal beginnings": [f"train/n01440764_{i}.JPEG" for i in range(500)],
    "short and long": ["", "a", "ab", "a\0", "abcdefgh", "abcdefgh\0", "abcdefghi", "b"],
    "not ASCII": ["grün", "gruen", "é", "e", "日本", "日", "zz", "~", "\x7f"],
    "one": ["x"],
    "none": [],
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_sorted_by_their_bytes(name):
    texts = np.random.default_rng(0).permutation(np.array(TEXTS[name], dtype=object)).tolist()
    array = pa.array(texts, pa.string())
    wanted = sorted(texts, key=lambda text: text.encode())
    assert array.take(pa.array(order_of_texts(array))).to_pylist() == wanted
    # As part of a longer array, too, whose buffers it shares.
    part = pa.array(["zzz", *texts, "0"]).slice(1, len(texts))
    assert part.take(pa.array(order_of_texts(part))).to_pylist() == wanted
    table = sorted_by_uid(pa.table({"uid": part, "row": np.arange(len(texts))}))
    assert table["uid"].to_pylist() == wanted
    assert [texts[i] for i in table["row"].to_pylist()] == wanted
    assert sorted_by_uid(table).equals(table) and not repeats(table["uid"])


def test_words_are_numbers_of_eight_bytes():
    array = pa.array(["abcdefghij", "k", ""])
    wanted = [int.from_bytes(t.ljust(8, b"\0"), "big") for t in (b"abcdefgh", b"k", b"")]
    assert words(array).tolist() == wanted
    assert words(array, 1).tolist() == [int.from_bytes(b"ij\0\0\0\0\0\0", "big"), 0, 0]


@pytest.mark.parametrize("name", TEXTS)
def test_places_are_those_of_a_dictionary(name):
    texts = TEXTS[name]
    among = np.random.default_rng(2).permutation(np.array(texts, dtype=object)).tolist()
    among = among[len(among) // 4 :]
    at = {text: i for i, text in enumerate(among)}
    found = places(pa.array(texts, pa.string()), pa.array(among, pa.string()))
    assert found.to_pylist() == [at.get(text) for text in texts]
    assert places(pa.array([], pa.string()), pa.array(among, pa.string())).to_pylist() == []


def test_repeats_are_seen():
    assert repeats(pa.array(["a", "b", "b"])) and repeats(pa.chunked_array([["a"], ["a"]]))
    assert not repeats(pa.array(["a", "aa", "b"])) and not repeats(pa.array([], pa.string()))
    uid = content_uid(b"x")
    table = sorted_by_uid(pa.table({"uid": [uid, content_uid(b"y"), uid]}))
    assert repeats(table["uid"])
