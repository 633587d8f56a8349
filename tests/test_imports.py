"""Who may import whom, read from the source: imports point one way, under `TYPE_CHECKING` and inside functions too."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from tiny_lab import Tiny

import textkd

ROOT = Path(textkd.__file__).parent
# the rooms from the lowest up: a room imports what stands before it in this list; some are kept apart from each other
ROOMS = ("errors", "models", "tasks", "losses", "teachers", "objective", "training", "deploy", "report", "experiment",
         "config", "cli")  # fmt: skip
APART = {
    "tasks": {"losses"}, "losses": {"tasks"}, "teachers": {"losses"},
    "objective": {"tasks"},
    "deploy": {"tasks", "losses", "teachers", "objective", "training"},
    "report": {"tasks", "losses", "teachers", "objective", "training", "deploy"},
}  # fmt: skip
FREE = ("__init__", "__main__")
MOST_ENTRIES, MOST_LINES = 12, 300
ONLY_TORCH = ("models/taps", "losses")


def place(path: Path) -> str:
    """The dotted name of a file."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(dotted: str) -> str:
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(path: Path) -> set[str]:
    """The dotted names of modules that a file imports, wherever in it."""
    found = set[str]()
    for node in NODES[path]:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            wholes = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {whole if whole in MODULES else node.module or "" for whole in wholes}
    return found


FILES = sorted(ROOT.rglob("*.py"))
NODES = {path: list(ast.walk(ast.parse(path.read_text(encoding="utf-8")))) for path in FILES}
MODULES = {place(path) for path in FILES}
ARROWS = {place(path): imports(path) & MODULES - {place(path)} for path in FILES}


def test_the_top_holds_the_rooms_and_nothing_else() -> None:
    entries = {p.stem for p in ROOT.iterdir() if p.name not in ("__pycache__", "py.typed")} - set(FREE)
    assert entries == set(ROOMS)
    assert len(entries) <= MOST_ENTRIES


def test_imports_point_down() -> None:
    wrong = []
    for module, others in ARROWS.items():
        mine = room(module)
        if mine in FREE:
            continue
        below = set(ROOMS[: ROOMS.index(mine)]) - APART.get(mine, set())
        wrong += [f"{module} -> {other}" for other in others if room(other) not in {mine, *below}]
    assert wrong == []


def test_files_make_no_circle() -> None:
    packages = {place(path) for path in FILES if path.name == "__init__.py"}
    graph = {m: {o for o in others if o not in packages} for m, others in ARROWS.items() if m not in packages}
    list(TopologicalSorter(graph).static_order())  # raises CycleError with the circle


def test_a_file_is_read_in_one_sitting() -> None:
    lengths = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


@pytest.mark.parametrize("name", ONLY_TORCH)
def test_the_lowest_rooms_know_torch_alone(name: str) -> None:
    third_party = {"accelerate", "datasets", "evaluate", "pydantic", "typer", "rich", "yaml"}
    third_party |= set() if name == "models/taps" else {"transformers"}
    found = {top.split(".")[0] for path in (ROOT / name).rglob("*.py") for top in all_imports(path)}
    assert found & third_party == set()


