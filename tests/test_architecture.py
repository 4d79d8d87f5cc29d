"""Imports go one way, heavy libraries have one home, and no module is a grab-bag."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import curate

ROOT = Path(__file__).parent.parent / "curate"

# From the ground up: a module imports from the layers below its own, and beside it in its own; a
# shelf imports nothing beside it.
LAYERS = [
    {"errors", "progress", "stopping", "visible"},
    {"keyed", "atomic", "scratch", "code", "records"},
    {"checkpoint", "decoding", "backbone"},
    {"sources", "shards", "views", "selectors", "probes"},
    {"methods", "exports", "images"},
    {"recipe_files"},
    {"recipe"},
    {"rundir"},
    {
        "agreement",
        "partition",
        "training",
        "private",
        "align",
        "contrasts",
        "memorization",
        "moments",
        "separation",
        "significance",
        "doubt",
        "costs",
        "neighbours",
        "duplicates",
        "triage",
        "inspection",
        "spaces",
        "relations",
        "lookup",
        "comparison",
        "probing",
        "engine",
        "reports",
        "selection",
        "verification",
        "viewing",
        "opening",
    },
    {"measures"},
    {"stages"},
    {"scoring"},
    {"measuring", "localizing"},
    {"refining"},
    {"downstream"},
    {"pipeline", "machine", "forecasting", "benchmark"},
    {"choosing"},
    {"api"},
    {"describe", "console", "options", "exits"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
HEAVY = {
    "timm": {"backbone", "training"},
    "faiss": {"neighbours"},
    "opacus": {"private"},
    "webdataset": {"shards", "sources"},
    "datasets": {"sources"},
}
SHARED = {
    "sources": {"base", "metadata", "idx"},
    "views": {"spec", "draws", "apply"},
    "methods": {"base"},
    "selectors": {"base"},
    "probes": {"base"},
    "exports": {"subset"},
    "measures": {"base", "heads"},
}
"""Shelves of plug-ins, and what the plug-ins of each may share."""
LONGEST = 500


def modules():
    return sorted(ROOT.rglob("*.py"))


def part(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports(path):
    """Yield every module that is imported, at whatever depth, also for type checking alone."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "curate":
                yield from (f"curate.{alias.name}" for alias in node.names)
            else:
                yield node.module


def test_every_module_has_a_layer_and_every_layer_its_modules():
    assert {part(p) for p in modules()} == set().union(*LAYERS) | {"__init__"}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_dependencies_go_one_way(path):
    if path == ROOT / "__init__.py":
        return
    level = next(i for i, layer in enumerate(LAYERS) if part(path) in layer)
    below = set().union(*LAYERS[:level]) | {part(path)}
    beside = LAYERS[level] if part(path) not in SHARED else set()
    used = {name.split(".")[1] for name in imports(path) if name.startswith("curate.")}
    assert used <= below | beside, f"{path.name} reaches up: {sorted(used - below - beside)}"


@pytest.mark.parametrize("shelf", sorted(SHARED))
def test_plug_ins_do_not_import_each_other(shelf):
    shared = SHARED[shelf]
    for path in sorted((ROOT / shelf).glob("*.py")):
        if path.stem != "__init__":
            used = {n.split(".")[2] for n in imports(path) if n.startswith(f"curate.{shelf}.")}
            assert used <= shared, f"{path.name} imports {sorted(used - shared)}"


def test_heavy_libraries_have_one_home():
    for path in modules():
        for name in imports(path):
            top = name.split(".")[0]
            if top in HEAVY:
                assert part(path) in HEAVY[top], f"{path.name} imports {top}"


def test_importing_the_command_line_imports_nothing_heavy():
    code = (
        "import sys, curate, curate.cli, curate.api, curate.recipe, curate.selection;"
        "print([m for m in ('torch', 'timm', 'faiss', 'datasets', 'sklearn') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_no_grab_bags():
    names = {p.stem for p in modules()} | {p.name for p in ROOT.rglob("*") if p.is_dir()}
    assert not names & {"utils", "helpers", "common", "misc", "util", "tools"}


def test_no_module_is_too_long_to_read():
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in modules()}
    assert {name: n for name, n in lengths.items() if n > LONGEST} == {}


def test_only_the_command_line_ends_the_process():
    for path in modules():
        if path != ROOT / "cli.py":
            assert "sys.exit(" not in path.read_text(), path


def test_no_public_name_is_hidden_by_a_module_of_that_name():
    # ``import curate.score`` would put the module where the function was.
    assert not set(curate.__all__) & {part(p) for p in modules()}
    assert all(callable(getattr(curate, name)) for name in curate.__all__)
