"""A model on a task: whether the two fit, and `textkd eval`: a model folder's metrics on one labelled file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textkd import tasks
from textkd.errors import Collector, Problem, TextkdError, fail, problem
from textkd.models import loading
from textkd.models.forward import forward_inputs, positions

log = logging.getLogger("textkd")


def evaluate(
    model_dir: str,
    task_name: str,
    file: str | Path,
    max_length: int | None = None,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    image: str | None = None,
    num_beams: int | None = None,
) -> dict[str, float]:
    """The metrics of `task_name` for the model in `model_dir` on `file`.

    task_name: "glue/sst2", "text" with the model's own labels and the columns `text`, `text_pair`, `label`, or "ocr"
    with the processor beside the model and the columns `image` and `text` (transcriptions).
    max_length: tokens per row; default 128, or fewer where the model has fewer positions. num_beams: of the search
    for a line's text, 1 (greedy) by default.
    Raises `TextkdError`: unknown task, bad file, damaged model or one without a trained head, another number or order
    of labels than the task's.
    """
    if task_name == "ocr":
        beams = {} if num_beams is None else {"num_beams": num_beams}
        return _evaluate_lines(model_dir, file, max_length, {"image": image, "text": text}, beams)
    if num_beams is not None:
        raise fail(f"{task_name} with {num_beams} beams", "it generates no text", fix="leave --num-beams out")
    if image is not None:
        raise fail(f"{task_name} with images in {image!r}", "it reads texts", fix="leave --image out, or --task ocr")
    known = None if task_name == "text" else tasks.get(task_name)
    auto_class = tasks.Task.auto_class if known is None else known.auto_class
    model, missing = loading.load_model_info(model_dir, auto_class)
    if missing:
        found = f"no trained head ({missing[0]} is not in the file, it would be random)"
        raise fail(f"{task_name} with {model_dir}", found, fix="give a model that was trained on the task")
    columns = {"text": text, "text_pair": text_pair, "label": label}
    given = {name: value for name, value in columns.items() if value is not None}
    if known is None:
        known = _text_task(model, file, given)
    elif given:
        fix = f"leave --{next(iter(given)).replace('_', '-')} out, or --task text"
        raise fail(f"{task_name} with columns {', '.join(given.values())}", "its columns are the task's", fix=fix)
    task = known.with_file(file)
    task.problems()
    wrong = label_problems(model, task)
    if wrong:
        raise TextkdError(*wrong)
    most = positions(model)
    if wrong := length_problems(max_length, most):
        raise TextkdError(*wrong)
    tokenizer = loading.load_tokenizer(model_dir)
    rows = task.encode(tokenizer, "eval", forward_inputs(model), max_length or min(task.default_length, most))
    said, wanted = task.predict(model, rows, task.collator(tokenizer)), task.references(rows)
    for note in task.doubts(said, wanted):
        log.warning(note)
    return dict(task.compute_metrics(said, wanted))


def _evaluate_lines(
    model_dir: str,
    file: str | Path,
    max_length: int | None,
    columns: Mapping[str, str | None],
    generation: Mapping[str, Any],
) -> dict[str, float]:
    model, missing = loading.load_model_info(model_dir, tasks.OcrTask.auto_class)
    if missing:
        found = f"{missing[0]} is not in the file, it would be random"
        raise fail(f"ocr with {model_dir}", found, fix="give a model that was trained on lines")
    lines = {"path": str(file), **{name: column for name, column in columns.items() if column is not None}}
    task = tasks.ocr(eval=lines, processor=model_dir, generation=generation)
    task.problems()
    wrong = Collector()
    wrong.add(*fit_problems(model, task, task.processor))
    wrong.add(*length_problems(max_length, positions(model)))
    wrong.raise_any()
    rows = task.encode(task.processor, "eval", (), max_length or min(task.default_length, positions(model)))
    for note in task.warnings():
        log.warning(note)
    collator = task.collator(task.processor, task.start_token(model))
    return dict(task.compute_metrics(task.predict(model, rows, collator), task.references(rows)))


def length_problems(max_length: int | None, most: int) -> list[Problem]:
    """What is wrong with an asked length beside a model's number of positions."""
    if max_length is None or 4 <= max_length <= most:
        return []
    return [problem(f"max_length {max_length}", f"the model has {most} positions", fix=f"4 to {most}")]


def fit_problems(model: Any, task: Any, processing: Any) -> list[Problem]:
    """Where a model and a task do not fit: its classes; for lines, the image size and the tokens of the processor."""
    return list(task.fits(model, processing)) if hasattr(task, "fits") else label_problems(model, task)


def label_problems(model: Any, task: Any) -> list[Problem]:
    """Where the outputs of a model and the classes of a task differ in number or order. Names that the task does not
    have (LABEL_0, ...) say nothing about the order."""
    wanted = task.model_kwargs()
    asked, count = f"{task.name} with {type(model).__name__}", getattr(model, "num_labels", None)
    if count is None:
        return []
    if count != wanted["num_labels"]:
        what = f"a head of {count} outputs; the task has {wanted['num_labels']}"
        return [problem(asked, what, fix="a model that was trained on this task, or finetune it on the task first")]
    mine = [str(model.config.id2label[i]) for i in sorted(model.config.id2label)]
    theirs = [str(wanted["id2label"][i]) for i in sorted(wanted["id2label"])]
    low_mine, low_theirs = ([name.lower() for name in names] for names in (mine, theirs))
    if low_mine != low_theirs and sorted(low_mine) == sorted(low_theirs):
        fix = "set id2label in the model's config.json to what its outputs mean, or list the task's labels in its order"
        return [problem(asked, f"labels in the order {mine}; the task has {theirs}", fix=fix)]
    return []


def _text_task(model: Any, file: str | Path, columns: dict[str, str]) -> Any:
    """A task of the file's columns with the classes of the model."""
    names = [str(model.config.id2label[i]) for i in sorted(model.config.id2label)]
    kind = {"regression": "regression", "multi_label_classification": "multi_label"}.get(
        str(model.config.problem_type), "regression" if model.num_labels == 1 else "classification"
    )
    labels = None if kind == "regression" else names
    return tasks.text(file, file, type=kind, labels=labels, **columns)  # type: ignore[arg-type]
