"""What changes under a resume: a recipe, data, code, a manifest's dataset, or how work is done."""

import json
import random
import re
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from curate.selection.manifest import MANIFEST_SCHEMA, Manifest
from tests.faults.drilling import copied, differing, events, snapshot
from tests.faults.interrupted import drill
from tests.faults.line import ALONE, OFTEN, TINY, go

RUN = "runs/tiny"
SETTINGS = {
    "train.lr=0.1": "train.lr: 0.002 -> 0.1",
    "train.epochs=3": "train.epochs: 2 -> 3",
    "plan.folds=3": "plan.folds: 2 -> 3",
    "data.limit=70": "data.limit: 80 -> 70",
    "encoder.temperature=0.3": "encoder.temperature: 0.5 -> 0.3",
    "views.noise=0.1": "views.noise: 0.0 -> 0.1",
}


def interrupted(zygote, undisturbed, work, event):
    """Copy what a stage starts from, and kill it before an event."""
    copied(undisturbed.before, work)
    ended = zygote.type(work, *undisturbed.arguments, die_event=event)
    assert ended.code == -signal.SIGKILL, ended
    return work


def goes_on(zygote, undisturbed, work):
    """Return what is wrong after the first command was typed again."""
    last = zygote.type(work, *undisturbed.arguments)
    gone = differing(snapshot(work), undisturbed.after)
    return f"{last}, {gone}" if last.code or gone else None


def refused(faults, what, ended, diff, left=None):
    """Count a command that has to end with 4 and a diff."""
    if ended.code == 4 and diff in ended.err and not left:
        faults.detected("change")
    else:
        faults.undetected("change", f"{what}: {ended}, {left}")


def test_another_recipe_is_refused_and_begun_beside_the_old(line, zygotes, faults, place):
    undisturbed = line["train"]
    moments = events("recipe", len(SETTINGS), undisturbed.events, first=20)

    def change(zygote, numbered):
        number, (setting, _) = numbered
        work = interrupted(zygote, undisturbed, place / f"{number}", moments[number].event)
        before = snapshot(work)
        changed = [*undisturbed.arguments, "--set", setting]
        ended = zygote.type(work, *changed)
        touched = [n for n in differing(before, snapshot(work)) if ".tmp" not in n]
        fresh = zygote.type(work, *changed, "--fresh")
        old = {n.replace(RUN, f"{RUN}.old-1"): d for n, d in before.items()}
        kept = [n for n in old if snapshot(work).get(n) != old[n] and ".tmp" not in n]
        wrong = goes_on_fresh(zygote, work, fresh, changed)
        return ended, touched or kept or wrong

    found = zygotes.map(change, enumerate(SETTINGS.items()))
    for (setting, diff), (ended, left) in zip(SETTINGS.items(), found, strict=True):
        refused(faults, setting, ended, diff, left)


def goes_on_fresh(zygote, work, fresh, changed):
    """Return what is wrong with a run that was begun anew."""
    again = zygote.type(work, *changed)
    made = all((work / RUN / f"records/train/fold{k}.json").is_file() for k in (0, 1))
    return None if (fresh.code, again.code, made) == (0, 0, True) else f"{fresh}, {again}, {made}"


