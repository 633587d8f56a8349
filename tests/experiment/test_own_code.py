"""Code of somebody's own belongs to what a run is: a changed loss goes on in no folder, and takes no finished model."""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from graph_lab import short
from test_identity import begun
from tiny_lab import Tiny

from textkd import Match
from textkd.config import build
from textkd.errors import TextkdError
from textkd.experiment.own_code import _bytecode, own_code
from textkd.losses import register
from textkd.losses.registry import _ENTRIES

HELPER = "def power(x):\n    return x ** 2\n"
LOSS = """
import functools
import torch
import helping
FACTOR = 2.0

def inner(x):
    # a word
    return x.abs()

def mine(student, teacher, mask=None, *, scale: float = 1.0):
    return FACTOR * scale * helping.power(inner(student - teacher)).mean()

class Own(torch.nn.Module):
    size = 3

    def forward(self, student, teacher, mask=None):
        return (student - teacher).square().mean()

class Given:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, student, teacher, mask=None):
        return self.factor * (student - teacher).square().mean()

def made(factor):
    return lambda student, teacher, mask=None: factor * (student - teacher).square().mean()
"""


def module(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of one's own from a new file."""
    file = folder / f"{name}-{len(list(folder.iterdir()))}.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, made)
    spec.loader.exec_module(made)
    return made


CHANGES: dict[str, tuple[str, str, str, bool]] = {  # of which, a text, the text in its place, is it another code
    "the body": ("LOSS", ".mean()\n\nclass", ".sum()\n\nclass", True),
    "a constant": ("LOSS", "FACTOR = 2.0", "FACTOR = 3.0", True),
    "a default": ("LOSS", "scale: float = 1.0", "scale: float = 2.0", True),
    "a function that it calls": ("LOSS", "x.abs()", "x.tanh()", True),
    "a module that it calls": ("HELPER", "x ** 2", "x ** 4", True),
    "a comment": ("LOSS", "# a word", "# another word", False),
    "what it does not call": ("LOSS", "size = 3", "size = 4", False),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_function_is_known_by_all_that_it_says(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where, before, after, another = CHANGES[what]

    def code(change: bool) -> str:
        texts = {"HELPER": HELPER, "LOSS": LOSS}
        if change:
            assert before in texts[where]
            texts[where] = texts[where].replace(before, after)
        module(tmp_path, "helping", texts["HELPER"], monkeypatch)
        return own_code([Match("hidden", loss=module(tmp_path, "losing", texts["LOSS"], monkeypatch).mine)])

    first = code(False)
    assert len(first) == 16
    assert code(False) == first
    assert (code(True) != first) == another


def test_classes_and_what_functions_hold_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module(tmp_path, "helping", HELPER, monkeypatch)
    one = module(tmp_path, "losing", LOSS, monkeypatch)
    other = module(tmp_path, "losing", LOSS.replace("size = 3", "size = 4"), monkeypatch)
    third = module(
        tmp_path, "losing", LOSS.replace("square().mean()\n\nclass Given", "abs().mean()\n\nclass Given"), monkeypatch
    )
    assert len({own_code([Match("hidden", loss=place.Own())]) for place in (one, other, third)}) == 3
    small, large = one.Given(1.0), one.Given(2.0)
    assert own_code([Match("hidden", loss=small)]) != own_code([Match("hidden", loss=large)])
    assert own_code(one.made(1.0)) == own_code(one.made(1.0)) != own_code(one.made(2.0))
    partial = functools.partial
    assert own_code(partial(one.mine, scale=1.0)) != ""
    assert own_code([Match("hidden", loss="mse"), {"learning_rate": 1e-3}, build.from_recipe, functools.cache]) == ""


def test_the_order_of_a_set_does_not_count() -> None:
    """It is another one in every process; here, of code without a source."""
    names = [f"word_{letter}" for letter in "fbdace"]
    text = _bytecode(eval(f"lambda student: student in {set(names)}").__code__)
    assert sorted(names, key=text.index) == sorted(names)


@pytest.mark.long
@pytest.mark.parametrize("finished", ["", "student"])
def test_a_changed_loss_is_another_run(
    finished: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a loss that the recipe calls by its name: the recipe is the same."""
    monkeypatch.setitem(_ENTRIES, ("hidden", "losing"), None)  # so that it goes away at the end
    module(tmp_path, "helping", HELPER, monkeypatch)

    def told(text: str) -> Any:
        del _ENTRIES["hidden", "losing"]
        register("losing", family="hidden")(module(tmp_path, "losing", text, monkeypatch).mine)
        matches = [{"tap": "labels"}, {"tap": "hidden", "loss": "losing"}]
        return build.from_recipe(tiny.write(short(tiny, matches=matches)))

    made = begun(told(LOSS), finished)
    keys = [made.runner.key(node) for node in made.runner.nodes]
    again = told(LOSS + "\n\nMORE = 1\n")
    again.check()
    assert [again.runner.key(node) for node in again.runner.nodes] == keys
    changed = told(LOSS.replace("FACTOR = 2.0", "FACTOR = 4.0"))
    with pytest.raises(TextkdError, match="another content of: code of your own"):
        changed.check()
    assert changed.runner.key(changed.runner.nodes[0]) != keys[0]
