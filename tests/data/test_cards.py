"""Splits of files are those that a README describes, and nothing it says hurts."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.data import cards
from curate.errors import UsageError

PATHS = ["data/a-0.parquet", "data/a-1.parquet", "data/b-0.parquet", "extra/deep/c.parquet"]


def card(root, head, body="# A data set\n"):
    (root / "README.md").write_text(f"---\n{head}\n---\n{body}")
    return root


def of(root, paths=PATHS):
    found = cards.splits_of(root, paths)
    return found and {split: list(some) for split, some in found.of.items()}


ONE = "configs:\n- config_name: default\n  data_files:\n"
SAID = {
    "splits": (
        ONE + "  - {split: test, path: data/b-*.parquet}\n  - {split: train, path: 'data/a-*'}",
        {"train": PATHS[:2], "test": PATHS[2:3]},
    ),
    "a list of paths": (
        ONE + "  - split: train\n    path: [data/a-0.parquet, data/a-1.parquet]",
        {"train": PATHS[:2]},
    ),
    "by name": (
        ONE + "    train: data/a-0.parquet\n    eval: ['**/c.parquet']",
        {"train": PATHS[:1], "eval": PATHS[3:]},
    ),
    "one pattern": ("configs:\n- data_files: '**'", {"train": PATHS}),
    "patterns": ("configs:\n- data_files: [data/b-*, extra/**]", {"train": PATHS[2:]}),
    "a folder": ("configs:\n- data_dir: extra", {"train": PATHS[3:]}),
    "the default of several": (
        "configs:\n- {config_name: x, data_files: data/a-*}\n"
        "- {config_name: y, default: true, data_files: ./data/b-0.parquet}",
        {"train": PATHS[2:3]},
    ),
    "of several, one that is here": (
        "configs:\n- {config_name: x, data_files: gone/*}\n"
        "- {config_name: y, data_files: 'data/b-?.parquet'}",
        {"train": PATHS[2:3]},
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_splits_are_those_of_the_card(tmp_path, name):
    head, want = SAID[name]
    found = cards.splits_of(card(tmp_path, head), PATHS)
    assert {split: list(some) for split, some in found.of.items()} == want
    assert {*found.strays} == {*PATHS} - {path for some in want.values() for path in some}
    assert found.why.startswith("by README.md")


@pytest.mark.parametrize(
    "head",
    ["license: mit", "configs: 7",
     "configs: [7, {}]", "configs:\n- data_files: 7", "a: [",
     "configs:\n- data_files: gone/*", "configs: &x [*x]", "- a",
     "configs:\n- data_files: {a: [1]}",
     "configs:\n- data_files: data/*.csv"],
)  # fmt: skip
def test_a_card_that_says_nothing_of_the_files_is_none(tmp_path, head):
    assert of(card(tmp_path, head)) is None


def test_no_card_is_none(tmp_path):
    assert of(tmp_path) is None
    (tmp_path / "README.md").write_bytes(b"# no head\xff\n---\nconfigs: 1\n---\n")
    assert of(tmp_path) is None


def test_several_data_sets_without_a_default_are_refused(tmp_path):
    card(tmp_path, "configs:\n" + "".join(
        f"- {{config_name: {n}, data_files: data/{n}-*}}\n" for n in "ab"))  # fmt: skip
    with pytest.raises(UsageError, match=r"several data sets \(configurations\): a, b. .*split='"):
        of(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("a/*", "a/b", True), ("a/*", "a/b/c", False), ("a/**", "a/b/c", True), ("**", "a/b", True),
        ("**/c", "c", True), ("**/c", "a/b/c", True), ("a/**/c", "a/c", True), ("*", "a", True),
        ("[ab]-?", "b-1", True), ("a", "a/b", False), ("**/" * 200 + "x", "a/" * 200 + "y", False),
        ("*a" * 40, "a" * 200 + "b", False),
    ],
)  # fmt: skip
def test_stars_stay_within_folders_and_cost_little(pattern, path, fits):
    assert cards.fits(pattern, path) is fits


@settings(
    max_examples=80, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(st.text(max_size=80))
def test_whatever_stands_in_a_card(tmp_path, text):
    for content in (text, f"---\nconfigs:\n- data_files: {text}\n---\n"):
        (tmp_path / "README.md").write_bytes(content.encode("utf-8", "surrogatepass"))
        of(tmp_path)
