"""From matches to a step that runs: the objective, the models that learn, the models that are only read."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from textkd.errors import Collector, fail, problem
from textkd.models.forward import evaluating, inputs_of, own_columns
from textkd.models.taps import Address, Anatomy, Capture, Tap, anatomy
from textkd.objective.adapters import Adapters, adapt
from textkd.objective.bind import bind
from textkd.objective.cache_limits import kept_problems
from textkd.objective.fusing import fuse, heads_of
from textkd.objective.match import Match
from textkd.objective.objective import Objective
from textkd.objective.pair import Pair
from textkd.teachers import CachedTeacher, CacheOptions, LiveTeacher, Teacher
from textkd.teachers.frozen import FrozenModels, Named
from textkd.teachers.int8 import Int8Teacher
from textkd.teachers.live import INT8
from textkd.training import fsdp
from textkd.training.learners import Learners, join

SHARED = "module:encoder"  # its output, which a student that shares the encoder reads in place of its own
Models = nn.Module | Mapping[str, nn.Module]


@dataclass(frozen=True)
class Reading:
    """How a frozen model is read.

    Args:
        autocast: the dtype that it computes in; None: its own.
        cache: its taps come from disk as far as they are there.
        sharded: the processes share its weights out among them.
        int8: it computes in int8, through onnxruntime.
        pieces: as of `FrozenModel`.
    """

    autocast: torch.dtype | None = None
    cache: CacheOptions | None = None
    sharded: bool = False
    int8: bool = False
    pieces: Sequence[int] | None = None


class StepLoss(NamedTuple):
    """The loss of a batch: the scalar to differentiate, every pair's loss, and the outputs of the models that learn."""

    total: Tensor
    parts: dict[str, Tensor]
    outputs: Mapping[str, Any]


@dataclass
class Wiring:
    """A training step: the taps of all models, and the objective that compares them. `wire` makes one.

    Args:
        objective: what is compared.
        learners: the models that learn.
        frozen: the models that are only read.
        shared: the name of the frozen model whose encoder stands in for the learner's own, "" without one.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> teacher, student = (BertModel(BertConfig(num_hidden_layers=1, **sizes)) for _ in range(2))
        >>> batch = {"input_ids": torch.ones(3, 5, dtype=torch.long)}
        >>> wiring = wire(student, teacher, [Match("hidden:1")], batch)
        >>> wiring.loss(student, batch).total.backward()
        >>> wiring.close()
    """

    objective: Objective
    learners: Learners
    frozen: FrozenModels
    shared: str = ""

    def loss(
        self,
        model: nn.Module,
        batch: Mapping[str, Tensor],
        progress: float = 0.0,
        expected: Tensor | None = None,
        around: AbstractContextManager[object] | None = None,
    ) -> StepLoss:
        """The loss of a batch.

        Args:
            model: the model that learns (`learners.module` of several), or what wraps it (DDP, Accelerate).
            batch: the columns [B, ...], with labels where a match needs them.
            progress: the share of the training that is done, in [0, 1].
            expected: [P] mean `Objective.items` of the step's micro-batches; None where the batch stands alone.
            around: what the forward of the learners runs in.

        Returns:
            The scalar to differentiate, the loss of every pair, and the outputs of the models that learn.

        Raises:
            TextkdError: a tap is missing or empty. On the first call also: shapes do not fit, a mask leaves nothing to
                compare, or a source carries no gradient.
        """
        targets = self.frozen.taps(batch, batch.get("example_id"))
        more = {"encoder_outputs": (targets[f"{self.shared}/{SHARED}"],)} if self.shared else {}
        finish = self.objective.inside(targets, batch, progress)
        with around or nullcontext():
            forward = self.learners.forward(model, batch, finish, self.objective.learning, **more)
        taps = ChainMap(dict(forward.taps), targets)  # type: ignore[arg-type]
        total, parts = self.objective(taps, batch, progress, expected, forward.losses)
        return StepLoss(total, parts, forward.outputs)

    def reads(self) -> dict[str, list[str]]:
        """The addresses that are read of each frozen model."""
        return {name: list(self.objective.reads(name)) for name in self.frozen.teachers}

    def close(self) -> None:
        """Takes all hooks off. Projections stay on the models until `projections.detach`."""
        self.learners.remove()
        self.frozen.close()


