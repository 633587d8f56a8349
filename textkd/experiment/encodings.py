"""Teachers with a vocabulary of their own: their rows are encoded by their own tokenizer, beside everybody's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from textkd.models import loading
from textkd.models.forward import forward_inputs
from textkd.models.students.vocabulary import kept_of
from textkd.models.vocabulary import vocabulary
from textkd.tasks import Task
from textkd.training.stages import Data


def own_tokenizers(tokenizer: Any, models: Mapping[str, Any]) -> dict[str, Any]:
    """The tokenizers of models whose vocabulary is another one than `tokenizer`'s, by the model's name; beside a
    processor, of those alone that were made to have another one."""
    if not hasattr(tokenizer, "get_vocab"):
        trimmed = {name: model for name, model in models.items() if kept_of(model) is not None}
        return {name: loading.own_tokenizer(model) for name, model in trimmed.items()}
    found = {name: loading.own_tokenizer(model) for name, model in models.items()}
    common = vocabulary(tokenizer)
    return {name: own for name, own in found.items() if own is not None and vocabulary(own) != common}


def in_own_words(data: Data, task: Task, words: Any, model: Any, length: int) -> Data:
    """`data` as a model reads it that has a vocabulary of its own.

    Args:
        words: its tokenizer.
        length: tokens per row.
    """
    inputs = forward_inputs(model)
    train, judged = (task.encoded(words, split, inputs, length) for split in ("train", "eval"))
    extra = {name: task.encoded(words, f"eval_{name}", inputs, length) for name in data.extra}
    collator = task.collator(words, model)
    evaluation = task.output.evaluation(collator, judged)._asdict()
    return replace(data, train=train, eval=judged, extra=extra, collator=collator, processing_class=words, **evaluation)


def with_own_words(data: Data, own: Mapping[str, Data], task: Task) -> Data:
    """`data` with columns of their own for models of another vocabulary, as ``big/input_ids``; the same data where
    there are no such models.

    Args:
        own: the data as these models read it, by name.
        task: whose data it is.
    """
    if not own:
        return data
    train = data.train
    for name, one in own.items():
        for column in task.worded(one.train):
            train = train.add_column(f"{name}/{column}", one.train[column])
    collators = {name: one.collator for name, one in own.items()}
    return replace(data, train=train, collator=Collators(data.collator, collators))


def pieces_of(words: Any, learner: Any) -> tuple[int, ...]:
    """The ids of the pieces that a learner knows among those of a model that knows more.

    Args:
        words: the tokenizer, or processor, of that model.
        learner: the same of the learner.

    Returns:
        An id for each of the learner's own, in their order.
    """
    theirs, mine = (vocabulary(getattr(one, "tokenizer", one)) for one in (words, learner))
    return tuple(theirs[piece] for piece, _ in sorted(mine.items(), key=lambda pair: pair[1]))


class Collators:
    """One batch of several encodings: everybody's columns, and those of each model with words of its own."""

    def __init__(self, common: Any, own: Mapping[str, Any]) -> None:
        self.common, self.own = common, dict(own)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """The padded batch."""
        batch: dict[str, Tensor] = self.common([{k: v for k, v in row.items() if "/" not in k} for row in rows])
        for name, collate in self.own.items():
            prefix = f"{name}/"
            if not any(key.startswith(prefix) for key in rows[0]):  # an evaluation runs no teacher
                continue
            own = [{k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix)} for row in rows]
            made = collate(own)
            batch.update({f"{prefix}{key}": torch.as_tensor(value) for key, value in made.items()})
        return batch