def all_imports(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


# Where names of OCR may stand: its rooms, what a user may import, the table of the kinds of task, and the report's page
OF_LINES = ("tasks/ocr/", "teachers/generation/", "__init__.py", "tasks/kinds.py", "report/generation.py",
            "deploy/lines_", "deploy/runtime/lines")  # fmt: skip
WORDS_OF_LINES = {"ocr", "recogniser", "recognisers", "beam", "beams"}


def test_names_of_ocr_stay_in_their_rooms() -> None:
    """Names of variables, functions, attributes and parameters; a text may be about anything."""
    found = set[str]()
    for path in FILES:
        place_of_file = path.relative_to(ROOT).as_posix()
        if place_of_file.startswith(OF_LINES) or place_of_file.endswith("/__init__.py"):
            continue
        for node in NODES[path]:
            names = [getattr(node, field, None) for field in ("id", "attr", "arg", "name")]
            words = {word for name in names if isinstance(name, str) for word in name.lower().split("_")}
            found |= {f"{place_of_file}: {word}" for word in words & WORDS_OF_LINES}
    assert found == set()


def test_only_one_file_knows_the_trainer_itself() -> None:
    knowing = [path.name for path in FILES if "class" in path.read_text() and "(Trainer)" in path.read_text()]
    assert knowing == ["trainer.py"]


WRONG = "task: {name: text}\nteacher: {path: x}\nstudent: {shrink: {layers: [1]}}\nmatches: [{tap: logits}]\n"
AT_ONCE = {
    "help": (["--help"], 0, "Usage"),
    "help of a command": (["run", "--help"], 0, "FILE"),
    "version": (["--version"], 0, "textkd"),
    "losses": (["ls", "losses"], 0, "Hinton"),
    "presets": (["ls", "presets"], 0, "tinybert"),
    "a preset": (["ls", "presets", "hinton"], 0, "matches"),
    "recipes": (["ls", "recipes"], 0, "quickstart"),
    "no such list": (["ls", "lossses"], 2, "nearest: losses"),
    "no such recipe": (["check", "nowhere.yaml"], 2, "no such file"),
    "a wrong key": (["run", "bad.yaml", "controll=true"], 2, "nearest: control"),
    "a wrong key of a match": (["check", "bad.yaml", "matches.0.wieght=1"], 2, "nearest: weight"),
    "a wrong type": (["check", "bad.yaml", "max_length=long"], 2, "a whole number"),
    "a wrong preset": (["plan", "bad.yaml", "preset=hinton"], 2, "both are given"),
    "a wrong override": (["cache", "bad.yaml", "matches.7.weight=1"], 2, "not an index"),
}
HEAVY = ("torch", "transformers", "datasets", "accelerate", "evaluate", "numpy", "pandas", "scipy", "matplotlib")


# Each command line runs in a child of a process that has imported what is quick, so that no child imports it again
PROGRAM = """import os, sys
import textkd.cli.listings, textkd.config.validate
from textkd.cli.app import main
def run(words, log):
    file = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1), os.dup2(file, 2)
    sys.argv, code = words, 0
    try:
        main()
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    print("heavy:", *(name for name in HEAVY if name in sys.modules))
    sys.stdout.flush()
    os._exit(code)
for number, words in enumerate(LINES):
    child = os.fork()
    if child == 0:
        try:
            run(words, f"{number}.txt")
        finally:
            os._exit(70)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def told(lines: list[list[str]], heavy: tuple[str, ...], folder: Path) -> list[tuple[int, str]]:
    """(exit code, all that was said) of command lines, each in a process of its own; the last line of what was said
    names which of `heavy` it has imported."""
    program = f"HEAVY, LINES = {heavy}, {lines}\n{PROGRAM}"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    codes = [int(code) for code in done.stdout.split()]
    return [(code, (folder / f"{number}.txt").read_text()) for number, code in enumerate(codes)]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """What each of `AT_ONCE` ended in and said."""
    folder = tmp_path_factory.mktemp("answers")
    (folder / "bad.yaml").write_text(WRONG)
    lines = [["textkd", *words] for words, _, _ in AT_ONCE.values()]
    return dict(zip(AT_ONCE, told(lines, HEAVY, folder), strict=True))


@pytest.mark.parametrize("name", AT_ONCE)
def test_nothing_heavy_stands_before_a_quick_answer(name: str, answers: dict[str, tuple[int, str]]) -> None:
    _, code, said = AT_ONCE[name]
    ended, all_said = answers[name]
    assert ended == code, all_said
    assert said in all_said
    assert all_said.splitlines()[-1].strip() == "heavy:"


@pytest.mark.long
def test_a_check_imports_no_more_than_it_needs(tiny: Tiny) -> None:
    task = {
        "name": "text", "train": str(tiny.folder / "data" / "train.tsv"), "text": "sentence", "label": "label",
        "labels": ["0", "1"], "eval": {"fraction": 0.25, "seed": 0},
    }  # fmt: skip
    slow = ("evaluate", "sklearn", "scipy.stats", "matplotlib", "jiwer", "onnxruntime")
    ((code, said),) = told([["textkd", "check", str(tiny.write(tiny.recipe | {"task": task}))]], slow, tiny.folder)
    assert code == 0, said
    assert "48 training and 16 evaluation examples" in said
    assert said.splitlines()[-1].strip() == "heavy:"


def test_every_public_name_is_there() -> None:
    assert {name for name in textkd.__all__ if getattr(textkd, name, None) is None} == set()
    assert set(textkd.__all__) <= set(dir(textkd))
    with pytest.raises(AttributeError, match="Distilller"):
        _ = textkd.Distilller
