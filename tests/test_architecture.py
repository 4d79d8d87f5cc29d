"""Imports go one way, heavy libraries have one home, and every module has a room and a test."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import curate

ROOT = Path(__file__).parent.parent / "curate"
TESTS = Path(__file__).parent

LAYERS = (
    "errors",
    "runtime",
    "data",
    "encoders",
    "inspection",
    "scores",
    "selection",
    "evaluation",
    "runs",
    "reports",
    "stages",
    "__init__",
    "cli",
)
"""From the ground up: a module imports from the rooms before its own, and from its own."""
LIBRARIES = LAYERS[: LAYERS.index("runs")]
"""Rooms that know no run, and can be read, tested and used alone."""
HOMES = {
    "timm": {"encoders/backbone", "encoders/pretrained", "encoders/schedule"},
    "faiss": {"inspection/neighbours"},
    "opacus": {"encoders/dp_sgd"},
    "segmentation_models_pytorch": {"evaluation/dense/network"},
    "datasets": {"data/sources/huggingface"},
    "fsspec": {"data/stores"},
    "webdataset": {"selection/loading"},
    "ray": {"runtime/engines/ray"},
    "submitit": {"runtime/engines/slurm"},
}
"""Modules that may import a heavy library."""
IMPORTED_AS = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}
SHELVES = {
    "runtime/engines": {"base"},
    "data/sources": {"base", "metadata", "idx"},
    "encoders/views": {"spec", "draws", "apply"},
    "encoders/methods": {"base"},
    "evaluation/probes": {"base"},
    "selection/exports": {"subset"},
    "selection/strategies": {"base"},
    "scores/measures": {"base", "heads"},
}
"""Shelves of plug-ins, and what the plug-ins of each may share."""
COMPOSED = {
    "reports/quantities": "the commands of `curate table`",
    "runs/next_steps": "the commands that follow, and a sentence on one of them",
    "runtime/engines/slurm": "options of srun",
    "runtime/options": "the flags that are called otherwise than a parameter",
    "stages/table": "the commands of `curate table`, word by word",
}
"""Modules of the library that compose commands out of flags, and which."""
LONGEST = 500
SETTINGS = "settings; tested with the recipes that hold them, in runs/test_recipe.py"
COMMANDS = "commands; typed in cli/test_app.py"
WORDS = "results in words; in cli/test_results.py, and typed in cli/test_app.py"
UNTESTED = {
    "__main__": "a line; typed in cli/test_app.py",
    "cli/__init__": "names main",
    "cli/adoption": COMMANDS,
    "cli/evaluation": COMMANDS,
    "cli/inspection": COMMANDS,
    "cli/options": "what all commands share; typed in cli/test_app.py and read in test_docs.py",
    "cli/pipeline": COMMANDS,
    "cli/runs": COMMANDS,
    "cli/selection": COMMANDS,
    **{
        f"cli/results/{name}": WORDS
        for name in ("adoption", "evaluation", "inspection", "pipeline", "runs", "selection")
    },
    "data/addresses": "tested with what lies at them, in data/test_remote.py",
    "data/cached": "the cache of what is fetched; tested in data/test_remote.py",
    "data/config": SETTINGS,
    "data/shards/__init__": "names what its modules offer",
    "data/sources/base": "what a source is; every source's own tests are tests of it",
    "data/sources/metadata": "files beside images; read in data/sources/test_folder.py",
    "encoders/config": SETTINGS,
    "encoders/gradients": "a step of a training; in encoders/test_training.py and test_dp_sgd.py",
    "encoders/loop": "the steps of a training; in encoders/test_training.py",
    "encoders/methods/base": "what a method is; every method's own tests are tests of it",
    "encoders/part_gradients": "steps of several processes; in encoders/test_ranks.py",
    "encoders/stepping": "asked for or repeated; in encoders/test_captured.py",
    "encoders/views/spec": "settings; tested with the operations in encoders/views/test_apply.py",
    "evaluation/config": SETTINGS,
    "runtime/engines/base": "what an engine is; every engine's own tests are tests of it",
    "evaluation/dense/__init__": "tasks and their measures; in evaluation/dense/test_fitting.py",
    "evaluation/dense/base": "what tasks share; every task's own tests are tests of it",
    "inspection/config": SETTINGS,
    "runs/adopted": "adopted encoders in a run; in stages/test_adopt.py",
    "reports/__init__": "names what its modules offer",
    "reports/drawing": "how figures are drawn; tested with all of them in reports/test_figures.py",
    "reports/quantities": "what a run says for the paper's figures; in stages/test_table.py",
    "reports/viewer/__init__": "names what its modules offer",
    "runs/late": "settings that come late; tested with what they redo in runs/test_units.py",
    "runs/sample_lookup": "one sample of an inspected run; in stages/test_inspect.py",
    "runs/store": "what runs share; tested with the units that lie in it, in runs/test_units.py",
    "scores/config": SETTINGS,
    "selection/config": "settings; tested with selections in selection/test_selection.py",
    "stages/probe": "probes of a run and of a source; typed in cli/test_app.py",
}
"""Modules without a test file of their own path, and why, or where they are tested."""


def modules():
    return sorted(ROOT.rglob("*.py"))


def name_of(path):
    return path.relative_to(ROOT).with_suffix("").as_posix()


def room(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports(path):
    """Yield every module that is imported, at whatever depth, also for type checking alone."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(path):
    """Return the modules of curate that a module imports, as dotted names."""
    known = {".".join(("curate", *name_of(p).split("/"))) for p in modules()}
    known |= {name.removesuffix(".__init__") for name in known}
    return {name for name in imports(path) if name in known and name != "curate"}


