"""Plans depend on seeds and ids only, keep copies together, and have the sizes asked for."""

import hashlib
import random

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.errors import DataError
from curate.scores.config import FoldsPlan, HalvesPlan, PairPlan, PartsPlan, SubsetsPlan
from curate.scores.plan import ADDED, Later, Plan, build_plan

pytestmark = pytest.mark.numeric


def make_uids(n, prefix="x"):
    return [hashlib.sha256(f"{prefix}{i}".encode()).hexdigest()[:32] for i in range(n)]


def text(uids):
    return [uid.decode() for uid in uids.tolist()]


PLANS = {
    "pair": PairPlan(kind="pair", shared=0.6, candidates=0.15, independent=0.15, extra=0.1),
    "halves": HalvesPlan(kind="halves"),
    "folds": FoldsPlan(kind="folds", folds=5, repeats=2),
    "parts": PartsPlan(kind="parts", parts=4),
    "subsets": SubsetsPlan(kind="subsets", subsets=6, fraction=0.7),
}


@pytest.mark.parametrize("kind", PLANS)
def test_order_on_disk_does_not_matter(kind):
    uids = make_uids(200)
    plan = build_plan(PLANS[kind], uids)
    again = build_plan(PLANS[kind], uids[::-1])
    assert text(plan.uids) == text(again.uids) == sorted(uids)
    assert (plan.inclusion == again.inclusion).all()
    assert (plan.group == again.group).all()


@pytest.mark.parametrize("kind", PLANS)
def test_seed_changes_the_plan(kind):
    uids = make_uids(200)
    other = PLANS[kind].model_copy(update={"seed": 1})
    assert (build_plan(PLANS[kind], uids).inclusion != build_plan(other, uids).inclusion).any()


@pytest.mark.parametrize("kind", PLANS)
def test_exact_copies_fall_on_the_same_side(kind):
    base = make_uids(60)
    uids = base + [f"{u}-{k}" for u in base[:25] for k in (1, 2)]
    plan = build_plan(PLANS[kind], uids)
    rows = {}
    for uid, group, row in zip(plan.uids, plan.group, plan.inclusion, strict=True):
        rows.setdefault(uid[:32], set()).add((group, tuple(row)))
    assert all(len(sides) == 1 for sides in rows.values())


def test_pair_groups_have_their_meaning_and_sizes():
    config = PairPlan(kind="pair", shared=100, candidates=30, independent=20, extra=10)
    plan = build_plan(config, make_uids(170))
    sizes = {g: int((plan.group == g).sum()) for g in "SCIE-"}
    assert sizes == {"S": 100, "C": 30, "I": 20, "E": 10, "-": 10}
    meaning = {"S": (True, True), "C": (True, False), "I": (False, True), "E": (False, False)}
    for group, row in zip(plan.group, plan.inclusion, strict=True):
        assert tuple(row) == meaning.get(group, (False, False))
    assert plan.encoders == ("f", "g")


def test_a_held_out_extra_is_group_e_and_leaves_out_leaks():
    uids = make_uids(50)
    extra = [*make_uids(20, "held out"), uids[0]]
    plan = build_plan(HalvesPlan(kind="halves"), uids, extra)
    assert (plan.group == "E").sum() == 20
    assert not plan.inclusion[plan.group == "E"].any()


def test_folds_leave_each_sample_out_of_exactly_one_encoder_a_repeat():
    plan = build_plan(PLANS["folds"], make_uids(203))
    assert plan.encoders == (*[f"fold{j}" for j in range(5)], *[f"fold{j}-1" for j in range(5)])
    assert ((~plan.inclusion[:, :5]).sum(axis=1) == 1).all()
    assert ((~plan.inclusion[:, 5:]).sum(axis=1) == 1).all()
    sizes = [(plan.group == str(j)).sum() for j in range(5)]
    assert max(sizes) - min(sizes) <= 1
    assert [Plan.repeat(e) for e in ("fold3", "fold3-1")] == [0, 1]


def test_parts_have_each_sample_in_exactly_one_encoder_a_repeat():
    plan = build_plan(PLANS["parts"].model_copy(update={"repeats": 3}), make_uids(203))
    assert plan.encoders[:5] == ("part0", "part1", "part2", "part3", "part0-1")
    for r in range(3):
        assert (plan.inclusion[:, 4 * r : 4 * r + 4].sum(axis=1) == 1).all()
    sizes = plan.inclusion.sum(axis=0)
    assert sizes.max() - sizes.min() <= 1
    assert (plan.group == plan.inclusion[:, :4].argmax(axis=1).astype(str)).all()


