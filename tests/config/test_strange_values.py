"""What no recipe holds: each is refused with a message, within a second, and never ends in a traceback."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from command_line import textkd
from hypothesis import given, settings
from hypothesis import strategies as st

from textkd import TextkdError
from textkd.config import recipe_file
from textkd.config.validate import BLOCKS, validate
from textkd.errors import Problem, brief, nearest, scrub

NINE = ",".join(["*{}"] * 9)
BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{NINE.format(*[f'a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)
TEXTS = {
    "aliases of aliases": (BOMB, "at most 100,000 values"),
    "an alias of itself": ("a: &a [*a]", "inside of what it names"),
    "deep": (f"a: {'[' * 100}{']' * 100}", "nested more than 50 deep"),
    "too deep to be read": (f"a: {'{a: ' * 2000}1{'}' * 2000}", "nested too deep"),
    "a list for a key": ("{? [1, 2] : 3}", "a list for a key in line 1"),
    "a block for a key": ("{? {a: 1} : 3}", "a block for a key in line 1"),
    "nothing for a key": ("~: 1", "a key that is a text or a whole number"),
    "half a character": ('a: "\\ud800"', "half of a character"),
    "half a character for a key": ('"\\ud800": 1', "half of a character"),
    "NUL": ('a: {b: ["\\0"]}', "a text at a.b[0]"),
    "digits": (f"a: {'1' * 5000}", "more than 4,300 digits"),
    "hexadecimal digits": (f"a: 0x{'f' * 5000}", "6,021 digits"),
    "bytes": ("a: !!binary aGVsbG8=", "a bytes"),
    "a set": ("a: !!set {b, c}", "a set"),
    "a tag that is no bool": ("a: !!bool b", "KeyError"),
    "code": ("a: !!python/object/apply:os.system [echo]", "not YAML"),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_no_recipe(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text, due = TEXTS[name]
    (tmp_path / "recipe.yaml").write_text(text)
    code, said = textkd(capsys, monkeypatch, "check", str(tmp_path / "recipe.yaml"))
    assert code == 2
    assert due in said
    assert len(said) < 3000


@pytest.mark.parametrize("path", ["a" * 5000, "a/" * 3000, "~" + "a" * 5000, "a\0b"], ids=["long", "deep", "~", "NUL"])
@pytest.mark.parametrize("command", ["check FILE", "run FILE", "report FILE", "export FILE out", "ls taps FILE",
                                     "eval FILE --task text --file FILE"])  # fmt: skip
def test_a_path_that_cannot_be(
    command: str, path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = textkd(capsys, monkeypatch, *(word.replace("FILE", path) for word in command.split()))
    assert code == 2
    assert "found: " in said
    assert len(said) < 3000


def test_dates_are_texts() -> None:
    assert recipe_file.parse("about: 2026-01-31\n2026-01-31: x") == {"about": "2026-01-31", "2026-01-31": "x"}


def test_a_large_file_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_text("#" * (recipe_file.LARGEST_FILE + 1))
    with pytest.raises(TextkdError, match="262,145 bytes"):
        recipe_file.load(tmp_path / "large.yaml")


def test_a_long_value_is_cut_in_messages() -> None:
    assert len(brief("x" * 200_000)) < 1000
    assert nearest("x" * 200_000, ["y" * 200_000, "loss"]) == ()
    assert scrub("x" * 200_000 + " hub_token=y") == "x" * 200_000 + " hub_token=(not written)"
    _, problems = validate({"foo": "y" * 200_000})
    assert len(str(TextkdError(*problems))) < 5000


WORDS = st.text(st.characters(codec=None), max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.integers(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from([
    "about", "task", "teacher", "teachers", "student", "chain", "cohort", "training", "matches", "stages", "preset",
    "control", "seeds", "max_length", "pseudo", "artifacts", "quantise", "search", "prune",
])  # fmt: skip


def judged(values: dict[str, object], folder: Path) -> None:
    """A recipe is refused, or its keys and types are right."""
    with suppress(TextkdError):
        text = recipe_file.dump(values)
        (folder / "any.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        recipe_file.load(folder / "any.yaml")
    _, problems = validate(values)
    assert all(len(str(problem)) < 5000 for problem in problems)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=3))
def test_any_values(tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]) -> None:
    judged(values, tmp_path_factory.getbasetemp())


@pytest.mark.long
@settings(max_examples=500, derandomize=True, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_many_values(tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]) -> None:
    judged(values, tmp_path_factory.getbasetemp())


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.text(alphabet="ab:[]{}&*!?<>|-#\"'\n ,0.~", max_size=40))
def test_any_text(text: str) -> None:
    with suppress(TextkdError):
        recipe_file.parse(text)


FIELDS = [(place, field.alias or name) for place, block in BLOCKS.items() for name, field in block.model_fields.items()]
PLACES: dict[str, list[str | int]] = {
    "": [], "teacher": ["teacher"], "finetune": ["teacher", "finetune"], "matches": ["matches", 0],
    "stages": ["stages", 0], "chain": ["chain", 0], "cohort": ["cohort"], "pseudo": ["pseudo"],
    "teachers": ["teachers", "big"], "artifacts": ["artifacts", 0], "quantise": ["quantise"], "search": ["search"],
    "prune": ["prune"],
}  # fmt: skip
VALUES: list[object] = [5, 2.5, True, "", [], [["x"]], {"a": 1}, [None], {1: 2}, {"1": 2}, None, [[1, "2"]], ["x", 5]]


def test_values_of_wrong_types_are_told_in_own_words() -> None:
    """What the library of types says ("input should be ...") follows no recipe."""
    for place, name in FIELDS:
        for value in VALUES:
            found = problems_of(PLACES[place], name, value)
            assert [p for p in found if "nput should" in p.found or "valid" in p.found] == []
            assert [p for p in found if p.found.startswith("a ") and not p.fix] == []


def problems_of(place: list[str | int], name: str, value: object) -> list[Problem]:
    """Of a recipe with a value in a block."""
    block: object = {"tap": "labels", name: value} if place[:1] == ["matches"] else {name: value}
    for part in reversed(place):
        block = [block] if part == 0 else {part: block}
    base = {"task": {}, "teacher": {"path": "a"}, "student": {"shrink": {}}, "matches": [{"tap": "labels"}]}
    assert isinstance(block, dict)
    return validate({**base, **block})[1]


@pytest.mark.parametrize(("layers", "due"), [({"1": 2}, "1"), ({1: "2"}, "2"), ([[1, "12"]], "12")])
def test_numbers_of_layers_in_quotes(layers: object, due: str) -> None:
    (found,) = problems_of(["matches", 0], "layers", layers)
    assert (found.where, found.fix) == ("matches[0].layers", f"write {due} without quotes")


def test_a_key_that_is_no_text_is_told_of_its_block() -> None:
    (found,) = problems_of([], "training", {1: 2})
    assert (found.where, found.found) == ("training", "the key 1, which is no text")
    (found,) = problems_of([], "max_length", "128")
    assert found.found == "a text, as it stands in quotes"