def home_of_tests(path):
    """Return the test file of a module; that of a package is named after its folder."""
    module = path.relative_to(ROOT)
    stem = path.parent.name if path.stem == "__init__" else path.stem
    return TESTS / module.parent / f"test_{stem}.py"


def has_code(path):
    """Tell whether a module is more than a docstring."""
    return path.stem != "__init__" or len(ast.parse(path.read_text()).body) > 1


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def private_names():
    """Return every name with one underscore that a module, a class or an object of curate has."""
    names = set()
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.FunctionDef() | ast.ClassDef():
                    names.add(node.name)
                case ast.Name(ctx=ast.Store()):
                    names.add(node.id)
                case ast.Attribute(ctx=ast.Store()):
                    names.add(node.attr)
    return {name for name in names if is_private(name)}


def reaches(tree, private):
    """Yield the private names of curate that a test imports, asks of anything, or patches."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom() if (node.module or "").split(".")[0] == "curate":
                yield from (alias.name for alias in node.names if is_private(alias.name))
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute() if node.attr in private:
                yield node.attr
            case (
                ast.Call(func=ast.Attribute(attr="setattr")) | ast.Call(func=ast.Name(id="getattr"))
            ):
                texts = [a.value for a in node.args if isinstance(a, ast.Constant)]
                last = [text.rpartition(".")[2] for text in texts if isinstance(text, str)]
                yield from (name for name in last if name in private)


def spoken_flags(tree):
    """Yield the texts of a module that name a flag outside of a whole command to type.

    Docstrings are for who reads the code. A whole command, `curate` and its name first, is a text
    of its own or stands in quotes.
    """
    silent = set()
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant() as text):
                silent.add(text)
            case ast.JoinedStr(values=parts):
                silent |= set(parts)
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if node not in silent:
                pass
            case ast.JoinedStr(values=parts):
                text = "".join(p.value if isinstance(p, ast.Constant) else "{}" for p in parts)
            case _:
                continue
        without = re.sub(r"^curate [a-z]+ .*|'curate [a-z]+ [^']*'", "", text)
        if re.search(r"(?<![\w-])--[a-z]", without):
            yield text


def test_every_room_is_in_the_tuple():
    assert {room(path) for path in modules()} <= set(LAYERS) | {"__main__"}
    assert set(LAYERS) <= {room(path) for path in modules()}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_go_one_way(path):
    if room(path) in ("__init__", "__main__"):
        return
    below = LAYERS[: LAYERS.index(room(path)) + 1]
    used = {name.split(".")[1] for name in own(path)}
    assert used <= set(below), f"{name_of(path)} reaches up: {sorted(used - set(below))}"
    public = {"curate", *(f"curate.{name}" for name in curate.__all__)}
    whole = {a.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Import)
             for a in n.names}  # fmt: skip
    if public & {*whole, *(set(imports(path)) - {"curate"})}:
        assert room(path) == "cli", f"{name_of(path)} imports the public functions"


def test_no_two_modules_import_each_other():
    # Only what is imported when a module is, not what a function imports when it runs.
    graph = {}
    for path in modules():
        tree = ast.parse(path.read_text())
        at_once = ast.Module([n for n in tree.body if isinstance(n, ast.ImportFrom)], [])
        names = set()
        for node in ast.walk(at_once):
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        graph[".".join(("curate", *name_of(path).split("/")))] = names
    for name, used in graph.items():
        both = {other for other in used if name in graph.get(other, ())}
        assert not both, f"{name} and {sorted(both)} import each other"


@pytest.mark.parametrize("shelf", sorted(SHELVES))
def test_plug_ins_do_not_import_each_other(shelf):
    inside = f"curate.{shelf.replace('/', '.')}."
    for path in sorted((ROOT / shelf).glob("*.py")):
        if path.stem != "__init__":
            used = {name.removeprefix(inside) for name in own(path) if name.startswith(inside)}
            assert used <= SHELVES[shelf], f"{name_of(path)} imports {sorted(used)}"


def test_heavy_libraries_have_one_home():
    for path in modules():
        for name in imports(path):
            top = name.split(".")[0]
            assert name_of(path) in HOMES.get(top, {name_of(path)}), f"{path} imports {top}"


def test_every_declared_dependency_is_imported():
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=!~ \[]", text)[0].lower() for text in project["dependencies"]}
    used = {name.split(".")[0] for path in modules() for name in imports(path)}
    unused = {name for name in declared if IMPORTED_AS.get(name, name) not in used}
    assert unused == set()


def test_importing_the_command_line_imports_nothing_heavy():
    code = (
        "import sys, curate, curate.cli, curate.runs.recipe, curate.selection.selection;"
        "print([m for m in ('torch', 'timm', 'faiss', 'datasets', 'sklearn') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_no_grab_bags():
    names = {p.stem for p in modules()} | {p.name for p in ROOT.rglob("*") if p.is_dir()}
    assert not names & {"utils", "helpers", "common", "misc", "util", "tools"}


def test_no_module_is_too_long_to_read():
    lengths = {name_of(p): len(p.read_text().splitlines()) for p in modules()}
    assert {name: n for name, n in lengths.items() if n > LONGEST} == {}


def test_the_library_does_not_speak_of_flags():
    library = [p for p in modules() if room(p) != "cli"]
    texts = {name_of(p): list(spoken_flags(ast.parse(p.read_text()))) for p in library}
    speaking = {name: found for name, found in texts.items() if found}
    assert {name: found for name, found in speaking.items() if name not in COMPOSED} == {}
    assert set(speaking) == set(COMPOSED), "a line of COMPOSED is out of date"


@pytest.mark.parametrize(
    ("code", "speaks"),
    [
        ('raise UsageError("start over with --fresh.")', True),
        ('raise UsageError(f"{path} is there; "\n"start over with --fresh.")', True),
        ('log.warning("%s: --label none", path)', True),
        ('words += ["--set", setting]', True),
        ("f\"type 'curate score {run} --set plan.repeats=3', or --fresh\"", True),
        ("f\"type 'curate score {run} --set plan.repeats=3', or not\"", False),
        ('f"curate compare {run} " "--seeds 5"', False),
        ("f'probe it with curate probe --on SOURCE.'", True),
        ('def ranks():\n    """Take ``--ranks``."""', False),
        ('f"{a}--{b}", "a -- b", "---"', False),
    ],
)
def test_a_flag_is_heard_however_it_is_spoken(code, speaks):
    assert bool(list(spoken_flags(ast.parse(code)))) is speaks


def test_only_the_command_line_ends_the_process():
    for path in modules():
        if name_of(path) != "cli/app":
            assert "sys.exit(" not in path.read_text(), path


def test_no_public_name_is_hidden_by_a_room_of_that_name():
    # ``import curate.score`` would put the module where the function was.
    assert not set(curate.__all__) & {room(path) for path in modules()}
    assert all(callable(getattr(curate, name)) for name in curate.__all__)


def test_every_module_has_a_test_file_or_a_reason_why_not():
    lacking = {name_of(p) for p in modules() if has_code(p) and not home_of_tests(p).is_file()}
    assert lacking == set(UNTESTED)


def test_no_test_reaches_into_private_names():
    private = private_names()
    found = {}
    for path in sorted(TESTS.rglob("*.py")):
        names = set(reaches(ast.parse(path.read_text()), private))
        if names:
            found[path.relative_to(TESTS).as_posix()] = sorted(names)
    assert found == {}


@pytest.mark.parametrize(
    "code",
    [
        "from curate.stages.measure import _compute",
        "from curate.stages import measure\nmeasure._compute()",
        "run._record('train')",
        "monkeypatch.setattr(measure, '_compute', None)",
        "monkeypatch.setattr('curate.stages.measure._compute', None)",
        "getattr(measure, '_compute')",
    ],
)
def test_a_private_name_is_found_however_it_is_reached(code):
    assert list(reaches(ast.parse(code), {"_compute", "_record"})) != []


def test_every_path_of_the_architecture_page_exists():
    page = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("## Where is ...?")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (.+\?.*) \| `([^`]+)` \|$", table, re.MULTILINE)
    assert len(rows) >= 20
    assert len(rows) == table.count("\n| ") - 1, "a question has exactly one path"
    missing = [path for _, path in rows if not (ROOT.parent / path).is_file()]
    # Elsewhere in the page paths may begin in curate/, or be folders.
    for path in re.findall(r"`([a-z_]+(?:/[a-z_0-9]+)*(?:/|/[a-z_0-9]+\.py))`", page):
        if not any((place / path).exists() for place in (ROOT, ROOT.parent, *ROOT.glob("*/"))):
            missing.append(path)
    assert missing == []


def test_the_architecture_page_has_every_room_in_its_order():
    page = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = page.partition("## The rooms")[2].partition("## Where is ...?")[0]
    assert tuple(re.findall(r"^\| `(\w+)/?` \|", rooms, re.MULTILINE)) == LAYERS
