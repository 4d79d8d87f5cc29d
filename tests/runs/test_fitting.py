"""A folder of images is enough: what is found in it decides on the recipe."""

import pytest
import yaml
from PIL import Image

import curate
from curate.data.sources import open_source
from curate.errors import DataError, MismatchError, UsageError
from curate.runs import fitting
from curate.runs.recipe import load_recipe
from tests.command import curate as typed
from tests.rendered import encoded, picture


def write(folder, n, *, width=40, height=28, grey=False, classes=("cats", "dogs")):
    """Render n images into a folder of each class in turn."""
    for i in range(n):
        array = picture(i, width, height)
        image = Image.fromarray(array).convert("L" if grey else "RGB")
        place = folder / classes[i % len(classes)]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:03d}.png").write_bytes(encoded(image, "PNG"))
    return folder


@pytest.mark.parametrize(("name", "given"), [
    ("digits", None), ("recipes/digits.yaml", None), ("./mine.yml", None),
    ("hf:user/name", "hf:user/name"), ("torchvision:CIFAR10", "torchvision:CIFAR10"),
])  # fmt: skip
def test_a_prefix_or_a_slash_means_a_source(name, given):
    assert fitting.source_of(name) == given


def test_a_path_is_a_source_wherever_it_is_gone_on_with(tmp_path, monkeypatch):
    write(tmp_path / "my photos", 8)
    monkeypatch.chdir(tmp_path)
    whole = str(tmp_path / "my photos")
    assert fitting.source_of("./my photos") == fitting.source_of(whole) == whole
    assert fitting.source_of("folder:my photos") == f"folder:{whole}"
    assert fitting.name_of(whole) == "my-photos" and fitting.name_of("hf:a/b-c") == "b-c"
    assert fitting.name_of("/") == "images"
    with pytest.raises(UsageError, match="no such folder"):
        fitting.source_of("./nowhere")


def looked(images, **other):
    facts = {"classes": ("a", "b"), "splits": ("train",), "width": 500, "height": 375,
             "grey": False, "chosen": {}, "left_out": {}}  # fmt: skip
    return fitting.Look(images=images, **{**facts, **other})


@pytest.mark.parametrize("images", [8, 30, 200, 999, 1000, 5_000, 100_000])
@pytest.mark.parametrize("side", [8, 28, 32, 500])
def test_any_number_of_images_of_any_size_gives_a_recipe_that_can_be_run(images, side):
    asked = load_recipe("images")
    found = fitting.settings(looked(images, width=side, height=side + 3), asked)
    recipe = load_recipe("images", found)
    assert recipe.data.size <= max(side, 8) and recipe.data.size % 8 == 0
    assert 2 <= recipe.train.batch_size <= images // recipe.plan.parts
    assert recipe.plan.repeats >= 2


def test_more_images_are_shown_less_often():
    asked = load_recipe("images")
    epochs = [fitting.settings(looked(n), asked)["train.epochs"] for n in (200, 2_000, 20_000)]
    assert epochs == sorted(epochs, reverse=True) and epochs[0] > epochs[-1]


def test_what_is_found_is_what_is_there(tmp_path):
    folder = write(tmp_path / "photos", 12, grey=True)
    (folder / "notes.txt").write_text("not an image")
    (folder / "cats" / "broken.jpg").write_bytes(b"\xff\xd8\xff no more")
    seen = fitting.look(open_source(str(folder)))
    assert (seen.images, seen.classes) == (13, ("cats", "dogs"))
    assert (seen.width, seen.height, seen.grey) == (40, 28, True)
    assert sum(seen.left_out.values()) == 1


def test_images_that_cannot_be_read_are_refused_with_the_reason(tmp_path):
    (tmp_path / "photos").mkdir()
    for i in range(9):
        (tmp_path / "photos" / f"{i}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of 9 images can be read; such as: .*image"):
        curate.open_run(str(tmp_path / "photos"), runs=tmp_path / "runs")


def test_too_few_images_are_refused_before_anything_is_made(tmp_path):
    folder = write(tmp_path / "photos", 5)
    with pytest.raises(DataError, match="5 images; 8 are the fewest"):
        curate.open_run(str(folder), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_source_names_its_run_and_finds_it_again(tmp_path):
    folder, runs = write(tmp_path / "photos", 12), tmp_path / "runs"
    run = curate.open_run(str(folder), runs=runs, overrides={"train.epochs": 3})
    assert run.path == runs / "photos" and run.recipe.data.source == str(folder)
    assert (run.recipe.data.size, run.recipe.train.epochs) == (24, 3)
    assert fitting.is_fitted(run)
    # The images that are there by now do not change what a run is.
    write(tmp_path / "photos", 24)
    for name in (str(folder), "photos"):
        again = curate.open_run(name, runs=runs)
        assert again.path == run.path and again.recipe.resolved() == run.recipe.resolved()
    other = write(tmp_path / "other" / "photos", 12)
    with pytest.raises(MismatchError, match="called='NAME'"):
        curate.open_run(str(other), runs=runs)
    beside = curate.open_run(str(other), runs=runs, called="photos-2")
    assert beside.path == runs / "photos-2" and beside.recipe.data.source == str(other)


def test_the_recipe_that_init_writes_is_the_one_that_run_takes(tmp_path, monkeypatch):
    write(tmp_path / "photos", 12)
    monkeypatch.chdir(tmp_path)
    printed = typed("init", "./photos")
    assert printed.code == 0 and "12 in 2 classes" in printed.out and "cats" in printed.out
    (tmp_path / "mine.yaml").write_text(printed.out)
    assert yaml.safe_load(printed.out)["name"] == "photos"
    direct = curate.open_run("./photos", runs="runs").recipe.resolved()
    written = load_recipe("mine.yaml").resolved()
    assert {**written, "name": 0, "description": 0} == {**direct, "name": 0, "description": 0}


def test_a_folder_is_run_to_a_report_that_says_whether_anything_was_learned(tmp_path, monkeypatch):
    write(tmp_path / "photos", 40)
    monkeypatch.chdir(tmp_path)
    result = typed("run", "./photos", "--set", "train.epochs=2", "--set", "plan.repeats=2",
                   "--set", "score.views=2", "--device", "cpu")  # fmt: skip
    assert result.code == 0, result.err
    for text in ("40 in 2 classes", "fitted", "forecast", "random weights"):
        assert text in result.err + result.out
    page = (tmp_path / "runs" / "photos" / "report.html").read_text()
    assert "Did the encoders learn anything?" in page
    assert typed("run", "./photos", "--device", "cpu").code == 0


def test_images_without_labels_are_run_as_well(tmp_path, monkeypatch):
    write(tmp_path / "photos", 40, classes=(".",))
    monkeypatch.chdir(tmp_path)
    result = typed("run", "./photos", "--set", "train.epochs=2", "--set", "plan.repeats=2",
                   "--set", "score.views=2", "--device", "cpu")  # fmt: skip
    assert result.code == 0, result.err
    assert "random weights" not in result.out
