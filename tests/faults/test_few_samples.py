"""Few samples, many wishes: a defined result or a clear error, and never a hang."""

import pytest
import yaml

from tests.faults.drilling import copied
from tests.faults.line import ALONE, TINY
from tests.rendered import mixed

CLEAR = (0, 2, 3)
HANG = 60


def told(faults, what, ended, codes=CLEAR):
    """Count a command: done, or refused with a line that says what is wrong."""
    if ended.code == 0 and 0 in codes:
        faults.survived("few")
    elif ended.code in codes and "rror: " in ended.err and "Traceback" not in ended.err:
        faults.detected("few")
    else:
        faults.undetected("few", f"{what}: {ended}")


def write(place, counts, same=False):
    """Write a folder of images: so many of each class."""
    images = iter(mixed(sum(counts.values()) + 1))
    first = next(images)
    for name, n in counts.items():
        (place / "images" / name).mkdir(parents=True)
        for i in range(n):
            stem, data = first if same else next(images)
            (place / "images" / name / f"{i}{stem[-4:]}").write_bytes(data)


def recipe(place, **sections):
    """Write a recipe for the folder; returns its path."""
    content = yaml.safe_load(TINY.read_text())
    content["data"] = {"source": "folder:images", "size": 8, "channels": 1}
    for name, section in sections.items():
        content[name] = {**content.get(name, {}), **section}
    (place / "r.yaml").write_text(yaml.safe_dump(content))
    return "./r.yaml"


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4])
def test_every_plan_takes_few_images_or_says_how_many_it_needs(n, zygotes, faults, place):
    write(place, {"a": (n + 1) // 2, "b": n // 2, "empty": 0})
    codes = (3,) if n == 0 else CLEAR
    told(
        faults, f"shard {n}", zygotes.type(place, "shard", "images", "--out", "s", hang=HANG), codes
    )
    for kind in ("folds", "halves", "pair", "parts", "subsets"):
        plan = {
            "folds": {"kind": "folds", "folds": 2},
            "halves": {"kind": "halves"},
            "pair": {
                "kind": "pair",
                "shared": 0.5,
                "candidates": 0.25,
                "independent": 0.25,
                "extra": 0,
            },
            "parts": {"kind": "parts", "parts": 2},
            "subsets": {"kind": "subsets", "subsets": 2, "fraction": 0.5},
        }[kind]
        content = recipe(place, compare={"remove": []})
        made = yaml.safe_load((place / "r.yaml").read_text())
        made["plan"], made["name"] = plan, f"{kind}{n}"
        (place / "r.yaml").write_text(yaml.safe_dump(made))
        ended = zygotes.type(place, "run", content, *ALONE, hang=HANG)
        told(faults, f"{kind} of {n}", ended, (3,) if n < 2 else CLEAR)


def test_one_image_many_times(zygotes, faults, place):
    write(place, {"a": 6, "b": 6}, same=True)
    ended = zygotes.type(place, "run", recipe(place), *ALONE, hang=HANG)
    told(faults, "12 times the same", ended, (3, 7))


def test_a_class_that_is_empty_or_alone(zygotes, faults, place):
    write(place, {"a": 20, "b": 1, "empty": 0})
    for name, remove in (("none", []), ("five", [5])):
        content = recipe(place, compare={"remove": remove})
        ended = zygotes.type(place, "run", content, "--runs", name, *ALONE[2:], hang=HANG)
        told(faults, f"classes of 20, 1 and 0 images, removing {remove}", ended)


@pytest.mark.parametrize("split", ["train", "test", "val"])
def test_a_split_that_is_not_there_or_empty(split, zygotes, faults, place):
    for inside in ("train/a", "test/a", "val"):
        (place / "images" / inside).mkdir(parents=True)
    for i, (name, data) in enumerate(mixed(4)):
        (place / "images/train/a" / f"{i}{name[-4:]}").write_bytes(data)
    ended = zygotes.type(place, "shard", "images", "--out", "s", "--split", split, hang=HANG)
    told(faults, f"split {split}", ended, (0,) if split == "train" else (2, 3))


WISHES = {
    "top 81": ["select", "tiny", "--top", "81"],
    "top 0": ["select", "tiny", "--top", "0"],
    "top -1": ["select", "tiny", "--top", "-1"],
    "top 80": ["select", "tiny", "--top", "80"],
    "top 10^18": ["select", "tiny", "--top", "1000000000000000000"],
    "top 10^30": ["select", "tiny", "--top", "1" + "0" * 30],
    "drop 80": ["select", "tiny", "--drop-top", "80"],
    "drop 79": ["select", "tiny", "--drop-top", "79"],
    "bottom 81": ["select", "tiny", "--bottom", "81"],
    "fraction 0": ["select", "tiny", "--fraction", "0"],
    "fraction 1.5": ["select", "tiny", "--fraction", "1.5"],
    "fraction nan": ["select", "tiny", "--fraction", "nan"],
    "fraction tiny": ["select", "tiny", "--fraction", "1e-9"],
    "remove 80": ["compare", "tiny", "--remove", "80", "--workers", "1"],
    "remove 0": ["compare", "tiny", "--remove", "0", "--workers", "1"],
    "remove -5": ["compare", "tiny", "--remove=-5", "--workers", "1"],
    "remove 79": ["compare", "tiny", "--remove", "79", "--seeds", "1", "--workers", "1"],
}


def test_more_than_there_is(line, zygotes, faults, place):
    work = copied(line["score"].folder, place / "work")
    for what, arguments in WISHES.items():
        told(faults, what, zygotes.type(work, *arguments, "--runs", "runs", hang=HANG))


@pytest.mark.parametrize(
    ("what", "setting"),
    [
        ("more folds than samples", "plan.folds=500"),
        ("a batch larger than the data", "train.batch_size=4096"),
        ("more neighbours than samples", "inspect.neighbours=500"),
        ("one view", "score.views=1"),
        ("a batch of one", "train.batch_size=1"),
        ("no epochs", "train.epochs=0"),
        ("more removed than there are", "compare.remove=[80]"),
        ("more selected than there are", "select.count=81"),
        ("a canvas of one pixel", "data.size=1"),
    ],
)
def test_settings_that_do_not_fit(what, setting, zygotes, faults, place):
    more = ["--set", "select.fraction=null"] if setting.startswith("select.count") else []
    typed = ["run", TINY, *ALONE, "--set", "compare.remove=[]", "--set", setting, *more]
    told(faults, what, zygotes.type(place, *typed, hang=HANG))


def test_more_workers_than_trainings(line, zygotes, faults, place):
    work = copied(line["train"].folder, place / "work")
    (work / "runs/tiny/records/train/fold1.json").unlink()
    ended = zygotes.type(work, *line["train"].arguments, "--workers", "64", hang=HANG)
    told(faults, "64 workers for one training", ended, (0,))
