"""The formatter of errors: asked, found, nearest, fix; many problems in one error, each with its path."""

from __future__ import annotations

import pytest

from textkd import errors
from textkd.errors import Collector, TextkdError, fail, nearest, problem, reading


def test_one_problem_reads_asked_found_nearest_fix() -> None:
    error = fail('loss "ms"', "no such loss", near=("ms", ["mse", "kl"]), fix="mse", where="matches[1].loss")
    assert str(error).splitlines() == [
        'matches[1].loss: asked: loss "ms"',
        "  found: no such loss",
        "  nearest: mse",
        "  fix: mse",
    ]


def test_empty_lines_are_left_out() -> None:
    assert str(problem("a", "b")) == "asked: a\n  found: b"


def test_the_nearest_name_comes_first_and_a_strange_one_has_none() -> None:
    assert nearest("hiden", ["hidden", "heads", "logits"])[0] == "hidden"
    assert nearest("zzz", ["hidden", "logits"]) == ()


def test_several_problems_say_how_many_and_each_stands_once() -> None:
    found = Collector()
    found.add(problem("a", "1"), problem("b", "2"), problem("a", "1"))
    with pytest.raises(TextkdError) as raised:
        found.raise_any()
    assert str(raised.value).startswith("2 problems\nasked: a")
    assert raised.value.exit_code == 2


def test_no_problem_raises_nothing() -> None:
    found = Collector()
    with found.collecting("task"):
        pass
    found.raise_any()
    assert found.problems == []


def test_paths_are_joined_for_what_is_raised_and_what_is_added() -> None:
    found = Collector()
    found.add(problem("before", "x"))
    with found.collecting("stages[0]"):
        found.add(problem("added", "x", where="training.seed"))
        with found.collecting("matches"):
            raise fail("raised", "x", where="[2].loss")
        with found.collecting():
            raise fail("plain", "x")
    assert [p.where for p in found.problems] == [
        "", "stages[0].training.seed", "stages[0].matches[2].loss", "stages[0]",
    ]  # fmt: skip


def test_other_exceptions_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), Collector().collecting("task"):
        _ = 1 / 0


def from_a_line_of(file: str, line: str) -> None:
    """Runs a line as if it stood in a file."""
    exec(compile(line, file, "exec"), {})


OURS, THEIRS = errors.__file__, "/somewhere/else.py"


@pytest.mark.parametrize("line", ["no_such_name", "(5).no_such_attribute", "assert False"])
def test_a_defect_of_our_own_is_no_message_about_a_file(line: str) -> None:
    with pytest.raises((NameError, AttributeError, AssertionError)), reading("rows in x.csv"):
        from_a_line_of(OURS, line)
    with pytest.raises(TextkdError, match=r"rows in x\.csv"), reading("rows in x.csv"):
        from_a_line_of(THEIRS, line)


@pytest.mark.parametrize("line", ["int('x')", "{}['x']", "open('/no/such/file')", "[][5]", "len(5)"])
def test_what_a_value_breaks_is_a_message_wherever_it_breaks(line: str) -> None:
    for file in (OURS, THEIRS):
        with pytest.raises(TextkdError, match=r"rows in x\.csv"), reading("rows in x.csv"):
            from_a_line_of(file, line)
