"""The distillation objective: pairs of taps in, one total and its named parts out. Knows no model and no trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from textkd.errors import Collector, fail
from textkd.losses import LinearLogits, check_shapes
from textkd.models.taps import Address, mask_for, require_some
from textkd.objective.pair import Pair

Batch = Mapping[str, Tensor]
Then = Callable[[dict[str, Tensor]], dict[str, Tensor]]


class Objective:
    """The weighted sum of all pairs' losses.

    total = sum over pairs of  weight * schedule(progress) * share * loss(student tap, teacher tap, mask).

    ``share`` is 1 for a batch that stands alone. Under gradient accumulation or on several processes it is this
    micro-batch's items over the mean items of all micro-batches of the step (`items`), so that a mean over valid tokens
    stays the mean over the whole step's tokens however the batch was cut.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = list(pairs)
        self._checked = False

    @property
    def teacher_addresses(self) -> list[str]:
        """What has to be read out of the teacher."""
        return _unique(key for pair in self.pairs for key in pair.read[1])

    @property
    def student_addresses(self) -> list[str]:
        """What has to be read out of the student; a labels pair reads its logits."""
        return _unique(key for pair in self.pairs for key in pair.read[0])

    @property
    def uses_head(self) -> bool:
        """Whether any pair reads the student's logits, or what they are made of."""
        return not {"logits", "head_input"}.isdisjoint(self.student_addresses)

    def items(self, batch: Batch) -> Tensor:
        """[P] how many items (rows, valid positions, valid query-key pairs) each pair's mean runs over in `batch`."""
        counts: dict[tuple[Address, str], Tensor] = {}
        keys = [(replace(pair.student, block=None), pair.loss.unit(pair.options)) for pair in self.pairs]
        for pair, key in zip(self.pairs, keys, strict=True):
            if key not in counts:
                counts[key] = _count(mask_for(pair.student, batch, None), key[1], batch)
        return torch.stack([counts[key] for key in keys])

    def inside(self, teacher: Mapping[str, Tensor], batch: Batch, progress: float = 0.0) -> Then | None:
        """What the student's forward must finish with (`Capture.active`): the losses that use weights of the student.

        None where there are none. Without DDP it may be left out: `__call__` computes these losses too."""
        pairs = [pair for pair in self.pairs if pair.inside]
        if not pairs:
            return None

        def then(student: dict[str, Tensor]) -> dict[str, Tensor]:
            if not self._checked:
                self._check(student, teacher, batch)
            return {_value_key(pair): self._value(pair, student, teacher, batch, progress) for pair in pairs}

        return then

    def __call__(
        self,
        student: Mapping[str, Tensor],
        teacher: Mapping[str, Tensor],
        batch: Batch,
        progress: float = 0.0,
        expected: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(total, parts): the scalar to differentiate and every pair's loss (times share, without weight), detached.

        student, teacher: taps by address (a projected tap by its projection's name). batch: the tensors that masks and
        labels come from. progress: share of the training that is done, in [0, 1]. expected: mean `items` of the
        step's micro-batches; None where the batch stands alone. The first call checks that no tap is missing, that
        shapes fit, that masks leave something and that the student's taps carry gradients (`TextkdError`).
        """
        if not self._checked:
            self._check(student, teacher, batch)
        shares = None if expected is None else self.items(batch) / expected.clamp(min=1)
        total: Tensor | None = None
        parts: dict[str, Tensor] = {}
        for i, pair in enumerate(self.pairs):
            value = student.get(_value_key(pair))
            value = self._value(pair, student, teacher, batch, progress) if value is None else value
            value = value if shares is None else value * shares[i]
            parts[pair.name] = value.detach()
            term = value * (pair.weight * pair.schedule(progress))
            total = term if total is None else total + term
        assert total is not None
        return total, parts

    def tried(self, student: Batch, teacher: Batch, batch: Batch) -> None:
        """Computes every loss once. Raises one `TextkdError` with all that cannot be computed, are not finite, or that
        teach nothing."""
        self._check(student, teacher, batch)
        found = Collector()
        for pair in self.pairs:
            with found.collecting(pair.name):
                value = self._value(pair, student, teacher, batch, 0.0)
                if not torch.isfinite(value):
                    raise fail(
                        f"the loss of {pair.name}", f"{float(value)} on the first rows", fix="look at its options"
                    )
        self._checked = False
        found.raise_any()

    def _value(self, pair: Pair, student: Batch, teacher: Batch, batch: Batch, progress: float) -> Tensor:
        mine = _mine(pair, student)
        mask = _mask(pair, batch, mine[0])
        if len(mine[0]) < pair.loss.min_rows:
            what = f"a batch of {len(mine[0])}, where it compares {pair.loss.min_rows} samples or more"
            raise fail(f"the loss of {pair.name}", what, fix="larger batches, or dataloader_drop_last: true")
        options = dict(pair.options)
        if pair.temperature is not None:
            options["temperature"] = pair.temperature(progress)
        for need in pair.loss.needs:
            options[need] = progress if need == "progress" else batch[need]
        if not pair.teachers:
            return pair.loss(mine[0], batch["labels"], mask, **options)
        theirs = _theirs(pair, teacher)
        if pair.loss.arity:
            return pair.loss(mine, theirs, mask, **options)
        return pair.loss(mine[0], theirs[0], mask, **options)

    def _check(self, student: Batch, teacher: Batch, batch: Batch) -> None:
        found = Collector()
        for pair in self.pairs:
            with found.collecting(pair.name):
                _check_read(pair, student, teacher, batch)
                mine = _mine(pair, student)
                if torch.is_grad_enabled() and not any(tap.requires_grad for tap in mine):
                    raise fail(f"student tap {pair.student}", "it carries no gradient, so this match teaches nothing",
                               fix="do not freeze what the match should train")  # fmt: skip
                mask = _mask(pair, batch, mine[0])
                if mask is not None:
                    require_some(mask, pair.name)
                for one, other in zip(mine, _theirs(pair, teacher), strict=False):
                    found.add(*check_shapes(pair.loss, tuple(one.shape), tuple(other.shape), pair.options))
        found.raise_any()
        self._checked = True


def _check_read(pair: Pair, student: Batch, teacher: Batch, batch: Batch) -> None:
    """Raises `TextkdError` if a tap or another tensor that the pair takes was not given."""
    mine, theirs = pair.read
    for i, key in enumerate(mine):
        if key not in student and pair.projected(i) not in student:
            raise fail(f"student tap {key}", f"only {', '.join(student)}", fix="capture it")
    for key in theirs:
        if key not in teacher:
            raise fail(f"teacher tap {key}", f"only {', '.join(teacher) or 'nothing'}", fix="capture it")
    for need in pair.loss.needs:
        if need != "progress" and need not in batch:
            fix = f"a data set with {need}, or a loss without"
            raise fail(f"the loss {pair.loss.name}", f"the batch has no {need}", fix=fix)


def _mine(pair: Pair, student: Batch) -> list[Any]:
    """The pair's taps of the student, projected where they have a projection; logits of a head as `LinearLogits`."""
    keys = [pair.projected(i) for i in range(len(pair.students))]
    taps = [student[mine if mine in student else key] for mine, key in zip(keys, pair.read[0], strict=True)]
    return taps if pair.heads[0] is None else [_made_by(pair.heads[0], taps[0])]


def _theirs(pair: Pair, teacher: Batch) -> list[Any]:
    taps = [teacher[key].detach() for key in pair.read[1]]
    if pair.heads[1] is not None:
        return [_made_by(pair.heads[1], taps[0]).detach()]
    return taps if pair.teacher_pool is None else [pair.teacher_pool(tap) for tap in taps]


def _made_by(head: nn.Linear, hidden: Tensor) -> LinearLogits:
    """The logits of `hidden`, in the type that the head had it in."""
    if head.weight.dim() != 2 or hasattr(head.weight, "device_mesh"):
        raise fail("fused logits", "the head's weights are cut over processes (FSDP, ZeRO-3)",
                   fix="DDP, or fused: false")  # fmt: skip
    place = hidden.device  # a teacher may have a device of its own
    bias = None if head.bias is None else head.bias.to(place)
    return LinearLogits(hidden, head.weight.to(place), bias, hidden.dtype)


def _mask(pair: Pair, batch: Batch, tap: Tensor | LinearLogits) -> Tensor | None:
    return mask_for(pair.student, batch, tap.hidden if isinstance(tap, LinearLogits) else tap)


def _value_key(pair: Pair) -> str:
    return f"the loss of {pair.name}"


def _count(mask: Tensor | None, unit: str, batch: Batch) -> Tensor:
    if mask is None or unit == "row":
        some = next(iter(batch.values()))
        return torch.tensor(float(len(some)), device=some.device)
    if mask.dim() > 2:  # a mask of pairs; its rows are the positions
        return (mask if unit == "pair" else mask.any(-1)).sum().float()
    valid = mask.sum(-1).float()
    return (valid**2).sum() if unit == "pair" else valid.sum()


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
