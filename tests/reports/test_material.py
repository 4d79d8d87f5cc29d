import numpy as np
import pytest

from curate.errors import DataError
from curate.reports.material import gather
from curate.runtime.files import read_json, write_json
from tests.reports.made_run import add_comparison, add_probe, add_selection


def test_rows_and_uids_find_each_other(runs):
    found = gather(runs["folds"])
    ranked = found.ranked()
    m = found.numbers["memorization"][ranked]
    assert len(m) == found.summary["n_scored"] and (np.diff(m) <= 0).all()
    uids = found.uids(ranked[:7])
    assert list(found.rows(uids).items()) == list(zip(uids, ranked[:7].tolist(), strict=True))
    assert found.rows(["0" * 32]) == {}


def test_unscored_samples_are_not_ranked(runs):
    found = gather(runs["pair"])
    assert {*found.group[found.ranked()]} == {"C", "I"}


def test_groups_are_in_the_order_of_a_reader(runs):
    assert [name for name, _ in gather(runs["pair"]).groups()] == ["C", "S", "E", "I"]
    found = gather(runs["folds"])
    found.summary["groups"] = {str(k): {} for k in (10, 2, 0)} | {"all": {}}
    assert [name for name, _ in found.groups()] == ["0", "2", "10", "all"]


def test_decimals_follow_the_standard_errors(runs):
    found = gather(runs["folds"])
    se = found.numbers["se"]
    assert found.decimals == 3
    found.numbers["se"] = se / 100
    assert found.decimals == 5
    found.numbers["se"] = se * np.nan
    assert found.decimals == 3
    found.numbers["memorization"] = 0 * se
    assert found.decimals == 4


def test_manifests_are_counted_and_judged(run):
    n = gather(run).summary["n_scored"]
    for strategy in ("top", "drop-top", "bottom", "random"):
        add_selection(run, strategy, strategy, keep=n - 20)
    found = {s.name: s for s in gather(run).selections}
    assert {(s.kept, s.dropped) for s in found.values()} == {(n - 20, 20)}
    assert found["random"].expected_share is None
    # Keeping the top n - 20 and keeping the bottom n - 20 leave out 20 at either end.
    shares = [found[name].expected_share for name in ("top", "drop-top", "bottom")]
    assert shares[0] > shares[1] and all(0.5 < share < 1 for share in shares)


def test_a_run_without_scores_says_what_to_type(run):
    (run / "scores.parquet").unlink()
    with pytest.raises(DataError, match=r"has no scores yet; type 'curate score digits'"):
        gather(run)


BREAKABLE = [
    "run.json",
    "scores.json",
    "scores.parquet",
    "inspect.parquet",
    "plan.parquet",
    "shards/dataset.json",
    "manifests/top.json",
    "manifests/top.parquet",
    "comparisons/remove-50/comparison.json",
    "probes/f-on-self.json",
    "records/train/fold0.json",
]


@pytest.mark.parametrize("content", [b"", b"{}", b"{\x00", None], ids=["empty", "{}", "{0", "cut"])
@pytest.mark.parametrize("name", BREAKABLE)
def test_a_broken_file_is_named(run, name, content):
    add_selection(run, "top", "top", keep=50)
    add_comparison(run, seeds=2)
    add_probe(run, "f")
    file = run / name
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(DataError) as caught:
        gather(run)
    assert file.stem in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["tests", "reliability", "encoders", "n_scored"])
def test_a_summary_that_lacks_something_is_named(run, key):
    facts = read_json(run / "scores.json")
    facts.pop(key)
    write_json(run / "scores.json", facts)
    with pytest.raises(DataError, match=rf"scores\.json lacks {key}"):
        gather(run)
