"""Recipe files are found wherever curate is installed, and composed of their parts in order."""

import re
from pathlib import Path

import pytest

from curate.errors import MismatchError, UsageError
from curate.runs import opening, recipe, recipe_files
from curate.runs.recipe_files import composed, digest, find, packaged
from tests.command import TINY

OURS = Path(__file__).parents[2] / "recipes"


def written(folder, **files):
    """Write files, ``parts__NAME`` into ``parts``; returns the path of ``mine.yaml``."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "mine.yaml"


def test_files_that_are_no_recipes_are_refused(tmp_path):
    for name, text in {"list": "- 1", "broken": "a: [", "empty": "", "binary": "\0"}.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        for reader in (recipe.load_recipe, lambda name: digest(find(name))):
            with pytest.raises(UsageError, match=str(path)):
                reader(str(path))
    with pytest.raises(UsageError, match="no recipe at"):
        find(str(tmp_path / "none.yaml"))
    with pytest.raises(UsageError, match="Did you mean 'fashion-mnist'"):
        find("fashion-mist")


def test_a_name_that_is_no_recipe_gets_a_short_answer(tmp_path, monkeypatch):
    with pytest.raises(UsageError) as caught:
        recipe_files.find("cifar10-simclear")
    assert str(caught.value) == (
        "unknown recipe 'cifar10-simclear'. Did you mean 'cifar10-simclr'? "
        "'curate recipes' lists all."
    )
    (tmp_path / "my photos").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"is a folder.*'curate run './my photos''"):
        recipe_files.find("my photos")


def test_a_recipe_beside_the_user_comes_before_a_packaged_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert set(packaged()) == {path.stem for path in OURS.glob("*.yaml")}
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "cifar10.yaml").write_text(TINY.read_text())
    assert recipe.load_recipe("cifar10").name == "tiny"


def test_installed_recipes_lie_inside_the_package(tmp_path, monkeypatch):
    # As a wheel lays them out, where a folder named recipes beside the package is somebody else's.
    package = tmp_path / "site-packages" / "curate"
    (package / "recipes").mkdir(parents=True)
    (package / "recipes" / "inside.yaml").touch()
    (package.parent / "recipes").mkdir()
    (package.parent / "recipes" / "foreign.yaml").touch()
    monkeypatch.setattr(recipe_files, "__file__", str(package / "runs" / "recipe_files.py"))
    monkeypatch.chdir(tmp_path)
    assert packaged() == {"inside": package / "recipes" / "inside.yaml"}


def test_parts_are_merged_in_order_and_the_recipes_own_keys_last(tmp_path):
    path = written(
        tmp_path,
        mine="parts: [one, two]\nname: mine\ntrain: {lr: 3}\nviews: null\n",
        parts__one="train: {lr: 1, epochs: 1, batch_size: 1}\nplan: {kind: halves}\nprobe: [1]\n",
        parts__two="train: {lr: 2, epochs: 2}\nviews: {train: crop}\nprobe: [2]\n",
    )
    assert composed(path) == {
        "train": {"lr": 3, "epochs": 2, "batch_size": 1},
        "plan": {"kind": "halves"},
        "probe": [2],
        "views": None,
        "name": "mine",
    }
    swapped = written(tmp_path, mine="parts: [two, one]\nname: mine\n")
    assert composed(swapped)["train"] == {"lr": 1, "epochs": 1, "batch_size": 1}


def test_a_part_beside_the_recipe_comes_before_a_packaged_one(tmp_path):
    path = written(tmp_path, mine="parts: [cifar10, simclr]\n", parts__simclr="train: {lr: 9}\n")
    assert composed(path) == {
        **composed(OURS / "parts" / "cifar10.yaml"),
        "train": {"lr": 9},
    }


def test_a_recipe_of_parts_is_the_recipe_written_out(tmp_path):
    sections = TINY.read_text().splitlines(keepends=True)
    names = [s.partition(":")[0] for s in sections]
    kept = [s for s, n in zip(sections, names, strict=True) if n in ("name", "description")]
    rest = [s for s, n in zip(sections, names, strict=True) if n not in ("name", "description")]
    path = written(tmp_path, mine="parts: [rest]\n" + "".join(kept), parts__rest="".join(rest))
    made, plain = (
        recipe.load_recipe(str(path), {"train.lr": 1}),
        recipe.load_recipe(str(TINY), {"train.lr": 1}),
    )
    assert made.resolved() == plain.resolved()
    assert made.fingerprint() == plain.fingerprint()


@pytest.mark.parametrize(
    ("mine", "message"),
    [
        ("parts: [simcrl]", "unknown part 'simcrl'. Did you mean 'simclr'?"),
        ("parts: [../cifar10]", "unknown part '../cifar10'."),
        ("parts: simclr", "parts: expected a list of names (got 'simclr')"),
        ("parts: [1]", "parts: expected a list of names (got [1])"),
        ("parts: [nested]", "nested.yaml has 'parts', which only a recipe can have"),
        ("parts: [named]", "named.yaml has 'name', which only a recipe can have"),
        ("parts: [broken]", "broken.yaml"),
        ("parts: [odd]\n" + TINY.read_text(), "unknown key 'oddity'"),
    ],
)
def test_parts_that_do_not_fit_are_named_in_one_line(tmp_path, mine, message):
    path = written(
        tmp_path,
        mine=mine,
        parts__nested="parts: [simclr]",
        parts__named="name: other",
        parts__broken="a: [",
        parts__odd="oddity: {a: 1}",
    )
    with pytest.raises(UsageError, match=re.escape(message)) as found:
        recipe.load_recipe(str(path))
    assert len(str(found.value).splitlines()) == 1


def test_a_digest_sees_the_file_and_its_parts_alone(tmp_path):
    path = written(
        tmp_path,
        mine="parts: [one]\n",
        parts__one="train: {lr: 1}\n",
        parts__other="train: {lr: 1}\n",
    )
    before = digest(path)
    written(tmp_path, parts__other="train: {lr: 2}\n")
    assert digest(path) == before
    written(tmp_path, parts__one="train: {lr: 2}\n")
    after = digest(path)
    written(tmp_path, mine="parts: [one]\nname: mine\n")
    assert len({before, after, digest(path)}) == 3


def test_a_run_notices_that_a_part_of_its_recipe_was_edited(tmp_path):
    path = written(
        tmp_path, mine="parts: [more]\n" + TINY.read_text(), parts__more="data: {max_bad: 0.5}\n"
    )
    opened = opening.open_run(str(path), runs=tmp_path / "runs")
    assert opening.open_run(str(path), runs=tmp_path / "runs").path == opened.path
    written(tmp_path, parts__more="train: {clip_norm: 0.5}\n")
    with pytest.raises(MismatchError, match=r"train\.clip_norm"):
        opening.open_run(str(path), runs=tmp_path / "runs")
    (tmp_path / "parts" / "more.yaml").unlink()
    with pytest.raises(UsageError, match="unknown part 'more'"):
        opening.open_run(str(path), runs=tmp_path / "runs")
