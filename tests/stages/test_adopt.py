"""Encoders trained elsewhere: a run of them is scored as if curate had trained them."""

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from scipy.stats import spearmanr

import curate
from curate.data.canvas import open_canvas
from curate.encoders.views.apply import augment
from curate.errors import MismatchError, UsageError
from curate.runs import dataset
from curate.runs.run import Run
from curate.runtime import randomness
from curate.scores.plan import Plan
from curate.stages.adopt import Encoder as Adopting
from curate.stages.adopt import Given
from tests.command import curate as typed
from tests.rendered import mixed

pytestmark = pytest.mark.numeric

PAIR = {"kind": "pair", "shared": 0.5, "candidates": 0.25, "independent": 0.25}
DATA = {"data.extra": "test", "data.limit": 80}
SCORE = {"score.views": 3, "encoder.representation": "full", "data.channels": 3}
OURS = Given(mean=[0.485, 0.456, 0.406], deviation=[0.229, 0.224, 0.225])


def trained(runs, **settings):
    """A scored pair of f and g that curate trained."""
    given = {**DATA, **SCORE, "plan": PAIR, "train.epochs": 1, "train.warmup_epochs": 0}
    given |= {"train.threads": 1, "train.batch_size": 16, **settings}
    run = curate.open_run("digits", runs=runs, overrides=given, called="theirs")
    curate.score(run, device="cpu", workers=1)
    return run


def exported(run, home, form):
    """Files of plain names, and lists, of a run's encoders."""
    plan, out = Plan.read(run.path / "plan.parquet"), {}
    for name in plan.encoders:
        tensors = run.encoder(name).state_dict()
        plain = {k.removeprefix("net."): t.contiguous() for k, t in tensors.items()}
        weights = home / f"{name}.{form}"
        if form == "pt":
            torch.save({"state_dict": {f"module.{k}": t for k, t in plain.items()}}, weights)
        else:
            save_file(plain, weights)
        (home / f"{name}.txt").write_text("\n".join(plan.members(name)))
        out[name] = weights
    return out


def adopted(runs, files, home, backbone, given=OURS, **settings):
    encoders = {
        name: Adopting(str(path), str(home / f"{name}.txt"), backbone, given)
        for name, path in files.items()
    }
    overrides = {**DATA, **SCORE, **settings}
    return curate.adopt("ours", "digits", encoders, recipe="digits", runs=runs, overrides=overrides)


