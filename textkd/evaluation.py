"""`textkd eval`: a model folder's metrics on one labelled file."""

from __future__ import annotations

from pathlib import Path

from textkd import pretrained, tasks
from textkd.errors import fail
from textkd.predict import predict
from textkd.results import labels_of
from textkd.teachers import forward_inputs


def evaluate(model_dir: str, task_name: str, file: Path, max_length: int = 128) -> dict[str, float]:
    """The metrics of `task_name` for the model in `model_dir` on `file`. Raises `TextkdError`: unknown task, bad file,
    damaged model, or a model with another number or order of labels than the task."""
    task = tasks.get(task_name).with_file(file)
    task.problems()
    model = pretrained.load_model(model_dir, task.auto_class)
    wanted = task.model_kwargs()
    if model.config.num_labels != wanted["num_labels"]:
        raise fail(f"{task_name} with {model_dir}", f"a head of {model.config.num_labels} outputs; the task has {wanted['num_labels']}",
                   fix="evaluate it on the task it was trained for")  # fmt: skip
    mine, theirs = list(model.config.id2label.values()), list(wanted["id2label"].values())
    if task.labels and sorted(mine) == sorted(theirs) and mine != theirs:
        raise fail(f"{task_name} with {model_dir}", f"labels in the order {mine}; the task has {theirs}",
                   fix="set id2label in the model's config.json to what its outputs mean")  # fmt: skip
    tokenizer = pretrained.load_tokenizer(model_dir)
    rows = task.encode(tokenizer, "eval", forward_inputs(model), max_length)
    return dict(task.compute_metrics(predict(model, rows, task.collator(tokenizer)), labels_of(rows)))
