"""From the `task:` block of a recipe to a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textkd import tasks
from textkd.errors import Collector, Problem, TextkdError, fail, problem, reading
from textkd.losses.options import fits, hints, say
from textkd.tasks import Task


def task_of(block: Mapping[str, Any], found: Collector) -> Task | None:
    """The task of {name: glue, subset: sst2, path: DIR}, {name: text, train: FILE, ...} and so on; the options are
    those of its kind (`tasks.kind`).

    Args:
        block: of the recipe.
        found: gets what is wrong. Options that nobody has, and bad ones on which no row depends, are left out, so that
            the rows can be looked at.

    Returns:
        The task; None where it cannot be made.

    Raises:
        TextkdError: no such task.
    """
    name, options = _name_of(block)
    if name not in tasks.names():
        where, asked, kinds = "name", name, list(tasks.names())
        if "subset" in block and "subset" not in options:
            where, asked = "subset", str(block["subset"])
            kinds = [one.partition("/")[2] for one in kinds if one.startswith(f"{block['name']}/")]
        elif "subset" in block:
            kinds = list(dict.fromkeys(one.partition("/")[0] for one in kinds))
        fix = f"one of {', '.join(kinds)}"
        raise fail(f"task {name or '(no name)'}", "no such task", near=(asked, kinds), where=where, fix=fix)
    kind = tasks.kind(name)
    for key in [key for key in options if key not in kind.options]:
        fix = (kind.elsewhere or {}).get(str(key)) or f"one of {', '.join(kind.options)}"
        asked, near = f"{key}: {options.pop(key)!r}", (str(key), kind.options)
        found.add(problem(asked, f"task {name} has no such option", near=near, where=str(key), fix=fix))
    due = hints(kind.make)
    wrong = [problem(f"{key}: {value!r}", f"a {type(value).__name__}", fix=f"give {say(due[key])}", where=key)
             for key, value in options.items() if key in due and not fits(value, due[key])]  # fmt: skip
    bad = {p.where for p in wrong}
    made, told = _made(name, {key: value for key, value in options.items() if key not in bad})
    told = [p for p in told if _option(p) not in bad]  # else it follows from what is left out
    found.add(*wrong, *told)
    bad |= {_option(p) for p in told}
    if not bad <= {*kind.apart}:
        return None
    return made or _made(name, {key: value for key, value in options.items() if key not in bad})[0]


def _made(name: str, options: Mapping[str, Any]) -> tuple[Task | None, list[Problem]]:
    found = Collector()
    with found.collecting(), reading(f"task {name} with {options}", fix="give each option a value of its kind"):
        return tasks.get(name, **options), []
    return None, found.problems


def _option(wrong: Problem) -> str:
    """The option that a problem is about."""
    return wrong.where.partition(".")[0].partition("[")[0]


def _name_of(block: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """(name, options) of a block; {name: glue, subset: sst2} is the task glue/sst2."""
    options = dict(block)
    name = str(options.pop("name", ""))
    has_subsets = any(known.startswith(f"{name}/") for known in tasks.names())
    return (f"{name}/{options.pop('subset')}", options) if has_subsets and "subset" in options else (name, options)


def kind_of(block: Mapping[str, Any]) -> tasks.Kind | None:
    """The kind of task, also of one that cannot be made; None where there is no such kind."""
    name, _ = _name_of(block)
    return tasks.kind(name) if name in tasks.names() else None


def labels_of_task(task: Task | None) -> dict[str, Any]:
    """What a head for the task needs; nothing where its data cannot be read, which the task itself tells."""
    try:
        return {} if task is None else task.output.head()
    except TextkdError:
        return {}
