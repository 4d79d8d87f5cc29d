"""What pyproject.toml says is what is there."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TOOL = PROJECT["tool"]["setuptools"]


def test_every_package_travels_and_the_recipes_with_them():
    there = {".".join(p.parent.relative_to(ROOT).parts) for p in ROOT.glob("curate/**/__init__.py")}
    assert set(TOOL["packages"]) == there | {"curate.recipes", "curate.recipes.parts"}
    assert {p.parent for p in (ROOT / "recipes").rglob("*.yaml")} == {
        ROOT / "recipes",
        ROOT / "recipes" / "parts",
    }
    assert TOOL["package-dir"] == {"curate.recipes": "recipes"}


def test_every_file_that_is_not_python_travels():
    places = {name: ROOT / name.replace(".", "/") for name in TOOL["packages"]}
    places |= {n: ROOT / n[len("curate.") :].replace(".", "/") for n in places if ".recipes" in n}
    for name, folder in places.items():
        patterns = TOOL["package-data"].get(name, [])
        carried = {path.name for pattern in patterns for path in folder.glob(pattern)}
        there = {
            p.name for p in folder.iterdir() if p.is_file() and p.suffix not in (".py", ".pyc")
        }
        assert carried == there, name
        assert all(list(folder.glob(pattern)) for pattern in patterns), name
