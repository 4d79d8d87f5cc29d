"""The paper's tables are filled by runs, and the commands for what is missing can be pasted."""

import json
import shlex
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from scipy import stats

import curate as library
from curate.runtime.yaml_text import read_yaml
from tests.command import TINY, curate
from tests.scenes import write_scenes

pytestmark = pytest.mark.numeric

PAIR = {"kind": "pair", "shared": 30, "candidates": 20, "independent": 20, "extra": 10}
SMALL = {
    "cifar10-mae": {"plan": PAIR},
    "cifar10-simclr": {"plan": PAIR, "encoder": {"temperature": 0.1}},
    "cifar10-supervised": {"plan": PAIR, "encoder": {"method": "supervised"}},
    "cifar10-feldman": {
        "plan": {"kind": "subsets", "subsets": 3, "fraction": 0.7},
        "encoder": {"method": "supervised"},
    },
    "cifar10-mae-along": {"plan": PAIR, "train": {"epochs": 6, "snapshots": 1}},
    "cifar10-simclr-halves": {
        "plan": {"kind": "halves"},
        "train": {"epochs": 1},
        "probe": {"sources": ["self", "folder:few"], "kinds": ["linear"]},
    },
    "imagenet-100k-mae-halves": {
        "plan": {"kind": "halves"},
        "train": {"epochs": 1},
        "probe": {
            "kinds": ["linear"],
            "seg": {"epochs": 1, "width": 8, "threads": 1},
            "depth": {"epochs": 1, "width": 8, "threads": 1},
        },
    },
}
"""What stands in the place of the paper's recipes: tests/tiny.yaml with these settings."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Work in a folder whose own recipes of the paper's names are tiny."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    for name, settings in SMALL.items():
        recipe = read_yaml(TINY.read_text()) | {"name": name, "select": {"fraction": 0.5}}
        recipe["score"] = {"views": 2, "calibrate": False}
        recipe["select"]["unscored"] = "keep"
        for section, values in settings.items():
            recipe[section] = values if section == "plan" else recipe.get(section, {}) | values
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 10, 8, 8), dtype=np.uint8)
    for label, images in enumerate(pixels):
        few = tmp_path / "few" / str(label)
        few.mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(few / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(name, *more):
    """Return a table as JSON has it, its figures by row and quantity."""
    result = curate("table", name, "--json", *more)
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    return facts, {(f["row"], f["quantity"]): f for f in facts["figures"]}


def paste(commands):
    """Type commands as a shell reads them; trainings in this process, which is sooner done."""
    for line in commands:
        words = shlex.split(line)
        assert words[0] == "curate"
        alone = ["--workers", "1"] if words[1] in ("score", "train", "compare") else []
        result = curate(*words[1:], *alone)
        assert result.code == 0, f"{line}: {result.err}"


def of(recipe, facts):
    """Return the commands that make runs of a recipe, and what follows of those."""
    return [line for line in facts["commands"] if recipe in line]


def scores(name, runs="runs"):
    return json.loads(Path(runs, name, "scores.json").read_text())


def test_without_any_run_everything_is_missing_and_that_is_no_error(place):
    for name in [*map(str, range(1, 18)), *(f"fig-{n}" for n in range(2, 8))]:
        facts, figures = shown(name, "--runs", "nowhere")
        assert figures and facts["table"] == name
        assert {f["mean"] for f in figures.values()} == {None}
        # What runs could make is missing and has commands; the rest says why not.
        missing = [f for f in figures.values() if f["missing"]]
        assert bool(facts["commands"]) == bool(missing)
        assert {f["ours"] for f in missing} <= {"missing"}
        assert all(f["missing"] or f["ours"] != "missing" for f in figures.values())
    assert not Path("nowhere").exists()


def test_what_curate_cannot_make_is_said_and_has_no_command(place):
    facts, figures = shown("fig-5")
    assert figures["MNIST", "share (%)"]["ours"] == "not yet: curate has no recipe for MNIST"
    assert not figures["MNIST", "share (%)"]["missing"] and of("mnist", facts) == []


def test_what_is_no_table_is_one_line(place):
    result = curate("table", "18")
    assert result.code == 2 and result.out == ""
    assert "unknown table '18'" in result.err and result.err.count("\n") == 1


def test_settings_are_those_of_the_recipes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, figures = shown("6")
    assert figures["MAE", "epochs"]["ours"] == figures["MAE", "epochs"]["paper"] == "300/600"
    assert float(figures["MAE", "learning rate"]["ours"]) == 1.2e-3
    assert figures["SimCLR", "batch"]["ours"] == "4096"


def test_group_means_and_tests_are_filled_by_the_commands(place):
    runs = "my runs"
    facts, figures = shown("16", "--runs", runs)
    assert len(facts["commands"]) == 3 and figures["C>0", "t"]["paper"] == "101.2"
    paste(facts["commands"])
    facts, figures = shown("16", "--runs", runs)
    assert facts["commands"] == [] and facts["notes"] == []
    names = ["cifar10-mae", "cifar10-mae-seed-1", "cifar10-mae-seed-2"]
    tests = [{t["name"]: t for t in scores(n, runs)["tests"]} for n in names]
    for name, sign in (("C>0", 1), ("I<0", -1), ("C>E", 1)):
        values = [sign * t[name]["statistic"] for t in tests]
        ours = figures[name, "t"]
        assert ours["runs"] == names and ours["seeds"] == 3
        assert ours["mean"] == pytest.approx(np.mean(values))
        assert ours["sd"] == pytest.approx(np.std(values, ddof=1))
    assert figures["S=0", "p"]["mean"] == pytest.approx(np.mean([t["S=0"]["p"] for t in tests]))

    # The same runs are all that Figure 5 and the middle row of Table 9b need of this recipe.
    _, figures = shown("9", "--runs", runs)
    values = [scores(name, runs)["normalised_mean"] for name in names]
    ours = figures["b: mask ratio 75 %", "SSLMem"]
    assert (ours["paper"], ours["missing"]) == ("0.307", False)
    assert ours["mean"] == pytest.approx(np.mean(values))
    facts, figures = shown("fig-5", "--runs", runs)
    assert of("cifar10-mae", facts) == []
    shares = []
    for name in names:
        table = pq.read_table(Path(runs, name, "scores.parquet")).to_pylist()
        m = np.array([row["memorization"] for row in table if row["group"] == "C"])
        shares.append(100 * (m > 0.2 * (m.max() - m.min())).mean())
    assert figures["CIFAR10, above 0.2", "share (%)"]["mean"] == pytest.approx(np.mean(shares))


def test_a_training_is_followed_along_with_its_probes(place):
    facts, _ = shown("fig-2")
    first = [line for line in facts["commands"] if "seed" not in line]
    paste(first)
    facts, figures = shown("fig-2")
    assert not set(first) & set(facts["commands"])
    assert {f["seeds"] for f in figures.values()} == {1}
    along = json.loads(Path("runs/cifar10-mae-along/snapshots.json").read_text())["epochs"]
    assert [at["epoch"] for at in along] == [1, 2, 3, 4, 5, 6]
    for k, at in enumerate(along, 1):
        row = f"b: epoch {k}00"
        assert figures[row, "SSLMem"]["mean"] == pytest.approx(at["normalised_mean"])
        assert figures[row, "loss"]["mean"] == pytest.approx(at["loss"])
        encoder = Path("runs/cifar10-mae-along/encoders/f")
        encoder = encoder if k == 6 else encoder / f"snapshots/{k:05d}"
        (probed,) = library.probe(encoder, on=["self"], kinds=["linear"], device="cpu").results
        assert figures[row, "linear accuracy (%)"]["mean"] == pytest.approx(100 * probed.accuracy)
    groups = scores("cifar10-mae-along")["groups"]
    means = {g: figures[f"c: mean of S_{g}", "mean"]["mean"] for g in "CSIE"}
    assert means["C"] == pytest.approx(scores("cifar10-mae-along")["normalised_mean"])
    for group in "SIE":
        ratio = groups[group]["mean"] / groups["C"]["mean"]
        assert means[group] / means["C"] == pytest.approx(ratio)


def test_a_probe_of_an_encoder_that_was_trained_anew_since_does_not_count(place):
    paste(["curate score cifar10-mae-along", "curate probe runs/cifar10-mae-along/encoders/f"])
    row = "b: epoch 600", "linear accuracy (%)"
    assert shown("fig-2")[1][row]["seeds"] == 1
    paste(["curate score cifar10-mae-along --retrain --set train.lr=1e-3"])
    facts, figures = shown("fig-2")
    assert figures[row]["mean"] is None
    probing = "curate probe runs/cifar10-mae-along/encoders/f --on self --kind linear"
    assert probing in facts["commands"]
    assert any("train.lr: 0.002 -> 0.001" in note for note in facts["notes"])


def test_deja_vu_is_what_curate_measures(place):
    facts, _ = shown("4")
    first = ["curate score cifar10-mae", "curate measure cifar10-mae --kinds deja-vu"]
    assert facts["commands"][:2] == first
    paste(first)
    facts, figures = shown("4")
    measured = json.loads(Path("runs/cifar10-mae/measures.json").read_text())["measures"]
    ours = figures["CIFAR10, MAE", "Déjà Vu (%)"]
    assert ours["mean"] == pytest.approx(100 * measured["deja-vu"]["mean"])
    assert (ours["seeds"], ours["sd"], ours["paper"]) == (1, None, "27.4")
    assert not set(first) & set(facts["commands"])


def test_tops_are_those_of_classifiers_over_a_pair_and_over_subsets(place):
    facts, _ = shown("12")
    first = [line for line in facts["commands"] if "seed" not in line]
    assert first == [
        "curate score cifar10-supervised",
        "curate measure cifar10-supervised --kinds feldman-softmax",
        "curate score cifar10-feldman",
        "curate measure cifar10-feldman --kinds feldman-softmax",
    ]
    paste(first)
    facts, figures = shown("12")
    assert not set(first) & set(facts["commands"])
    assert of("cifar10-feldman", facts)[:2] == [
        "curate score cifar10-feldman --seed 1 --name cifar10-feldman-seed-1",
        "curate measure cifar10-feldman-seed-1 --kinds feldman-softmax",
    ]
    for prefix, name, group, of_all in (
        ("", "cifar10-supervised", "C", 5000),
        ("over subsets, ", "cifar10-feldman", "-", 50000),
    ):
        rows = pq.read_table(f"runs/{name}/scores.parquet").to_pylist()
        by_uid = {
            row["uid"]: row["feldman_softmax"]
            for row in pq.read_table(f"runs/{name}/measures.parquet").to_pylist()
        }
        both = [
            (row["memorization"], by_uid[row["uid"]])
            for row in rows
            if row["group"] == group and None not in (row["memorization"], by_uid[row["uid"]])
        ]
        assert len(both) > 15
        for top, paper in ((10, "50.0"), (200, "44.0")):
            n = max(2, round(top * len(both) / of_all))
            tops = [set(np.argsort([-pair[k] for pair in both])[:n]) for k in (0, 1)]
            ours = figures[f"{prefix}top {top}", "overlap (%)"]
            assert (ours["paper"], ours["seeds"], ours["runs"]) == (paper, 1, [name])
            assert ours["mean"] == pytest.approx(100 * len(tops[0] & tops[1]) / n)
            highest = sorted(both, reverse=True)[:n]
            tau = stats.kendalltau(*np.array(highest).T).statistic
            ours = figures[f"{prefix}top {top}", "Kendall's tau in the top"]
            assert ours["mean"] == pytest.approx(tau)


def test_agreement_is_of_candidates_of_runs_with_one_plan(place):
    pair = "MAE (ViT-tiny) and SimCLR (ResNet-50)", "Kendall's tau"
    facts, _ = shown("13")
    paste([line for line in facts["commands"] if line in
           {"curate score cifar10-mae", "curate score cifar10-simclr"}])  # fmt: skip
    paste(["curate score cifar10-simclr --seed 1 --name another"])
    facts, figures = shown("13")
    ours = figures[pair]
    assert ours["runs"] == ["cifar10-mae", "cifar10-simclr"] and ours["seeds"] == 1
    tables = [
        {row["uid"]: row for row in pq.read_table(f"runs/{name}/scores.parquet").to_pylist()}
        for name in ours["runs"]
    ]
    uids = [uid for uid, row in tables[0].items() if row["group"] == "C"]
    a, b = ([table[uid]["memorization"] for uid in uids] for table in tables)
    assert len(uids) == 20
    assert ours["mean"] == pytest.approx(stats.kendalltau(a, b).statistic)
    # Seeds that are there are not made again; new ones begin with the run that is there.
    assert of("cifar10-simclr", facts) == []
    assert of("another", facts) == ["curate score another --seed 2 --name another-seed-2"]


def test_removals_are_filled_in_the_shares_of_the_paper(place):
    facts, _ = shown("17")
    score, compare = facts["commands"]
    arms = "--strategies all,top --seeds 3"
    begin = "curate compare cifar10-simclr-halves --pool f --remove"
    assert compare == f"{begin} 1000,3000,5000,9000,13000 {arms}"
    paste([score])
    (compare,) = shown("17")[0]["commands"]
    assert compare == f"{begin} 2,5,8,14,21 {arms}"  # of f's 40
    paste([compare])
    facts, figures = shown("17")
    assert facts["commands"] == [compare]  # STL10 is no source of the tiny recipe: still missing
    (path,) = Path("runs/cifar10-simclr-halves/comparisons").glob("*/comparison.json")
    arms = json.loads(path.read_text())["arms"]
    for row, remove in (("24k most memorized", 2), ("12k most memorized", 21)):
        for quantity, source in (("CIFAR10", "self"), ("CIFAR100", "folder:few")):
            (arm,) = (
                a for a in arms
                if (a["strategy"], a["remove"], a["source"], a["kind"])
                == ("top", remove, source, "linear")
            )  # fmt: skip
            ours = figures[row, f"accuracy on {quantity} (%)"]
            assert (ours["seeds"], ours["missing"]) == (3, False)
            assert ours["mean"] == pytest.approx(100 * arm["mean"])
            assert ours["sd"] == pytest.approx(100 * arm["sd"])
        assert figures[row, "accuracy on STL10 (%)"]["missing"]
    (whole,) = {
        arm["mean"]
        for arm in arms
        if (arm["strategy"], arm["source"], arm["kind"]) == ("all", "self", "linear")
    }
    assert figures["25k (all)", "accuracy on CIFAR10 (%)"]["mean"] == pytest.approx(100 * whole)


def test_segmentation_and_depth_after_removals_are_filled(place):
    pytest.importorskip(
        "segmentation_models_pytorch", reason="segmentation-models-pytorch is not installed"
    )
    begin = "curate compare imagenet-100k-mae-halves --pool f --remove"
    arms = "--strategies all,drop-top,random --seeds 3 --on"
    score, compare = shown("3")[0]["commands"]
    assert compare == f"{begin} 10000,20000 {arms} seg:ade20k"
    paste([score])
    for name, quantity, on, scale in (
        ("3", "mIoU", "seg:ade20k", 100),
        ("10", "RMSE", "depth:nyuv2", 1),
    ):
        (compare,) = shown(name)[0]["commands"]
        assert compare == f"{begin} 8,16 {arms} {on}"  # of f's 40
        write_scenes(place / on.partition(":")[2], train=8, test=4)
        paste([compare])
        facts, figures = shown(name)
        assert facts["commands"] == []
        made = [
            arm
            for path in Path("runs/imagenet-100k-mae-halves/comparisons").glob("*/comparison.json")
            for arm in json.loads(path.read_text())["arms"]
        ]
        for row, strategy, remove in (
            ("none removed", "all", 8),
            ("10k memorized removed", "drop-top", 8),
            ("20k random removed", "random", 16),
        ):
            (arm,) = (
                a for a in made
                if (a["strategy"], a["remove"], a["kind"]) == (strategy, remove, quantity)
            )  # fmt: skip
            ours = figures[row, quantity]
            assert (ours["seeds"], ours["missing"]) == (3, False)
            assert ours["mean"] == pytest.approx(scale * arm["mean"])
            assert ours["sd"] == pytest.approx(scale * arm["sd"])


def test_a_smaller_run_counts_whatever_its_name_and_is_told(place):
    small = "curate score cifar10-mae --name mine --set train.epochs=1 --set data.limit=70"
    paste([f"{small} --set plan.shared=24 --set plan.candidates=16 --set plan.independent=16"])
    facts, figures = shown("2")
    assert figures["C>S", "t"]["runs"] == ["mine"]
    (note,) = [n for n in facts["notes"] if "differs" in n]
    assert (
        "cifar10-mae" in note and "train.epochs: 2 -> 1" in note and "data.limit: 80 -> 70" in note
    )
    assert facts["commands"] == [
        f"curate score mine --seed {seed} --name mine-seed-{seed}" for seed in (1, 2)
    ]
    paste(facts["commands"])
    facts, figures = shown("2")
    assert figures["C>S", "t"]["seeds"] == 3 and facts["commands"] == []

    # One of the paper's own settings comes first, however few seeds it has.
    paste(["curate score cifar10-mae"])
    facts, figures = shown("2")
    assert figures["C>S", "t"]["runs"] == ["cifar10-mae"] and facts["notes"] == []


def test_a_run_without_scores_is_gone_on_with_and_a_taken_name_is_not_used(place):
    paste(
        ["curate train cifar10-mae --name begun", "curate train cifar10-simclr --name cifar10-mae"]
    )
    facts, figures = shown("2")
    assert figures["C>S", "t"]["mean"] is None
    assert facts["commands"] == [
        "curate score begun",
        "curate score begun --seed 1 --name begun-seed-1",
        "curate score begun --seed 2 --name begun-seed-2",
    ]
    paste(["curate score begun"])
    assert shown("2")[1]["C>S", "t"]["runs"] == ["begun"]
    fresh, _ = shown("2", "--runs", "elsewhere")
    paste(["curate train cifar10-simclr --name cifar10-mae --runs elsewhere"])
    facts, _ = shown("2", "--runs", "elsewhere")
    assert facts["commands"][0] == f"{fresh['commands'][0]} --name cifar10-mae-again"


def test_words_are_lines_and_the_next_step_is_the_first_command(place):
    result = curate("table", "2")
    lines = result.out.splitlines()
    assert lines[0].startswith("Table 2 of arXiv 2401.12233: t-tests")
    assert lines[1] == "C>S, t: paper 86.8, ours missing"
    assert lines[-4:-2] == ["what is missing is made by:", "curate score cifar10-mae"]
    assert result.err.splitlines()[-1].startswith("next: curate score cifar10-mae")
    assert curate("table", "fig-3").out.startswith("Figure 3 of arXiv 2401.12233")
    imagenet = json.loads(curate("table", "1", "--imagenet", "/big/im net", "--json").out)
    assert "curate score imagenet-100k-mae --data '/big/im net'" in imagenet["commands"]