@pytest.mark.parametrize("kind", ["folds", "parts", "subsets"])
def test_repeats_draw_anew_and_leave_the_first_ones_alone(kind):
    uids = make_uids(200)
    one, three = (build_plan(PLANS[kind].model_copy(update={"repeats": r}), uids) for r in (1, 3))
    e = len(one.encoders)
    assert three.encoders[:e] == one.encoders
    assert (three.inclusion[:, :e] == one.inclusion).all()
    assert (three.group == one.group).all()
    parts = [three.inclusion[:, r * e : (r + 1) * e] for r in range(3)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert 0.05 < (parts[a] != parts[b]).mean() < 0.6
    assert [p.sum() for p in parts] == [parts[0].sum()] * 3


@pytest.mark.parametrize("kind", ["pair", "halves"])
def test_groups_between_which_delta_is_are_the_same_in_every_repeat(kind):
    plan = build_plan(PLANS[kind].model_copy(update={"repeats": 3}), make_uids(200))
    assert plan.encoders == ("f", "g", "f-1", "g-1", "f-2", "g-2")
    for r in (1, 2):
        assert (plan.inclusion[:, 2 * r : 2 * r + 2] == plan.inclusion[:, :2]).all()


def test_too_few_samples_are_refused_with_the_numbers():
    config = PairPlan(kind="pair", shared=100, candidates=30, independent=20)
    with pytest.raises(DataError, match=r"needs 150 samples .* the data has 20"):
        build_plan(config, make_uids(20))
    with pytest.raises(DataError, match="needs at least 5 samples; the data has 1"):
        build_plan(PLANS["folds"], make_uids(1))
    one = make_uids(1)
    with pytest.raises(DataError, match="trained on no sample"):
        build_plan(HalvesPlan(kind="halves"), [one[0], f"{one[0]}-1"])


def test_a_plan_survives_the_disk(tmp_path):
    from curate.runtime.files import write_table

    plan = build_plan(PLANS["subsets"], make_uids(40), make_uids(5, "e"))
    write_table(tmp_path / "plan.parquet", plan.to_table())
    back = Plan.read(tmp_path / "plan.parquet")
    assert back.kind == "subsets" and back.encoders == plan.encoders
    assert np.array_equal(back.inclusion, plan.inclusion)
    assert back.uids.tolist() == plan.uids.tolist() and back.group.tolist() == plan.group.tolist()
    assert back.members("subset0").tolist() == text(plan.uids[plan.inclusion[:, 0]])


def test_a_damaged_plan_is_named_or_is_another_plan(tmp_path):
    path = tmp_path / "plan.parquet"
    pq.write_table(build_plan(PLANS["folds"], make_uids(40)).to_table(), path)
    whole, draw = path.read_bytes(), random.Random(0)
    tried = [whole[:cut] for cut in range(0, len(whole), 61)]
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        tried.append(bytes(damaged))
    named = 0
    for content in tried:
        path.write_bytes(content)
        try:
            Plan.read(path)
        except DataError as error:
            named += 1
            assert str(path) in str(error) and "curate train" in str(error)
    assert named > len(whole) // 61
    path.unlink()
    with pytest.raises(DataError, match=r"plan.parquet is missing; make it again"):
        Plan.read(path)


@pytest.mark.parametrize("kind", PLANS)
def test_what_comes_later_changes_no_repeat_before_it(kind):
    config = PLANS[kind].model_copy(update={"repeats": 3})
    old, new = np.array(make_uids(200), "S"), np.array(make_uids(90, prefix="new"), "S")
    before = build_plan(config, old)
    width = len(before.encoders) // 3
    # Later than every repeat: seen by none.
    after = build_plan(config, old, later=[Later(new, 3)])
    mine = np.isin(after.uids, old)
    assert after.encoders == before.encoders
    assert (after.inclusion[mine] == before.inclusion).all()
    assert (after.group[mine] == before.group).all()
    assert not after.inclusion[~mine].any() and (after.group[~mine] == ADDED).all()
    # From the last repeat on they are drawn as others are.
    after = build_plan(config, old, later=[Later(new, 2)])
    assert (after.inclusion[mine][:, : 2 * width] == before.inclusion[:, : 2 * width]).all()
    assert (after.group[mine] == before.group).all()
    assert not after.inclusion[~mine][:, : 2 * width].any() and ADDED not in after.group
    share = [after.inclusion[some][:, 2 * width :].mean() for some in (mine, ~mine)]
    assert share[0] == pytest.approx(share[1], abs=0.1) and share[1] > 0
    if kind in ("pair", "halves"):
        assert (after.inclusion[mine] == before.inclusion).all()
    else:
        whole = build_plan(config, np.concatenate([old, new]))
        assert (after.inclusion[:, 2 * width :] == whole.inclusion[:, 2 * width :]).all()
    # And whatever is added afterwards leaves that as it is.
    more = np.array(make_uids(10, prefix="more"), "S")
    twice = build_plan(config, old, later=[Later(new, 2), Later(more, 3)])
    there = ~np.isin(twice.uids, more)
    assert (twice.inclusion[there] == after.inclusion).all()
    assert not twice.inclusion[~there].any()


def test_too_few_for_a_pair_are_in_no_group():
    plan = build_plan(PLANS["pair"], make_uids(200), later=[Later(np.array(make_uids(2, "n")), 0)])
    new = np.isin(plan.uids, np.array(make_uids(2, "n"), "S"))
    assert set(plan.group[new]) == {"-"} and not plan.inclusion[new].any()