def test_an_edited_recipe_is_refused(line, zygotes, faults, place):
    undisturbed = line["train"]
    recipe = place / "tiny.yaml"
    recipe.write_text(TINY.read_text())
    typed = ["train", recipe, *ALONE, *OFTEN]
    mine = go(zygotes, place / "mine", undisturbed.before, typed)
    for key, diff in (
        ("lr: 2e-3", "train.lr: 0.002 -> 0.5"),
        ("batch_size: 16", "train.batch_size: 16 -> 5"),
    ):
        for name in (recipe, "tiny"):
            recipe.write_text(TINY.read_text())
            work = place / f"{key[:2]}-{name == recipe}"
            zygotes.map(lambda z, w: interrupted(z, mine, w, mine.events // 2), [work])
            recipe.write_text(TINY.read_text().replace(key, f"{key.split()[0]} {diff.split()[-1]}"))
            ended = zygotes.type(work, "train", name, *ALONE, *OFTEN)
            recipe.write_text(TINY.read_text())
            left = zygotes.map(lambda z, w: goes_on(z, mine, w), [work])[0]
            refused(faults, f"{key} edited, typed as {name}", ended, diff, left)


def test_other_code_is_refused_within_a_stage(line, zygotes, faults, place, drills):
    patches = [
        (["curate.runtime.versions", "code_of", "another"], "curate code: "),
        (["curate.runtime.versions", "versions", {"torch": "0.1", "curate": "9"}], "torch: "),
    ]
    for name, first in (("train", 80), ("score", 40), ("compare", 20)):
        undisturbed = line[name]
        moments = events(f"code {name}", max(2, drills // 10), undisturbed.events * 9 // 10, first)
        for number, moment in enumerate(moments):
            patch, diff = patches[number % 2]
            work = place / f"{name}-{number}"

            def change(zygote, work, undisturbed=undisturbed, moment=moment, patch=patch):
                interrupted(zygote, undisturbed, work, moment.event)
                part = part_done(work)
                ended = zygote.type(work, *undisturbed.arguments, patches=[patch])
                return part, ended, goes_on(zygote, undisturbed, work) if ended.code else None

            part, ended, left = zygotes.map(change, [work])[0]
            if not part and ended.code == 0:
                # Between two stages there is nothing half made, and newer code may go on.
                faults.survived("change")
            else:
                refused(faults, f"{name} by other code, {moment}", ended, diff, left)


def part_done(work):
    """Whether a stage has units that are done, or is within one, and units that are not done."""
    run = work / RUN
    if [*run.glob("cache/states/*/**/*.json")]:
        return True
    encoders = {p.stem for p in (run / "records/train").glob("*.json")}
    arms = [*run.glob("records/compare/arms/*.json")]
    return len(encoders) == 1 or len(arms) == 1


@pytest.fixture
def folder_run(line, zygotes, images, place):
    """A run of a folder of images that can be changed, as it goes undisturbed."""
    before = place / "before"
    copied(images, before / "images")
    recipe = yaml.safe_load(TINY.read_text())
    recipe["data"] = {"source": "folder:images", "size": 8, "channels": 1}
    (place / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    typed = ["train", place / "tiny.yaml", *ALONE, *OFTEN]
    return go(zygotes, place / "line", before, typed)


def one_more(images):
    """Another image appears."""
    first = next(images.rglob("*.jpg"))
    first.with_name("new.jpg").write_bytes(first.read_bytes()[:-2] + b"\0\xff\xd9")


def one_less(images):
    """An image disappears."""
    next(images.rglob("*.jpg")).unlink()


def one_byte(images):
    """One byte of one image changes."""
    path = next(images.rglob("*.gif"))
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)


def relabelled(images):
    """An image moves to another class."""
    path = next((images / "a").iterdir())
    path.rename(images / "b" / path.name)


@pytest.mark.parametrize("change", [one_more, one_less, one_byte, relabelled])
def test_changed_data_is_refused_or_left_alone(change, folder_run, zygotes, faults, place):
    def with_shards(zygote, work):
        """The run has its own copy: it goes on with that, and never mixes the two."""
        interrupted(zygote, folder_run, work, folder_run.events * 2 // 3)
        change(work / "images")
        last = zygote.type(work, *folder_run.arguments)
        there, after = snapshot(work / "runs"), snapshot(folder_run.folder / "runs")
        return None if last.code == 0 and not differing(there, after) else f"{last}"

    def without_them(zygote, work):
        """The shards are gone, and what was made from them would not fit to new ones."""
        interrupted(zygote, folder_run, work, folder_run.events * 2 // 3)
        kept = (work / RUN / "shards/00000.tar").read_bytes()
        (work / RUN / "shards/00000.tar").unlink()
        change(work / "images")
        ended = zygote.type(work, *folder_run.arguments)
        fresh = zygote.type(work, *folder_run.arguments, "--fresh")
        beside = (work / f"{RUN}.old-1/run.json").is_file()
        assert kept
        return ended, None if (fresh.code, beside) == (0, True) else f"{fresh}"

    (left,) = zygotes.map(with_shards, [place / "with"])
    if left:
        faults.lost("change", f"{change.__name__}: {left}")
    else:
        faults.survived("change")
    ((ended, left),) = zygotes.map(without_them, [place / "without"])
    fingerprints = bool(re.search(r"fingerprint [0-9a-f]+ -> [0-9a-f]+", ended.err))
    refused(faults, change.__name__, ended, "has other images", left or not fingerprints)


# Manifests


def forged(work, edit):
    """Put an edited manifest, in itself whole, in the place of the run's."""
    path = work / RUN / "manifests/top-40.parquet"
    made = Manifest.read(path)
    rows, facts = made.table.to_pylist(), dict(made.facts)
    edit(rows, facts)
    rows.sort(key=lambda row: row["uid"])
    Manifest(pa.Table.from_pylist(rows, MANIFEST_SCHEMA), facts).write(path)


def edits(drills):
    """Yield (what, edit) of manifests that do not belong to the run they are applied to."""
    drawn = random.Random("manifests")
    for number in range(max(2, drills // 5)):
        some = drawn.sample(range(80), drawn.randrange(1, 6))

        def unknown(rows, facts, some=some, number=number):
            for k in some:
                rows[k]["uid"] = f"{number:08x}{k:08x}" + "0" * 16

        def fewer(rows, facts, some=some):
            for k in sorted(some, reverse=True):
                del rows[k]

        def more(rows, facts, some=some):
            rows += [{**rows[k], "uid": "f" * 31 + f"{k % 16:x}"} for k in some]

        yield f"{len(some)} unknown uids", unknown
        yield f"{len(some)} uids less", fewer
        yield f"{len(some)} uids more", more
    yield "another fingerprint", lambda rows, facts: facts.update(dataset_fingerprint="0" * 64)

    def bare(rows, facts):
        facts["dataset_fingerprint"] = None
        rows[3]["uid"] = "0" * 32

    yield "no fingerprint and an unknown uid", bare


def test_a_manifest_of_another_dataset_is_refused(line, zygotes, faults, drills, place):
    commands = {
        "export": ["export", f"{RUN}/manifests/top-40.parquet", "--to", "paths", "--out", "kept"],
        "retrain": ["retrain", f"{RUN}/manifests/top-40.parquet"],
    }
    for number, (what, edit) in enumerate(edits(drills)):
        work = copied(line["select"].folder, place / f"{number}")
        forged(work, edit)
        before = snapshot(work)
        for command, arguments in commands.items():
            ended = zygotes.type(work, *arguments)
            if ended.code == 4 and not differing(before, snapshot(work)):
                faults.detected("manifest")
            else:
                faults.undetected("manifest", f"{command}, {what}: {ended}")


def test_a_manifest_is_not_applied_to_another_run(line, zygotes, faults, place):
    work = copied(line["select"].folder, place / "work")
    other = yaml.safe_load(TINY.read_text())
    other["name"], other["data"]["limit"] = "other", 60
    (work / "other.yaml").write_text(yaml.safe_dump(other))
    made = zygotes.type(work, "train", "./other.yaml", *ALONE)
    assert made.code == 0, made
    for manifest in (f"{RUN}/manifests/top-40.parquet", "runs/other/manifests/top-40.parquet"):
        if not (work / manifest).exists():
            copied(work / RUN / "manifests", work / "runs/other/manifests")
        for more in (["--run", "other", "--runs", "runs"], ["--run", "runs/other"]):
            ended = zygotes.type(work, "retrain", manifest, *more)
            if ended.code == 4 and "another dataset" in ended.err:
                faults.detected("manifest")
            else:
                faults.undetected("manifest", f"{manifest} {more}: {ended}")


# How work is done


def test_other_settings_of_work_go_on_with_a_run(line, zygotes, faults, drills, place):
    undisturbed = line["score"]
    scores = pq.read_table(undisturbed.folder / RUN / "scores.parquet")
    for number, moment in enumerate(events("settings", max(3, drills // 4), undisturbed.events)):
        size = (1, 7, 33, 1000)[number % 4]
        work = place / f"{number}"
        again = [*undisturbed.arguments, "--set", f"score.batch_size={size}"]

        def other(zygote, work, moment=moment, again=again):
            interrupted(zygote, undisturbed, work, moment.event)
            return zygote.type(work, *again)

        ended = zygotes.map(other, [work])[0]
        found = pq.read_table(work / RUN / "scores.parquet") if ended.code == 0 else None
        if found is not None and close(found, scores):
            faults.survived("settings")
        else:
            faults.lost("settings", f"batch size {size}, {moment}: {ended}")


def close(found, expected):
    """Whether two tables of scores have the same samples in order, and scores within 1e-5."""
    same = all(found[n].equals(expected[n]) for n in ("uid", "key", "shard", "group"))
    return same and all(
        np.allclose(found[n].to_numpy(), expected[n].to_numpy(), rtol=0, atol=1e-5, equal_nan=True)
        for n in ("memorization", "se", "raw", "align_in", "align_out")
    )


def test_other_workers_go_on_with_a_run(line, zygotes, faults, drills, place):
    undisturbed = line["train"]
    chosen = events("workers", max(1, drills // 20), undisturbed.events, first=30)
    beside = [*undisturbed.arguments, "--workers", "2"]

    def other(zygote, numbered):
        number, moment = numbered
        work = place / f"{number}"
        return drill(zygote, undisturbed, work, moment.request(signal.SIGKILL), second=beside)

    for moment, (_, wrong) in zip(chosen, zygotes.map(other, enumerate(chosen)), strict=True):
        if wrong:
            faults.lost("settings", f"workers, {moment}: {wrong}")
        else:
            faults.survived("settings")


def test_what_a_run_was_made_by_is_stored(line):
    """The drills above change what the records say."""
    facts = json.loads((line["train"].folder / RUN / "records/train/fold0.json").read_text())
    assert facts["code"]["torch"] and facts["code"]["curate code"]