def wire(
    trained: Models,
    frozen: Models | None,
    matches: Sequence[Match],
    batch: Mapping[str, Tensor],
    label_loss: str = "cross_entropy",
    *,
    share_encoder: bool = False,
    rows: int = 0,
    reading: Mapping[str, Reading] | None = None,
) -> Wiring:
    """Binds `matches` to models, so that a batch gives a loss.

    It tries every tap on `batch` without training. Where widths differ it adds a projection to the model that learns.
    Nothing else wakes: its hooks sleep outside of the step.

    Args:
        trained: the models that learn, by name; one alone is called "student".
        frozen: the models that are only read, by name; one alone is called "teacher"; None: there are none.
        matches: what is compared.
        batch: two or more real rows: the columns of the models, [B, ...].
        label_loss: the loss of `labels` where a match names none; its targets are the task's.
        share_encoder: the student's encoder is the teacher's and frozen, so it runs once for both.
        rows: of the training data, for losses that remember each row.
        reading: how each frozen model is read, by its name.

    Returns:
        The step: `loss` gives the loss of a batch, `close` takes the hooks off.

    Raises:
        TextkdError: every problem of every match at once.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> from textkd import shrink
        >>> teacher = BertModel(BertConfig(num_hidden_layers=4, **sizes))
        >>> batch = {"input_ids": torch.ones(3, 5, dtype=torch.long)}
        >>> student = shrink(teacher, layers=[2, 4])
        >>> wiring = wire(student, teacher, [Match("hidden", loss="mse")], batch)
        >>> sorted(wiring.loss(student, batch).parts)
        ['hidden:1<-2/mse', 'hidden:2<-4/mse']
    """
    learners, others = by_name(trained, "student"), by_name(frozen, "teacher")
    pairs = bind(matches, _anatomies(learners), _anatomies(others), label_loss)
    asked = {name for pair in pairs for name in pair.models}
    others = {name: model for name, model in others.items() if name in asked}  # nobody asks the rest
    if share_encoder:
        _refuse_frozen_side(pairs)
    models = {**others, **learners}
    found, heads, adapters = Collector(), dict[str, nn.Linear](), Adapters()
    with found.collecting():
        heads = dict(heads_of(pairs, models, batch))
    how = {name: (reading or {}).get(name, Reading()) for name in others}
    pieces = {name: one.pieces for name, one in how.items()}
    if any(pair.fused for pair in pairs) and any(pieces.values()):
        what = "the student writes fewer pieces than its teacher, whose head has a row for each"
        found.add(problem("fused: true", what, fix="fused: false, or leave student.vocabulary out"))
        found.raise_any()
    taps = _probe(models, others, Objective(pairs), batch, pieces)
    with found.collecting():
        pairs, adapters = adapt(models, pairs, taps, rows)
    for name, one in how.items():
        found.add(*kept_problems([pair for pair in pairs if name in pair.models], one.cache))
    found.raise_any()
    objective = Objective(fuse(pairs, heads))
    shared = next(iter(others), "") if share_encoder else ""
    captures = {name: _capture(name, model, objective.pairs, adapters) for name, model in learners.items()}
    teachers = {name: _teacher(model, name, objective, how[name], name == shared) for name, model in others.items()}
    return Wiring(objective, Learners(learners, captures, join(learners)), FrozenModels(teachers, pieces), shared)


def _anatomies(models: Mapping[str, nn.Module]) -> dict[str, Anatomy]:
    return {name: anatomy(model) for name, model in models.items()}


def by_name(models: Models | None, alone: str) -> dict[str, nn.Module]:
    if isinstance(models, Mapping):
        return dict(models)
    return {} if models is None else {alone: models}


def _capture(name: str, model: nn.Module, pairs: Sequence[Pair], adapters: Adapters) -> Capture:
    """Reads the taps of a model that learns; those that a projection stands for are not returned as they are."""
    wanted = dict.fromkeys(key.partition("/")[2] for key in _plain_taps(name, pairs, adapters))
    projected = {key.removeprefix(f"{name}/"): (str(tap.address), module)
                 for key, (tap, module) in adapters.items() if tap.model == name}  # fmt: skip
    return Capture(model, list(wanted), projections=projected)


def _plain_taps(name: str, pairs: Sequence[Pair], adapters: Adapters) -> list[str]:
    found = list[str]()
    for pair in pairs:
        sources, targets = pair.read
        found += [key for i, key in enumerate(sources) if f"{pair.source.model}/{pair.projected(i)}" not in adapters]
        found += targets
    return [key for key in found if key.startswith(f"{name}/")]


def _teacher(model: nn.Module, name: str, objective: Objective, how: Reading, is_shared: bool) -> Teacher:
    asked = [*objective.reads(name), *([SHARED] if is_shared else [])]
    own = [pair for pair in objective.pairs if name in pair.models]
    if how.sharded:
        return LiveTeacher(fsdp.in_shards(model), asked, how.autocast, stop_early=False, in_pieces=False)
    if how.cache is None:
        padding = any(pair.loss.reads_padding(pair.options) for pair in own)
        if how.int8:
            return Int8Teacher(model, asked, in_pieces=not padding)
        return LiveTeacher(model, asked, how.autocast, in_pieces=not padding)
    folder = how.cache.folder or "teachers/taps"
    if how.int8:
        return CachedTeacher(model, asked, folder, how.cache, INT8, live=partial(Int8Teacher, model))
    # the student runs on what is shared: rounding it would change the student
    return CachedTeacher(model, asked, folder, how.cache, how.autocast, exact=[SHARED])


def _probe(
    models: Mapping[str, nn.Module],
    read: Mapping[str, nn.Module],
    objective: Objective,
    batch: Mapping[str, Tensor],
    pieces: Mapping[str, Sequence[int] | None],
) -> dict[str, Tensor]:
    """The taps of a batch by their whole names, without gradient and in eval mode."""
    found = dict[str, Tensor]()
    for name, model in models.items():
        addresses, own = objective.reads(name), own_columns(batch, name)
        if name in read:
            teacher = LiveTeacher(model, addresses)
            taps, close = teacher.taps(own), teacher.close
        else:
            capture = Capture(model, addresses)
            with torch.no_grad(), evaluating(model):
                taps = capture.run(model, tap_labels=own.get("labels"), **inputs_of(model, own))["taps"]
            close = capture.remove
        close()
        found.update(Named(name, taps, pieces.get(name)))
    return found


def _refuse_frozen_side(pairs: list[Pair]) -> None:
    frozen = [pair.name for pair in pairs if any(map(_is_in_encoder, pair.sources))]
    if frozen:
        raise fail(f"{', '.join(frozen)} beside share_encoder", "the student's encoder is the teacher's and frozen",
                   fix="match the decoder and the logits, or do not share the encoder")  # fmt: skip


def _is_in_encoder(tap: Tap) -> bool:
    address: Address = tap.address
    return address.side == "encoder" or address.path.partition(".")[0] == "encoder"
