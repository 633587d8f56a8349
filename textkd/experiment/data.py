"""The rows of an experiment: encoded once, for all models; written by a teacher where a training learns from texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import nn

from textkd.errors import fail
from textkd.experiment.collect_results import Finished
from textkd.experiment.encodings import with_own_words
from textkd.experiment.models import Models
from textkd.experiment.plan import Experiment, ModelSpec, Training
from textkd.models import loading
from textkd.teachers.generation.pseudo_labels import Targets
from textkd.training.stages import Data


class Rows:
    """What the models of an experiment learn from and are judged on.

    Args:
        experiment: its task gives the rows.
        models: whose columns are needed.
        tokenizer: of all models; None: that of the first model's folder.
        max_length: tokens per row; None: the task's, or fewer where a model has fewer positions.
    """

    def __init__(self, experiment: Experiment, models: Models, tokenizer: Any = None, max_length: int | None = None):
        self.experiment, self.models, self.max_length = experiment, models, max_length
        self._tokenizer = tokenizer

    @property
    def targets(self) -> Targets | None:
        """What a teacher writes, where one does."""
        return next((one.targets for one in self.experiment.trainings if one.targets is not None), None)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, or processor, of all models. Raises `TextkdError` where there is none."""
        task = self.experiment.task
        path = next((str(one.name_or_path) for one in self.models.running.values()), "")
        own = self._tokenizer or getattr(task, "tokenizer", None)
        if not (own or path or hasattr(task, "processor")):  # a task of lines has words of its own
            fix = "Distiller(..., tokenizer=AutoTokenizer.from_pretrained(FOLDER))"
            raise fail("the teacher's tokenizer", "it comes from no folder and no hub", fix=fix, where="teacher")
        return own or (loading.load_tokenizer(path) if task is None else task.processing(path))

    @cached_property
    def room(self) -> tuple[frozenset[str], int]:
        """The columns that the models take, and how many tokens a row may have."""
        return self.models.room(self.max_length)

    @cached_property
    def data(self) -> Data:
        """The encoded task; its columns are the union of what the models take. Of lines that somebody else reads, those
        with a transcription: what a teacher and the control train on."""
        task, bare = self.experiment.task, self.targets is not None and not self.targets.own
        encoded: dict[str, Any] = {
            split: [] if bare and split == "train" else task.encode(self.tokenizer, split, *self.room)
            for split in ("train", *task.eval_splits)
        }
        judge, generate = task.compute_metrics, None
        if not hasattr(task, "generate"):
            collator = task.collator(self.tokenizer)
        else:  # its answers are written, not chosen
            collator = task.collator(self.tokenizer, task.start_token(next(iter(self.models.running.values()))))
            generate = task.generate(collator, encoded["eval"])
            judge = partial(task.judge_ids, collator, rows=encoded["eval"])
        main = {split: encoded.pop(split) for split in ("train", "eval")}
        extra = {split.removeprefix("eval_"): rows for split, rows in encoded.items()}
        return Data(
            **main, extra=extra, collator=collator, compute_metrics=judge, generate=generate,
            problem_type=task.problem_type, main_metric=task.main_metric,
            greater_is_better=task.greater_is_better, processing_class=self.tokenizer,
        )  # fmt: skip

    def of(self, training: Training, writer: Any = None) -> tuple[Data, dict[str, Any]]:
        """What a training learns from, and what the report tells of it.

        Args:
            writer: the model that writes the targets, where the training has such.
        """
        if training.targets is not None:
            rows, told = training.targets.rows(writer, self.tokenizer, *self.room)
            return replace(self.data, train=rows), {"targets": told}
        readers = {name: self.models.start(name) for name in training.reads
                   if not self.experiment.models[name].is_black_box}  # fmt: skip
        return with_own_words(self.data, self.experiment.task, self.tokenizer, readers), {}

    def publish(self, folder: Path, model: nn.Module, record: Mapping[str, Any]) -> None:
        """Writes a trained model as a plain folder, judged as it loads."""
        Finished.publish(folder, model, dict(record), self.tokenizer, self.data, self.experiment.task)

    def judge_given(self, model: Any, spec: ModelSpec) -> Finished:
        """A model that nobody trains here, judged on the task."""
        task = self.experiment.task
        if not spec.is_black_box:
            return Finished.given(model, self.data, task)
        targets = self.targets
        assert targets is not None
        tables = {split: task.table(split) for split in task.eval_splits}
        said = {split: list(targets.read(model, table).texts) for split, table in tables.items()}
        return Finished.reading(model, said, self.data, task)