def numbers(run, column):
    return run.scores().sort_by("uid")[column].to_numpy()


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A folder with a trained and scored pair of transformers, and its files."""
    home = tmp_path_factory.mktemp("vit")
    settings = {"encoder.backbone": "vit_tiny", "encoder.patch": 8, "data.size": 16}
    run = trained(home / "runs", **settings)
    return home, run, exported(run, home, "safetensors")


def test_plain_state_dicts_of_timm_score_the_same(vit, tmp_path):
    home, theirs, files = vit
    runs = tmp_path / "runs"
    made = adopted(runs, files, home, "timm:vit_tiny_patch16_224")
    ours = Run.open(made.run)
    counts = {name: len(Plan.read(theirs.path / "plan.parquet").members(name)) for name in "fg"}
    assert {name: encoder.saw for name, encoder in made.encoders.items()} == counts
    assert (made.images, made.scored) == (160, 40)
    curate.score(ours, device="cpu")
    for column in ("memorization", "delta", "align_in", "align_out", "se_views"):
        a, b = numbers(theirs, column), numbers(ours, column)
        assert np.array_equal(np.isnan(a), np.isnan(b))
        assert np.nanmax(np.abs(a - b)) < 1e-6
    assert numbers(theirs, "group").tolist() == numbers(ours, "group").tolist()
    assert ours.summary().tests != ()


def test_a_residual_network_under_torchvisions_names_scores_the_same(tmp_path):
    # Above 64 pixels our network is torchvision's.
    settings = {"encoder.backbone": "resnet18", "data.size": 72, "data.limit": 40}
    theirs = trained(tmp_path / "runs", **settings, **{"score.views": 2})
    names = set(torchvision.models.resnet18().state_dict())
    files = exported(theirs, tmp_path, "pt")
    for path in files.values():
        found = torch.load(path, weights_only=True)["state_dict"]
        assert {key.removeprefix("module.") for key in found} == names - {"fc.weight", "fc.bias"}
    given = Given(size=72, mean=OURS.mean, deviation=OURS.deviation)
    more = {"data.limit": 40, "score.views": 2}
    made = adopted(tmp_path / "runs", files, tmp_path, "timm:resnet18", given, **more)
    ours = Run.open(made.run)
    curate.score(ours, device="cpu")
    gap = numbers(theirs, "memorization") - numbers(ours, "memorization")
    assert np.nanmax(np.abs(gap)) < 1e-6


def test_the_authors_loop_ranks_alike(vit, tmp_path):
    home, _, files = vit
    ours = Run.open(adopted(tmp_path / "runs", files, home, "timm:vit_tiny_patch16_224").run)
    curate.score(ours, device="cpu")
    table = ours.scores().sort_by("uid")
    scored = table.filter(np.isfinite(table["memorization"].to_numpy()))
    index = curate.load_recipe("digits")
    rows = Plan.read(ours.path / "plan.parquet")
    assert set(scored["uid"].to_pylist()) <= set(rows.uids.astype(str))
    canvas = open_canvas(ours.path / "cache" / "canvas.npy", dataset.index(ours, ["uid"]))
    spec, key = index.measuring_views(), randomness.stream(ours.recipe.score.seed, "measure")
    f, g = (ours.encoder(name) for name in "fg")
    found = []
    for uid in scored["uid"].to_pylist():
        # One image and one view at a time, as the authors' code has it.
        image = torch.from_numpy(canvas.array[canvas.rows(np.array([uid]))].copy())
        ids = torch.from_numpy(randomness.uid_keys(np.array([uid])).astype(np.int64))
        apart = {}
        for name, encoder in (("f", f), ("g", g)):
            anchor = torch.nn.functional.normalize(encoder(image).flatten(), dim=0)
            distances = []
            for view in range(1, ours.recipe.score.views + 1):
                shown = augment(image, spec, key=key, keys=ids, view=view)
                z = torch.nn.functional.normalize(encoder.forward_float(shown).flatten(), dim=0)
                distances.append(float(torch.linalg.vector_norm(anchor - z)))
            apart[name] = np.mean(distances)
        found.append(apart["g"] - apart["f"])
    in_f = np.isin(scored["uid"].to_numpy().astype(object), rows.members("f"))
    loop = np.where(in_f, found, -np.array(found))
    assert len(loop) == 40
    assert spearmanr(loop, scored["raw"].to_numpy()).statistic > 0.999


def test_everything_works_on_adopted_encoders(vit, tmp_path):
    home, _, files = vit
    made = adopted(tmp_path / "runs", files, home, "timm:vit_tiny_patch16_224")
    run, runs = Run.open(made.run), ("--runs", tmp_path / "runs")
    for words in (
        ("score", "ours", *runs),
        ("inspect", "ours", *runs),
        ("select", "ours", "--top", "20", "--unscored", "keep", *runs),
        ("localize", "ours", *runs),
        ("agree", "ours", "ours", *runs),
        ("ledger", "ours", *runs),
        ("train", "ours", *runs),
        ("report", "ours", *runs),
        ("clean", *runs),
        ("verify", run.path, "--full"),
    ):
        done = typed(*words)
        assert done.code == 0, (words, done.err)
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "trained elsewhere, timm:vit_tiny_patch16_224" in page
    assert "do not apply to these encoders" in page
    # What would train them is refused, and what does not is not.
    for words, code, said in (
        (("score", "ours", "--until", "reliability=0.9"), 2, "were adopted, and --until would"),
        (("train", "ours", "--dry-run"), 2, "there is nothing to train"),
        (("score", "ours", "--set", "data.size=24"), 4, "Its encoders were adopted"),
        (("score", "ours", "--set", "train.lr=0.1"), 0, "trains no encoder of the plan"),
        (("score", "ours", "--set", "views.measure=rotate-90"), 0, "measures 2 encoders again"),
    ):
        done = typed(*words, *runs)
        assert (done.code, said in done.err) == (code, True), done.err


def test_images_that_are_added_are_unseen_and_change_no_score(vit, tmp_path):
    home, _, files = vit
    run = Run.open(adopted(tmp_path / "runs", files, home, "timm:vit_tiny_patch16_224").run)
    curate.score(run, device="cpu")
    before, summary = run.scores(), (run.path / "scores.json").read_bytes()
    for name, data in mixed(3):
        (tmp_path / "more").mkdir(exist_ok=True)
        (tmp_path / "more" / name).write_bytes(data)
    done = typed("add", run.path, tmp_path / "more", "--label", "none")
    assert done.code == 0, done.err
    assert f"next: curate inspect {run.path}" in done.err
    after = Run.open(run.path).scores()
    new = pc.equal(after["group"], "added")
    assert after.filter(pc.invert(new)).equals(before)
    assert (run.path / "scores.json").read_bytes() == summary
    rows = after.filter(new).to_pylist()
    assert len(rows) == 3
    assert all(r["align_out"] > 0 and r["n_in"] == 0 and r["memorization"] is None for r in rows)
    assert curate.score(Run.open(run.path), device="cpu").already
    assert typed("inspect", run.path).code == 0
    assert typed("verify", run.path, "--full").code == 0


def test_a_second_time_measures_nothing_again(vit, tmp_path):
    home, _, files = vit
    given = (tmp_path / "runs", files, home, "timm:vit_tiny_patch16_224")
    run = Run.open(adopted(*given).run)
    curate.score(run, device="cpu")
    scores = (run.path / "scores.parquet").read_bytes()
    times = {p: p.stat().st_mtime_ns for p in run.path.glob("alignment/*")}
    adopted(*given)
    assert curate.score(run, device="cpu").already
    assert {p: p.stat().st_mtime_ns for p in run.path.glob("alignment/*")} == times
    assert (run.path / "scores.parquet").read_bytes() == scores


def test_what_was_damaged_is_named_and_adopted_again(vit, tmp_path):
    home, _, files = vit
    given = (tmp_path / "runs", files, home, "timm:vit_tiny_patch16_224")
    run = Run.open(adopted(*given).run)
    (run.path / "encoders" / "f" / "weights.safetensors").unlink()
    done = typed("score", "ours", "--runs", tmp_path / "runs")
    assert done.code == 3
    assert "weights.safetensors is missing; adopt the encoders of run" in done.err
    adopted(*given)
    assert not curate.score(run, device="cpu").already


def test_lists_are_uids_paths_manifests_or_splits(vit, tmp_path):
    _, theirs, files = vit
    plan = Plan.read(theirs.path / "plan.parquet")
    picked = curate.select(theirs, strategy="top", count=20, unscored="drop")
    paths = tmp_path / "paths.txt"
    index = dataset.index(theirs, ["uid", "path"])
    mine = np.isin(index["uid"].to_numpy().astype(object), plan.members("f"))
    paths.write_text("".join(f"./{p}\n" for p in index["path"].filter(mine).to_pylist()))
    for saw, n in (
        (str(paths), 60),
        (str(picked.path), 20),
        ("split:test", 80),
        ("split:train", 80),
        ("all", 160),
        ("none", 0),
    ):
        encoders = {
            "f": Adopting(str(files["f"]), saw, "timm:vit_tiny_patch16_224", OURS),
            "g": Adopting(str(files["g"]), "none", "timm:vit_tiny_patch16_224", OURS),
        }
        settings = {**SCORE, "data.extra": "test", "data.limit": 80}
        made = curate.adopt(
            "lists", "digits", encoders, recipe="digits", runs=tmp_path, overrides=settings
        )
        assert made.encoders["f"].saw == n, saw


def test_one_encoder_alone_says_what_cannot_be_known(vit, tmp_path):
    home, _, files = vit
    made = adopted(tmp_path, {"f": files["f"]}, home, "timm:vit_tiny_patch16_224")
    assert made.scored == 0
    done = typed("score", "ours", "--runs", tmp_path, "--device", "cpu")
    assert done.code == 0
    assert "0 samples scored by 1 encoders" in done.out
    assert "nothing can be known: no image was seen by some of the encoders" in done.out


def test_images_come_to_the_canvas_as_the_largest_encoder_wants_them(vit, tmp_path):
    home, _, files = vit
    larger = Given(size=24, mean=[0.5] * 3, deviation=[0.5] * 3, interpolation="nearest")
    encoders = {
        name: Adopting(str(files[name]), str(home / f"{name}.txt"), "vit_tiny", given)
        for name, given in (("f", OURS), ("g", larger))
    }
    given = {"recipe": "digits", "runs": tmp_path, "overrides": {**DATA, **SCORE}}
    run = Run.open(curate.adopt("sides", "digits", encoders, **given).run)
    data = run.recipe.data
    assert (data.size, data.channels, data.interpolation) == (24, 3, "nearest")
    curate.score(run, device="cpu")
    # Digits have 8 pixels a side, each of which is now a square of 3 equal ones.
    pixels = np.load(run.path / "cache" / "canvas.npy", mmap_mode="r")
    assert np.array_equal(pixels, pixels[..., 1::3, 1::3].repeat(3, axis=2).repeat(3, axis=3))
    assert run.summary().n_scored == 40


def test_names_tell_the_repeats_of_several(vit, tmp_path):
    home, _, files = vit
    encoders = {}
    for repeat in ("", "-1", "-2"):
        for name in "fg":
            saw = str(home / f"{name}.txt")
            weights = str(files[name])
            encoders[f"{name}{repeat}"] = Adopting(weights, saw, "timm:vit_tiny_patch16_224", OURS)
    made = curate.adopt(
        "many", "digits", encoders, recipe="digits", runs=tmp_path, overrides={**DATA, **SCORE}
    )
    run = Run.open(made.run)
    assert Plan.read(run.path / "plan.parquet").repeats.tolist() == [0, 0, 1, 1, 2, 2]
    curate.score(run, device="cpu")
    # Three times the same: what they say together is what each says.
    assert run.summary().reliability.encoders is not None


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ((), 2, "encoder f: say what it was trained on, --saw f=LIST"),
        (("--saw", "f=none"), 2, "f.safetensors has the weights, such as --backbone timm:resnet50"),
        (("--saw", "f=none", "--backbone", "timm:resnet18"), 3, "has 0 of the network's 120"),
        (("--saw", "f=none", "--backbone", "resnet18"), 3, "has 0 of the network's 120"),
        (("--saw", "f=none", "--backbone", "timm:resnet81"), 2, "Did you mean"),
        (("--saw", "f=there.txt", "--backbone", "VIT"), 2, "there is no list there.txt"),
        (("--saw", "f=STRANGE", "--backbone", "VIT"), 3, "1 of 61 names of"),
        (("--saw", "f=EMPTY", "--backbone", "VIT"), 3, "is empty; say none"),
        (("--saw", "f=split:spring", "--backbone", "VIT"), 2, "has no split 'spring'"),
        (("--saw", "f=none", "--backbone", "VIT", "--size", "f=big"), 2, "number of pixels"),
        (("--saw", "f=none", "--backbone", "VIT", "--mean", "f=a"), 2, "expected numbers"),
        (("--saw", "f=none", "--backbone", "VIT", "--std", "0,0,0"), 2, "deviation is"),
        (("--saw", "f=none", "--saw", "g=none", "--backbone", "VIT"), 2, "say of which encoder"),
        (("--saw", "f=none", "--encoder", "f=x.pt"), 2, "is given twice"),
        (("--saw", "f=none", "--encoder", "x.pt"), 2, "expected NAME=FILE"),
    ],
)
def test_what_a_user_gets_wrong_is_a_line_or_two(vit, tmp_path, options, code, said):
    home, _, files = vit
    (tmp_path / "strange.txt").write_text((home / "f.txt").read_text() + "\nnobody.png\n")
    (tmp_path / "empty.txt").write_text("\n")
    here = {
        "VIT": "timm:vit_tiny_patch16_224",
        "f=STRANGE": f"f={tmp_path / 'strange.txt'}",
        "f=EMPTY": f"f={tmp_path / 'empty.txt'}",
    }
    words = [here.get(word, word) for word in options]
    done = typed(
        *("adopt", "mine", "digits", "--encoder", f"f={files['f']}", "--recipe", "digits"),
        *("--runs", tmp_path / "runs", *words),
    )
    assert done.code == code, done.err
    message = done.err[done.err.index("error: ") :]
    assert said in message
    assert len(message.strip().splitlines()) <= 2
    assert not list((tmp_path / "runs").glob(".adopt-*"))


def test_another_runs_name_is_not_taken(vit, tmp_path):
    _, theirs, files = vit
    encoders = {"f": Adopting(str(files["f"]), "all", "timm:vit_tiny_patch16_224", OURS)}
    with pytest.raises(MismatchError, match="trained itself"):
        curate.adopt("theirs", "digits", encoders, recipe="digits", runs=theirs.path.parent)
    curate.adopt("mine", "digits", encoders, recipe="digits", runs=tmp_path)
    with pytest.raises(MismatchError, match=r"other settings: data\.limit"):
        curate.adopt(
            "mine", "digits", encoders, recipe="digits", runs=tmp_path, overrides={"data.limit": 9}
        )
    with pytest.raises(UsageError, match="should match pattern"):
        curate.adopt("a/b", "digits", encoders, recipe="digits", runs=tmp_path)
    with pytest.raises(UsageError, match="no encoder can be called group"):
        group = {"group": encoders["f"]}
        curate.adopt("new", "digits", group, recipe="digits", runs=tmp_path)
