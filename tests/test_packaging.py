"""What setuptools makes of this checkout is what is in it, and CITATION.cff agrees with it."""

import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def files(folder):
    return {
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }


def test_every_file_travels_and_the_recipes_inside_the_package(tmp_path):
    command = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", tmp_path]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    there = {f"curate/{name}" for name in files(ROOT / "curate")}
    recipes = {f"curate/recipes/{name}" for name in files(ROOT / "recipes")}
    assert {"curate/py.typed", "curate/reports/report.html"} <= there
    assert any(name.startswith("curate/recipes/parts/") for name in recipes)
    assert files(tmp_path) == there | recipes


def test_the_citation_names_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert [p["url"] for p in citation["references"]] == [project["urls"]["Paper"]]
