"""`textkd eval`: a model folder's metrics on one labelled file; and how long rows may be for a model."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from textkd import tasks
from textkd.deploy.manifest import is_exported
from textkd.deploy.modules import module_of
from textkd.errors import Collector, Problem, fail, problem
from textkd.models import loading
from textkd.models.files import at_home
from textkd.models.forward import forward_inputs, positions
from textkd.tasks import Task

log = logging.getLogger("textkd")
NO_LIMIT = 10**6  # a tokenizer without a limit says 1e30


def evaluate(
    model_dir: str, task_name: str, file: str | Path, max_length: int | None = None, options: Sequence[str] = ()
) -> dict[str, float]:
    """The metrics of `task_name` for the model in `model_dir` on `file`.

    task_name: "glue/sst2", or a kind of task that fits itself to the model.
    max_length: tokens per row; what its tokenizer says, else the task's default; fewer where the model has fewer
    positions.
    options: of the kind of task, each as ``label=verdict``.
    Raises `TextkdError`: unknown task, bad file, damaged model or one without a trained head, another number or order
    of labels than the task's.
    """
    kind = tasks.kind(task_name)
    given = _options(task_name, options)
    model, missing = _loaded(model_dir, kind.auto_class)
    if missing:
        found = f"no trained head ({missing[0]} is not in the file, it would be random)"
        raise fail(f"{task_name} with {model_dir}", found, fix="give a model that was trained on the task")
    task = kind.read(model, model_dir, file, given)
    task.problems()
    processor, output, most, wrong = None, task.output, positions(model), Collector()
    with wrong.collecting():
        processor = task.processing(model_dir)
    wrong.add(*(output.fits(model, processor) or output.strange(model)), *length_problems(max_length, most))
    wrong.raise_any()
    rows = task.encode(processor, "eval", forward_inputs(model), max_length or min(_own_length(processor, task), most))
    said, wanted = output.predict(model, rows, task.collator(processor, model)), output.references(rows)
    for note in [*output.on_trust(model), *task.warnings(), *output.doubts(said, wanted)]:
        log.warning(note)
    return dict(output.compute_metrics(said, wanted))


def _loaded(model_dir: str, auto_class: Any) -> tuple[Any, list[str]]:
    """The model of a folder, of PyTorch or exported, and the weights that it has not."""
    if is_exported(at_home(model_dir)):
        model = module_of(at_home(model_dir), one_by_one=True)
        model.refuse_other(auto_class)
        return model, []
    return loading.load_model_info(model_dir, auto_class)


def _own_length(processor: Any, task: Task) -> int:
    """Where a model's folder has its rows cut: a plain tokenizer does it there too."""
    said = getattr(processor, "model_max_length", None)
    return said if isinstance(said, int) and 0 < said < NO_LIMIT else task.default_length


def _options(task_name: str, texts: Sequence[str]) -> dict[str, Any]:
    """The options of a kind of task by name; every text that is none is a problem."""
    found, given, known = Collector(), dict[str, Any](), tasks.kind(task_name).eval_options
    for text in texts:
        name, _, value = text.partition("=")
        if not name or not value:
            found.add(problem(f"eval with {text!r}", "not of the form KEY=VALUE", fix="as label=verdict"))
        elif name in given:
            found.add(problem(f"eval with {text!r}", f"{name} is given twice", fix="once"))
        elif name in known:
            with found.collecting():
                given[name] = _value(name, value, known[name])
        else:
            takers = [other for other in tasks.names() if name in tasks.kind(other).eval_options]
            fix = f"leave {name}= out" + (f", or --task {' or '.join(takers)}" if takers else "")
            has = f"the options of {task_name} are {', '.join(known)}" if known else f"{task_name} has no options"
            found.add(problem(f"eval of {task_name} with {text}", has, near=(name, known), fix=fix))
    found.raise_any()
    return given


def _value(name: str, text: str, types: Collection[type]) -> Any:
    """What somebody wrote as the value of an option, in the first of its types that it is."""
    for one in (type_ for type_ in (str, bool, int) if type_ in types):
        if one is str:
            return text
        if one is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if one is int and text.removeprefix("-").isdecimal():
            return int(text)
    expected = " or ".join({bool: "true or false", int: "a whole number"}.get(one, one.__name__) for one in types)
    raise fail(f"eval with {name}={text}", f"not {expected}", fix=f"{name}= and {expected}")


def length_problems(max_length: int | None, most: int) -> list[Problem]:
    """What is wrong with an asked length beside a model's number of positions."""
    if max_length is None or 4 <= max_length <= most:
        return []
    return [problem(f"max_length {max_length}", f"the model has {most} positions", fix=f"4 to {most}")]
