"""The rows of an experiment: encoded once, for all models; written by a teacher where a training learns from texts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from textkd.errors import reading
from textkd.experiment.encodings import in_own_words, own_tokenizers, pieces_of, with_own_words
from textkd.experiment.finished import Finished
from textkd.experiment.models import Models
from textkd.experiment.plan import Experiment, ModelSpec, Training
from textkd.models import loading
from textkd.models.forward import positions
from textkd.models.students.vocabulary import kept_of
from textkd.models.words import hash_of
from textkd.teachers.generation.pseudo_labels import Targets
from textkd.training.stages import Data

FEW = 4  # rows of a sample


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
        self.given_tokenizer = tokenizer
        self._words: str | None = None

    @property
    def targets(self) -> Targets | None:
        """What a teacher writes, where one does."""
        return next((one.targets for one in self.experiment.trainings if one.targets is not None), None)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, or processor, of all models. Raises `TextkdError` where there is none."""
        if self.given_tokenizer is not None:
            return self.given_tokenizer
        names = (name for name, spec in self.experiment.models.items() if not spec.is_black_box)
        first = next(names, None)  # alone: what is wrong with the others is told as theirs
        path = "" if first is None else self.folder_of(first)
        return self.experiment.task.processing(path) if self.experiment.tasks else loading.load_tokenizer(path)

    def folder_of(self, name: str) -> str:
        """Where a model's tokenizer is; "" where nobody says so."""
        model = self.models.start(name)
        return str(getattr(model, "name_or_path", "") or "") or self.experiment.models[name].source.folder

    @cached_property
    def fingerprint(self) -> str:
        """A text that changes with the data, the tokenizer and how many tokens a row may have."""
        made_of = [self.experiment.task.fingerprint(), self.words(), self.room[1]]
        return hashlib.sha256(repr(made_of).encode()).hexdigest()

    def words(self, name: str = "") -> str:
        """A hash of the tokenizer by which a model reads; of everybody's, where it has none of its own."""
        own = self.own_words.get(name) if name else None
        if own is not None:
            return hash_of(own)
        if self._words is None:
            self._words = hash_of(self.tokenizer)
        return self._words

    @cached_property
    def room(self) -> tuple[frozenset[str], int]:
        """The columns that the models take, and how many tokens a row may have."""
        return self.models.room(self.max_length)

    @cached_property
    def notes(self) -> list[str]:
        """What a reader of the results should know of the rows, and of what is lost when they are encoded."""
        task = self.experiment.task
        return [*task.doubts(self.tokenizer, self.room[1]), *task.warnings()]

    @cached_property
    def suited(self) -> bool:
        """Whether rows are encoded as the teachers have learnt; raises `TextkdError` where they cannot be."""
        specs = self.experiment.models
        teachers = {name: model for name, model in self.models.running.items() if specs[name].teaches}
        given = [name for name in teachers if self.experiment.trainer_of(name) is None]
        with reading(
            "what the teachers answer on the first rows", fix="look at the numbers in the config of the model"
        ):
            self.experiment.task.suit(teachers, given, self.tokenizer)
        return True

    @cached_property
    def data(self) -> Data:
        """The encoded task; its columns are the union of what the models take. Of lines that somebody else reads, those
        with a transcription: what a teacher and the control train on."""
        task, bare = self.experiment.task, self.targets is not None and not self.targets.own
        assert self.suited
        encoded: dict[str, Any] = {
            split: [] if bare and split == "train" else task.encoded(self.tokenizer, split, *self.room)
            for split in ("train", *task.eval_splits)
        }
        return self._data(encoded)

    @cached_property
    def _few(self) -> dict[str, tuple[Any, int]]:
        """The first rows of each split and how many it has; nothing where all are encoded already, or have to be."""
        task = self.experiment.task
        if "data" in self.__dict__ or self.targets is not None:
            return {}
        assert self.suited
        found = {split: task.few(self.tokenizer, split, *self.room, FEW) for split in ("train", *task.eval_splits)}
        return {split: one for split, one in found.items() if one is not None}

    @property
    def sizes(self) -> tuple[int, int]:
        """How many rows there are to train on, and to evaluate on."""
        if self._few:
            return self._few["train"][1], self._few["eval"][1]
        return len(self.data.train), len(self.data.eval)

    def sample(self, training: Training) -> dict[str, Tensor]:
        """A small real batch to try a training on. Nothing more is encoded than has to be."""
        if self._few and not self.own_words:
            return self._data({split: rows for split, (rows, _) in self._few.items()}).sample()
        data = self.data if training.targets is not None else self.of(training)[0]
        # where the teacher has yet to write all targets, no row of training is there
        return (data if len(data.train) else replace(data, train=data.eval)).sample()

    def _data(self, encoded: dict[str, Any]) -> Data:
        """The task of these rows by split."""
        task = self.experiment.task
        collator = task.collator(self.tokenizer, next(iter(self.models.running.values())))
        evaluation = task.output.evaluation(collator, encoded["eval"])
        main = {split: encoded.pop(split) for split in ("train", "eval")}
        extra = {split.removeprefix("eval_"): rows for split, rows in encoded.items()}
        return Data(
            **main, extra=extra, collator=collator, **evaluation._asdict(), label_loss=task.output.label_loss,
            main_metric=task.output.main_metric, greater_is_better=task.output.greater_is_better,
            processing_class=self.tokenizer,
        )  # fmt: skip

    @cached_property
    def own_words(self) -> dict[str, Any]:
        """The tokenizers of models that have a vocabulary of their own, by name: teachers, and trimmed students."""
        specs, running = self.experiment.models, self.models.running
        readers = {name: one for name, one in running.items() if specs[name].teaches or kept_of(one) is not None}
        return own_tokenizers(self.tokenizer, readers)

    @cached_property
    def own(self) -> dict[str, Data]:
        """The data as models read it that have a vocabulary of their own, by name."""
        task, most = self.experiment.task, self.max_length or self.experiment.task.default_length
        models = {name: self.models.start(name) for name in self.own_words}
        return {name: in_own_words(self.data, task, self.own_words[name], model, min(most, positions(model)))
                for name, model in models.items()}  # fmt: skip

    def seen_by(self, name: str) -> Data:
        """The data as a model reads it."""
        return self.own.get(name, self.data)

    def of(self, training: Training, writer: Any = None) -> tuple[Data, dict[str, Any]]:
        """What a training learns from, and what the report tells of it.

        Args:
            writer: the model that writes the targets, where the training has such.
        """
        if training.targets is not None:
            rows, told = training.targets.rows(writer, self.tokenizer, *self.room)
            return replace(self.data, train=rows), {"targets": told}
        first = training.trains[0]
        other = [name for name in training.reads if self.words(name) != self.words(first)]
        return with_own_words(self.seen_by(first), {name: self.seen_by(name) for name in other},
                              self.experiment.task), {}  # fmt: skip

    def pieces(self, training: Training, name: str) -> tuple[int, ...] | None:
        """Which logits of a model the learner of a training has, too, where they stand for pieces and it knows fewer.

        Args:
            name: of the model that is read.
        """
        learner = self.own_words.get(training.trains[0])
        if learner is None or not self.experiment.task.output.writes:
            return None
        own = self.own_words.get(name, self.tokenizer)
        return None if own is learner else pieces_of(own, learner)

    def publish(self, name: str, folder: Path, model: nn.Module, record: Mapping[str, Any]) -> None:
        """Writes a trained model as a plain folder, judged as it loads."""
        words = self.own_words.get(name, self.tokenizer)
        length = min(self.room[1], positions(model)) if name in self.own_words else self.room[1]
        Finished.publish(folder, model, dict(record), words, self.seen_by(name), self.experiment.task, length)

    def judge_given(self, model: Any, spec: ModelSpec) -> Finished:
        """A model that nobody trains here, judged on the task."""
        task = self.experiment.task
        if not spec.is_black_box:
            return Finished.given(model, self.seen_by(spec.name), task)
        targets = self.targets
        assert targets is not None
        return Finished.reading(model, targets.evaluated(model), self.data, task)
