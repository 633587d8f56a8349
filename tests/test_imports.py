"""Who may import whom, read from the source: no arrow upward, no cycle, and nothing slow behind `textkd --help`."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import textkd

ROOT = Path(textkd.__file__).parent
# every room of ours, and the rooms it may import; `errors` is allowed everywhere
LOW = ("taps", "losses", "projections", "schedules", "layermaps")
MODELS = ("inputs", "pretrained", "modelfiles", "students", "tasks", "teachers", "predict")
RUNNING = ("arguments", "trainer", "average", "objective", "matches", "callbacks", "checkpoints", "record", "methods",
           "runs", "sharding", "ends", "directions")  # fmt: skip
MAY = {
    "errors": (),
    "taps": (),
    "losses": (),
    "projections": (),
    "schedules": (),
    "layermaps": (),
    "metrics": (),
    "inputs": (),
    "kernels": (),
    "directions": (),
    "identity": ("teachers",),
    "tasks": ("metrics", "inputs", "predict", "pretrained"),
    "modelfiles": (),
    "repairs": (),
    "pretrained": ("modelfiles", "repairs"),
    "students": ("pretrained", "repairs"),
    "teachers": ("taps", "inputs", "checkpoints"),
    "comparison": ("losses", "projections", "schedules"),
    "ends": ("layermaps", "losses", "taps"),
    "matches": (*LOW, "comparison", "ends"),
    "objective": ("matches", "losses", "schedules", "taps"),
    "checkpoints": (),
    "callbacks": ("checkpoints",),
    "record": ("checkpoints",),
    "average": ("sharding",),
    "sharding": ("projections", "taps"),
    "samplers": (),
    "runs": ("checkpoints",),
    "predict": ("inputs",),
    "trainer": (
        "inputs",
        "kernels",
        "taps",
        "losses",
        "objective",
        "teachers",
        "callbacks",
        "checkpoints",
        "record",
        "average",
        "samplers",
        "sharding",
    ),
    "arguments": ("losses",),
    "methods": (*LOW, *RUNNING, "inputs", "teachers", "students"),
    "report": ("directions",),
    "examples": ("report",),
    "speeds": ("report",),
    "targets": (*LOW, *MODELS, "methods", "runs"),
    "telling": ("results", "taps", "runs"),
    "results": ("examples", "speeds", *LOW, *MODELS, "methods", "matches", "report", "checkpoints", "runs"),
    "evaluation": ("tasks", "pretrained", "inputs"),
    "checks": (*LOW, *MODELS, *RUNNING, "evaluation", "arguments", "targets"),
    "distiller": (
        *LOW,
        *MODELS,
        *RUNNING,
        "arguments",
        "results",
        "report",
        "evaluation",
        "checks",
        "identity",
        "targets",
        "telling",
    ),
    "export": ("pretrained", "modelfiles", "checkpoints"),
    "recipefile": (),
    "schema": (),
    "presets": ("recipefile", "schema", "matches", "methods"),
    "recipe": ("distiller", "presets", "checks", "schema", "recipefile", "methods", "matches", "targets", *MODELS),
    "listings": ("presets", "recipefile", "losses", "taps", "pretrained"),
    "cli": (
        "recipe",
        "listings",
        "evaluation",
        "report",
        "export",
        "runs",
    ),
    "__main__": ("cli",),
    "__init__": (
        "results",
        "losses",
        "tasks",
        "distiller",
        "matches",
        "methods",
        "presets",
        "schedules",
        "students",
        "taps",
        "targets",
        "teachers",
    ),
}
ONLY_TORCH = ("taps", "losses", "projections", "schedules")


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def typing_only(tree: ast.AST) -> set[ast.AST]:
    """What stands under `if TYPE_CHECKING:`, which never runs."""
    ifs = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    return {inner for one in ifs for child in one.body for inner in ast.walk(child)}


def imports(path: Path) -> set[str]:
    """The dotted names that a file imports when it runs, at any depth of it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped, found = typing_only(tree), set[str]()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            module = node.module or ""
            found |= {f"textkd.{alias.name}" for alias in node.names} if module == "textkd" else {module}
    return found


FILES = sorted(ROOT.rglob("*.py"))
OURS = {path: {name.split(".")[1] for name in imports(path) if name.startswith("textkd.")} for path in FILES}


def test_every_room_is_in_the_plan() -> None:
    assert {room(path) for path in FILES} == set(MAY)


def test_a_file_imports_only_what_its_room_may() -> None:
    more = {path: OURS[path] - {room(path), "errors", *MAY[room(path)]} for path in FILES}
    assert {str(path.relative_to(ROOT)): names for path, names in more.items() if names} == {}


def test_rooms_make_no_cycle() -> None:
    arrows = {name: {other for p in FILES if room(p) == name for other in OURS[p]} - {name} for name in MAY}
    while free := [name for name, others in arrows.items() if not others & set(arrows)]:
        for name in free:
            del arrows[name]
    assert arrows == {}


@pytest.mark.parametrize("name", ONLY_TORCH)
def test_the_lowest_rooms_know_torch_alone(name: str) -> None:
    third_party = {"accelerate", "datasets", "evaluate", "pydantic", "typer", "rich", "yaml"}
    third_party |= set() if name == "taps" else {"transformers"}
    found = {top.split(".")[0] for path in FILES if room(path) == name for top in imports(path)}
    assert found & third_party == set()


def test_only_one_file_knows_the_trainer_itself() -> None:
    knowing = [path.name for path in FILES if "class" in path.read_text() and "(Trainer)" in path.read_text()]
    assert knowing == ["trainer.py"]


def test_help_imports_nothing_slow() -> None:
    code = "import sys, textkd.cli; print(sorted({'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    assert {name for name in textkd.__all__ if getattr(textkd, name, None) is None} == set()
    assert set(textkd.__all__) <= set(dir(textkd))
    with pytest.raises(AttributeError, match="Distilller"):
        _ = textkd.Distilller
