"""Units know what they were made from: what changed is redone, and nothing else is."""

import json
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import curate
from curate.runs import late, recipe_files, units
from curate.runs.recipe import load_recipe
from curate.runs.run import Run
from curate.runtime import versions
from curate.runtime.files import file_sha256, sealed, write_json
from tests.command import TINY
from tests.command import curate as typed

DEVICE = ("--device", "cpu")


def again(runs, *settings, command="score", code=0):
    """Type a command on the tiny run with other settings."""
    given = [word for setting in settings for word in ("--set", setting)]
    result = typed(command, "tiny", "--runs", runs, *DEVICE, "--workers", "1", *given)
    assert result.code == code, result.err
    return result


def digests(run, pattern):
    return {p.relative_to(run).as_posix(): file_sha256(p) for p in sorted(run.glob(pattern))}


def stamps(run, pattern):
    return {p.relative_to(run).as_posix(): p.stat().st_mtime_ns for p in run.glob(pattern)}


# Late settings


@pytest.mark.parametrize(
    ("settings", "says", "redone"),
    [
        (
            ["views.measure=rotate-90"],
            "measures 2 encoders again, trains no encoder",
            {"align", "score"},
        ),
        (
            ["score.distance=cosine"],
            "measures 2 encoders again, trains no encoder",
            {"align", "score"},
        ),
        (["encoder.representation=pooled"], "trains no encoder", {"align", "score"}),
        (["score.calibrate=false"], "scores again", {"score"}),
        (["inspect.neighbours=5"], "inspects again", set()),
        (["select.fraction=0.25"], "selects again", set()),
        (["compare.seeds=5"], "compares again", set()),
        (["probe.kinds=[knn]"], "compares again", set()),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else "",
)
def test_settings_that_train_nothing_are_taken_late(tiny_runs, settings, says, redone):
    run = tiny_runs / "tiny"
    weights, made = stamps(run, "encoders/*/*"), stamps(run, "records/**/*.json")
    result = again(tiny_runs, *settings)
    assert says in result.err
    assert stamps(run, "encoders/*/*") == weights
    changed = {
        name.split("/")[1].removesuffix(".json")
        for name, stamp in stamps(run, "records/**/*.json").items()
        if made.get(name) != stamp
    }
    assert changed == redone
    # The same again does nothing.
    assert "nothing to do" in again(tiny_runs, *settings).err


def test_taking_a_setting_back_gives_what_was_there(tiny_runs):
    run = tiny_runs / "tiny"
    before = digests(run, "scores.*") | digests(run, "alignment/*")
    again(tiny_runs, "views.measure=rotate-90")
    assert digests(run, "scores.parquet") != {"scores.parquet": before["scores.parquet"]}
    again(tiny_runs, "views.measure=train")
    assert digests(run, "scores.*") | digests(run, "alignment/*") == before


@pytest.mark.parametrize("setting", ["train.lr=0.1", "data.limit=70", "plan.folds=3"])
def test_settings_that_train_anew_are_refused_unless_asked_for(tiny_runs, setting):
    result = again(tiny_runs, setting, code=4)
    key, _, value = setting.partition("=")
    assert f"{key}: " in result.err and f"-> {value}" in result.err
    assert "train 2 encoders anew (about " in result.err
    assert "--retrain" in result.err and "--name" in result.err
    assert "nothing to do" in again(tiny_runs).err


def test_retrain_does_it_in_place_and_a_name_beside(tiny_runs):
    run = tiny_runs / "tiny"
    before = digests(run, "encoders/*/weights.safetensors")
    given = ("--runs", tiny_runs, *DEVICE, "--workers", "1", "--set", "train.lr=0.01")
    assert typed("score", TINY, *given, "--name", "other").code == 0
    assert digests(run, "encoders/*/weights.safetensors") == before
    beside = digests(tiny_runs / "other", "encoders/*/weights.safetensors")
    assert beside.keys() == before.keys() and not set(beside.values()) & set(before.values())
    assert typed("score", "tiny", *given, "--retrain").code == 0
    assert digests(run, "encoders/*/weights.safetensors") == beside
    assert digests(run, "scores.parquet") == digests(tiny_runs / "other", "scores.parquet")


def test_a_run_beside_another_begins_with_its_settings(tmp_path):
    where = ("--runs", tmp_path, *DEVICE)
    own = ("--set", "train.epochs=3", "--limit", "60")
    assert typed("score", TINY, *where, *own).code == 0
    beside = typed("score", "tiny", *where, "--name", "noisy", "--set", "views.measure=noise")
    assert beside.code == 0 and "train: " not in beside.err
    run = Run.open(tmp_path / "noisy")
    assert run.recipe.train.epochs == 3 and run.scores().num_rows == 60
    assert run.facts()["overrides"]["views.measure"] == "noise"
    assert curate.open_run("noisy", runs=tmp_path).recipe.data.limit == 60


def test_other_images_may_be_asked_for_with_retrain(tiny_runs):
    again(tiny_runs, "data.limit=70", code=4)
    given = ("--runs", tiny_runs, *DEVICE, "--set", "data.limit=70", "--retrain")
    assert typed("score", "tiny", *given).code == 0
    assert Run.open(tiny_runs / "tiny").scores().num_rows == 70


def test_more_and_fewer_repeats_keep_the_encoders_that_stay(tiny_runs):
    run = tiny_runs / "tiny"
    before = stamps(run, "encoders/*/weights.safetensors")
    again(tiny_runs, "plan.repeats=2")
    after = stamps(run, "encoders/*/weights.safetensors")
    assert len(after) == 4 and after.items() >= before.items()
    four = digests(run, "scores.parquet")
    again(tiny_runs, "plan.repeats=1")
    assert json.loads((run / "scores.json").read_text())["encoders"] == ["fold0", "fold1"]
    again(tiny_runs, "plan.repeats=2")
    assert stamps(run, "encoders/*/weights.safetensors") == after
    assert digests(run, "scores.parquet") == four


def test_scores_of_other_settings_are_not_selected_by(tiny_runs):
    curate.open_run("tiny", runs=tiny_runs, overrides={"views.measure": "rotate-90"})
    result = typed("select", "tiny", "--top", "3", "--runs", tiny_runs)
    assert result.code == 3
    assert "older than its settings" in result.err and "curate score tiny" in result.err


# The store


SETS = ("train", "rotate-90", "noise", "crop-resize", "masking")
"""Five sets of measuring views, as Table 8 of arXiv 2401.12233 compares on one pair."""


def test_runs_that_only_measure_otherwise_share_what_they_train(tmp_path):
    runs, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    for name in SETS:
        given = ("--runs", runs, *DEVICE, "--name", f"by-{name}", "--set", f"views.measure={name}")
        assert typed("score", TINY, *given).code == 0
    weights = [digests(runs / f"by-{name}", "encoders/*/weights.safetensors") for name in SETS]
    assert all(found == weights[0] for found in weights) and len(weights[0]) == 2
    trained = [curate.open_run(f"by-{name}", runs=runs).facts()["seconds"] for name in SETS]
    assert ["train" in seconds for seconds in trained] == [True, False, False, False, False]
    scores = {digests(runs / f"by-{name}", "scores.parquet")["scores.parquet"] for name in SETS}
    assert len(scores) == 5
    one = runs / "by-noise" / "encoders" / "fold0" / "weights.safetensors"
    assert one.stat().st_nlink == 6 and one.stat().st_mode & 0o777 == 0o444
    # A run goes alone, and a run that is copied is whole.
    assert curate.clean(runs).entries == 0
    shutil.rmtree(runs / "by-train")
    removed = curate.clean(runs, dry_run=True)
    # The alignments of its one shard.
    assert removed.entries == 1 and curate.clean(runs) == removed
    shutil.copytree(runs / "by-noise", elsewhere / "by-noise")
    for place in (runs / "by-noise", elsewhere / "by-noise"):
        assert curate.verify(place, full=True).ok
        assert curate.score(Run.open(place), device="cpu").already
    assert curate.clean(elsewhere).entries == curate.clean(tmp_path / "none").entries == 0


def test_runs_on_equal_images_share_their_shards(tmp_path):
    given = ("--runs", tmp_path, *DEVICE)
    for name, seed in (("one", 0), ("two", 1)):
        assert typed("train", TINY, *given, "--name", name, "--set", f"train.seed={seed}").code == 0
    assert typed("train", TINY, *given, "--name", "three", "--limit", "70").code == 0
    tars = [tmp_path / name / "shards" / "00000.tar" for name in ("one", "two", "three")]
    assert [tar.stat().st_nlink for tar in tars] == [3, 3, 2]
    assert tars[0].samefile(tars[1]) and tars[0].stat().st_mode & 0o777 == 0o444
    assert curate.clean(tmp_path).entries == 0
    # What is damaged is damaged for both, and is mended for whoever asks: by a file of its own.
    whole = tars[1].read_bytes()
    data = bytearray(whole)
    data[700] ^= 1
    with tars[0].open("rb+") as stream:
        stream.write(data)
    assert not curate.verify(tmp_path / "two", full=True).ok
    (tmp_path / "two" / "shards" / "index.parquet").unlink()
    assert typed("score", "two", *given).code == 0
    assert tars[1].read_bytes() == whole and not tars[0].samefile(tars[1])
    assert curate.verify(tmp_path / "two", full=True).ok


def test_a_stored_file_that_changed_is_not_taken(tmp_path):
    given = ("--runs", tmp_path, *DEVICE)
    assert typed("score", TINY, *given).code == 0
    before = digests(tmp_path / "tiny", "encoders/*/weights.safetensors")
    for path in tmp_path.glob(".store/train/*/weights.safetensors"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.unlink()
        path.write_bytes(data)
    other = typed("score", TINY, *given, "--name", "other")
    assert other.code == 0 and "train: 2 of 2 encoders" in other.err
    assert digests(tmp_path / "other", "encoders/*/weights.safetensors") == before


def test_where_links_are_refused_files_are_copied(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("links are refused")

    monkeypatch.setattr("os.link", refuse)
    given = ("--runs", tmp_path, *DEVICE, "--workers", "1")
    for name in ("one", "two"):
        assert typed("score", TINY, *given, "--name", name).code == 0
    a, b = (tmp_path / name / "encoders/fold0/weights.safetensors" for name in ("one", "two"))
    assert a.read_bytes() == b.read_bytes() and a.stat().st_nlink == b.stat().st_nlink == 1
    # Shards are too large to lie there twice.
    assert not [*tmp_path.glob(".store/shard/*")]


def test_late_settings_go_with_every_command_that_works_on_a_run(tiny_runs):
    weights = stamps(tiny_runs / "tiny", "encoders/*/*")
    where = ("--runs", tiny_runs, *DEVICE)
    found = typed("inspect", "tiny", *where, "--set", "inspect.encoder=timm-random:resnet18")
    assert found.code == 0, found.err
    facts = json.loads((tiny_runs / "tiny" / "inspect.json").read_text())
    assert facts["space"] == {"kind": "timm", "name": "timm-random:resnet18", "dim": 512}
    refused = typed("inspect", "tiny", *where, "--set", "inspect.encoder=timm:resnet18")
    assert refused.code == 6 and "cannot be had" in refused.err
    seeds = ("--set", "compare.seeds=1", "--remove", "20")
    assert typed("compare", "tiny", *where, *seeds).code == 0
    assert typed("measure", "tiny", *where, "--kinds", "alignment", "--data", tiny_runs).code == 0
    assert typed("localize", "tiny", *where, "--set", "train.lr=3").code == 4
    assert stamps(tiny_runs / "tiny", "encoders/*/*") == weights


def test_a_probe_takes_late_settings_of_its_run(tiny_runs, tmp_path):
    run = tiny_runs / "tiny"
    weights = stamps(run, "encoders/*/*")
    command = ("probe", run / "encoders" / "fold0", *DEVICE, "--json")
    found = typed(*command, "--set", "probe.kinds=[knn]")
    assert found.code == 0 and "probe.kinds: " in found.err, found.err
    rows = json.loads(found.out)["results"]
    assert [(row["source"], row["kind"]) for row in rows] == [("self", "knn")]
    # The run has them from now on, and what is said of one probe goes before them.
    again = json.loads(typed(*command, "--kind", "linear").out)["results"]
    assert [row["kind"] for row in again] == ["linear"]
    assert Run.open(run).recipe.probe.kinds == ("knn",)
    assert typed(*command, "--set", "train.lr=3").code == 4
    assert stamps(run, "encoders/*/*") == weights
    shutil.copytree(run / "encoders" / "fold0", tmp_path / "alone")
    refused = typed("probe", tmp_path / "alone", *DEVICE, "--set", "probe.kinds=[knn]")
    assert refused.code == 2 and "needs an encoder inside a run" in refused.err
    for setting, said in (
        ("train.lr=1", "belongs to no run"),
        ("probe=3", "probe: should be"),
        ("probe.seg.head=x", "probe.seg.head"),
        (".=1", "expected section.key=value"),
    ):
        refused = typed("probe", tmp_path / "alone", *DEVICE, "--set", setting)
        assert refused.code == 2 and said in refused.err, refused.err


def test_what_was_made_from_older_scores_is_said(tiny_runs, tmp_path):
    where = ("--runs", tiny_runs)
    assert typed("select", "tiny", "--top", "40", *where).code == 0
    again(tiny_runs, "score.distance=cosine")
    manifest = tiny_runs / "tiny" / "manifests" / "top-40.parquet"
    exported = typed("export", manifest, "--to", "csv", "--out", tmp_path / "x.csv")
    assert exported.code == 0 and "made from older scores" in exported.err
    hub = ("--to", "hf-metadata", "--out", tmp_path / "hub")
    said = typed("export", manifest, *hub)
    assert said.code == 0 and "inspect of run" in said.err and "'curate inspect tiny'" in said.err
    verified = typed("verify", tiny_runs / "tiny").err
    for name in ("manifests/top-40 of", "inspect of", "comparisons/remove-20"):
        assert name in verified
    assert "manifests/top-40" in typed("report", "tiny", *where).err
    assert typed("select", "tiny", "--top", "40", *where).code == 0
    assert "top-40" not in typed("report", "tiny", *where).err


def test_a_sample_is_shown_while_another_command_works(tiny_runs):
    run = Run.open(tiny_runs / "tiny")
    uid = run.scores()["uid"][0].as_py()
    with run.lock():
        assert typed("inspect", "tiny", "--sample", uid, "--runs", tiny_runs).code == 0
        assert typed("report", "tiny", "--runs", tiny_runs).code == 0
        assert typed("ledger", "tiny", "--runs", tiny_runs).code == 0
        assert typed("inspect", "tiny", "--runs", tiny_runs).code == 5


# Which setting redoes what


def other(value):
    """Return another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return "something else"


def leaves(mapping, prefix=""):
    for key, value in mapping.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_every_setting_has_its_stage_and_changes_the_keys_of_just_those_after_it(tiny_runs):
    run = Run.open(tiny_runs / "tiny")
    stored = json.loads((run.path / "run.json").read_text())
    before = keys(run)
    for setting, value in leaves(stored["recipe"]):
        recipe = json.loads(json.dumps(stored["recipe"]))
        node = recipe
        *sections, last = setting.split(".")
        for section in sections:
            node = node[section]
        node[last] = "crop-flip" if setting == "views.measure" else other(value)
        write_json(run.path / "run.json", sealed({**stored, "recipe": recipe}))
        changed = {stage for stage, key in keys(run).items() if key != before[stage]}
        first = units.stage_of(setting)
        redone = set(units.stages_after([first])) if first else set()
        # An encoder and its alignment read their own samples, which this test leaves alone.
        expected = redone & set(before)
        if first in ("shard", "plan"):
            expected -= {"train", "align"}
        if first == "canvas":
            expected -= {"plan"}
        assert changed - {"inspect"} == expected - {"inspect"}, setting
        assert ("inspect" in changed) <= ("inspect" in redone), setting
        change = late.change(stored["recipe"], recipe)
        assert change.retrains == (first in late.RETRAINING and setting != late.GROWS), setting


PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
STAGE = re.compile(r"^\| `(\w+)`[^|]*\|([^|]*)\|([^|]*)\|$", re.MULTILINE)


def documented():
    """Return what the table of stages says: the settings and exceptions of each, its stages."""
    table = PAGE.read_text().partition("| stage | settings that it reads")[2].partition("\n\n")[0]
    found = {}
    for stage, settings, made_from in STAGE.findall(table):
        reads, but = set(), set()
        for part in settings.split(","):
            some, _, exceptions = part.partition(" but ")
            reads |= {*re.findall(r"`([\w.]+)`", some)}
            but |= {*re.findall(r"`([\w.]+)`", exceptions)}
        found[stage] = reads, but, {*re.findall(r"`(\w+)`", made_from)}
    return found


def test_the_table_of_stages_says_what_keys_hold():
    stages = documented()
    assert {name: after for name, (_, _, after) in stages.items() if after} == {
        name: {*after} for name, after in units.MADE_FROM.items()
    }
    assert list(stages) == list(units.READ_BY)
    neutral = re.search(r"\n(`name`, .*?) shape nothing", PAGE.read_text(), re.DOTALL)
    unread = {*re.findall(r"`([\w.]+)`", neutral[1]), "views.train"}
    assert unread == {*units.NEUTRAL}
    seen = set()
    for recipe in recipe_files.recipe_list():
        for setting, _ in leaves(load_recipe(recipe).resolved()):
            seen.add(setting)
            section = setting.partition(".")[0]
            said = [
                stage
                for stage, (reads, but, _) in stages.items()
                if (setting in reads or section in reads)
                and not any(setting == name or setting.startswith(f"{name}.") for name in but)
            ]
            stage = units.stage_of(setting)
            assert said == ([stage] if stage else []), setting
    assert len(seen) > 60


def keys(run):
    first = next(iter(units.members(run)))
    return {
        "shard": units.shard(run).key,
        "canvas": units.canvas(run).key,
        "plan": units.plan(run).key,
        "train": units.train(run, first).key,
        "align": units.align(run, "align/x/00000", first, "0" * 64, more=False).key,
        "score": units.score(run).key,
        "inspect": units.inspect(run, "x").key,
    }


def test_keys_are_the_same_wherever_a_run_lies(tiny_runs, tmp_path):
    shutil.copytree(tiny_runs / "tiny", tmp_path / "elsewhere" / "copy")
    assert keys(Run.open(tmp_path / "elsewhere" / "copy")) == keys(Run.open(tiny_runs / "tiny"))
    assert len(keys(Run.open(tiny_runs / "tiny"))["score"]) == 32


def test_a_recipe_that_changes_nothing_that_shapes_is_no_change():
    old = load_recipe(str(TINY)).resolved()
    new = load_recipe(str(TINY), {"score.batch_size": 7, "description": "x"}).resolved()
    assert late.change(old, new) == late.Change((), (), False, False)


# What is read is what was recorded


FLIPS = {
    "encoders/fold0/weights.safetensors": ("score", ["align", "score", "inspect"]),
    "cache/canvas.npy": ("score", ["align", "score"]),
    "alignment/00000.parquet": ("score", ["score"]),
    "plan.parquet": ("score", ["score"]),
    "shards/index.parquet": ("score", ["score"]),
    "shards/00000.tar": ("score", ["canvas", "align", "score"]),
    "scores.parquet": ("select", []),
    "scores.json": ("score", []),
    "inspect.parquet": ("inspect", []),
    "inspect_neighbours.parquet": ("inspect", []),
}
"""Files, the command that reads each, and the records without which it has to."""


@pytest.mark.parametrize("name", FLIPS)
def test_a_flipped_bit_is_named_or_mended_and_never_used(tiny_runs, name):
    run = tiny_runs / "tiny"
    command, without = FLIPS[name]
    drawn = random.Random(name)
    whole, results = (run / name).read_bytes(), ("scores.parquet", "inspect.parquet")
    before = {result: (run / result).read_bytes() for result in results}
    for _ in range(6):
        for record in without:
            for path in (*run.glob(f"records/{record}.json"), *run.glob(f"records/{record}/*")):
                path.unlink()
        bit = drawn.randrange(8 * len(whole))
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        (run / name).write_bytes(data)
        more = ("--top", "40") if command == "select" else (*DEVICE,)
        result = typed(command, "tiny", "--runs", tiny_runs, *more)
        if result.code:
            assert result.code == 3 and name.rpartition("/")[2] in result.err, (bit, result.err)
            (run / name).write_bytes(whole)
            assert typed("inspect", "tiny", "--runs", tiny_runs, *DEVICE).code == 0
        typed("score", "tiny", "--runs", tiny_runs, *DEVICE)
        typed("inspect", "tiny", "--runs", tiny_runs, *DEVICE)
        after = {result: (run / result).read_bytes() for result in results}
        assert after == before, (name, bit)
        (run / name).write_bytes(whole)


def test_the_scores_of_another_run_are_not_taken(tiny_runs, tmp_path):
    other = typed("score", TINY, "--runs", tmp_path, *DEVICE, "--set", "train.seed=1")
    assert other.code == 0
    scores = tiny_runs / "tiny" / "scores.parquet"
    shutil.copyfile(tmp_path / "tiny" / "scores.parquet", scores)
    result = typed("select", "tiny", "--top", "3", "--runs", tiny_runs)
    assert result.code == 3 and "curate score tiny" in result.err
    assert "scores.parquet" in (err := again(tiny_runs).err) and "it is made again" in err
    assert typed("select", "tiny", "--top", "3", "--runs", tiny_runs).code == 0


@pytest.mark.parametrize("name", ["train/fold0", "plan", "score", "align/00000", "canvas"])
def test_a_damaged_record_is_never_used(tiny_runs, name):
    run = tiny_runs / "tiny"
    record = run / "records" / f"{name}.json"
    whole, before = record.read_bytes(), digests(run, "scores.*")
    drawn = random.Random(name)
    for content in (b"", b"{}", b"[1]", b"\xff", *(flipped(whole, drawn) for _ in range(6))):
        record.write_bytes(content)
        result = typed("score", "tiny", "--runs", tiny_runs, *DEVICE)
        assert result.code == 0, result.err
        assert digests(run, "scores.*") == before
        record.write_bytes(whole)


def flipped(whole, drawn):
    data = bytearray(whole)
    bit = drawn.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


def test_what_a_probe_read_of_a_source_is_read_again_when_it_changed(tiny_runs, tmp_path):
    images = tmp_path / "images"
    for name in ("a", "b"):
        (images / name).mkdir(parents=True)
        for k in range(8):
            pixels = np.full((8, 8), 15 * k + (100 if name == "b" else 0), np.uint8)
            pixels[k, :4] = 255 - 20 * k
            Image.fromarray(pixels).save(images / name / f"{k}.png")
    (images / "gone").symlink_to(tmp_path / "nowhere")
    encoder = tiny_runs / "tiny" / "encoders" / "fold0"
    command = ("probe", encoder, "--on", f"folder:{images}", "--kind", "knn", *DEVICE, "--json")

    def samples():
        result = typed(*command)
        assert result.code == 0, result.err
        row = json.loads(result.out)["results"][0]
        return row["n_train"] + row["n_test"]

    assert samples() == samples() == 16
    (images / "a" / "0.png").unlink()
    assert samples() == 15


def test_a_forecast_knows_what_late_settings_leave(tiny_runs):
    late_setting = {"views.measure": "rotate-90"}
    found = curate.forecast("tiny", runs=tiny_runs, overrides=late_setting)
    assert found.to_train == 0 and len(found.encoders) == 2
    assert curate.forecast("tiny", runs=tiny_runs, overrides={"train.lr": 1.0}).to_train == 2


# Code


def test_a_unit_of_a_snapshot_is_made_by_the_code_of_its_stage(tiny_runs):
    run = Run.open(tiny_runs / "tiny")
    of = {name: units.Unit(run, name, {}).stage for name in (
        "train/fold0", "score", "snapshots", "snapshots/00002/score", "compare/a/b",
        "snapshots/00002/align/00000",
    )}  # fmt: skip
    assert list(of.values()) == ["train", "score", "snapshots", "score", "compare", "align"]


def test_only_code_that_shapes_a_stage_is_part_of_it(tmp_path):
    home = versions.HOME

    def edit(name, old, new):
        # A folder is read once, so that each edit has one of its own.
        nonlocal home
        home = shutil.copytree(home, tmp_path / f"{len(list(tmp_path.iterdir()))}" / "curate")
        path = home / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    before = versions.code_of("train")
    edit("reports/page.py", "import", "import  ")
    edit("cli/console.py", '"""', '"""Other words. ')
    edit("encoders/methods/simclr.py", '"""', '"""Other words. ')
    edit("encoders/methods/simclr.py", "def nt_xent", "# Why.\n\n\ndef nt_xent")
    assert versions.code_of("train", home) == before
    edit("encoders/methods/simclr.py", "temperature", "warmth")
    trained, scored = (versions.code_of(stage, home) for stage in ("train", "score"))
    assert trained != before
    # What measures alignment trains nothing.
    edit("scores/estimator.py", "def rank", "def ranks")
    assert versions.code_of("train", home) == trained
    assert versions.code_of("score", home) != scored
