"""The distillation objective: pairs of taps in, one total and its named parts out. Knows no model and no trainer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from textkd.errors import Collector, fail
from textkd.losses import check_shapes
from textkd.matches import Pair
from textkd.taps import Address, mask_for, require_some

Batch = Mapping[str, Tensor]


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
        return _unique(str(p.teacher) for p in self.pairs if p.teacher is not None)

    @property
    def student_addresses(self) -> list[str]:
        """What has to be read out of the student; a labels pair reads its logits."""
        return _unique(_student_key(p) for p in self.pairs)

    @property
    def uses_head(self) -> bool:
        """Whether any pair reads the student's logits."""
        return "logits" in self.student_addresses

    def items(self, batch: Batch) -> Tensor:
        """[P] how many items (rows, valid positions, valid query-key pairs) each pair's mean runs over in `batch`."""
        counts: dict[tuple[Address, str], Tensor] = {}
        keys = [(replace(pair.student, block=None), pair.loss.unit(pair.options)) for pair in self.pairs]
        for pair, key in zip(self.pairs, keys, strict=True):
            if key not in counts:
                counts[key] = _count(mask_for(pair.student, batch, None), key[1], batch)
        return torch.stack([counts[key] for key in keys])

    def __call__(
        self,
        student: Mapping[str, Tensor],
        teacher: Mapping[str, Tensor],
        batch: Batch,
        progress: float = 0.0,
        expected: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(total, parts): the scalar to differentiate and every pair's loss (times share, without weight), detached.

        student, teacher: taps by address (a projected tap by its pair's name). batch: the tensors that masks and
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
            value = self._value(pair, student, teacher, batch, progress)
            value = value if shares is None else value * shares[i]
            parts[pair.name] = value.detach()
            term = value * (pair.weight * pair.schedule(progress))
            total = term if total is None else total + term
        assert total is not None
        return total, parts

    def _value(self, pair: Pair, student: Batch, teacher: Batch, batch: Batch, progress: float) -> Tensor:
        mine = student[pair.name if pair.name in student else _student_key(pair)]
        mask = mask_for(pair.student, batch, mine)
        if pair.teacher is None:
            return pair.loss(mine, batch["labels"], mask, **pair.options)
        options = dict(pair.options)
        if pair.temperature is not None:
            options["temperature"] = pair.temperature(progress)
        return pair.loss(mine, _theirs(pair, teacher), mask, **options)

    def _check(self, student: Batch, teacher: Batch, batch: Batch) -> None:
        found = Collector()
        for pair in self.pairs:
            with found.collecting(pair.name):
                mine = student.get(pair.name, student.get(_student_key(pair)))
                if mine is None:
                    raise fail(f"student tap {pair.student}", f"only {', '.join(student)}", fix="capture it")
                if not mine.requires_grad and torch.is_grad_enabled():
                    raise fail(f"student tap {pair.student}", "it carries no gradient, so this match teaches nothing",
                               fix="do not freeze what the match should train")  # fmt: skip
                mask = mask_for(pair.student, batch, mine)
                if mask is not None:
                    require_some(mask, pair.name)
                if pair.teacher is None:
                    continue
                if str(pair.teacher) not in teacher:
                    raise fail(
                        f"teacher tap {pair.teacher}", f"only {', '.join(teacher) or 'nothing'}", fix="capture it"
                    )
                found.add(*check_shapes(pair.loss, tuple(mine.shape), tuple(_theirs(pair, teacher).shape)))
        found.raise_any()
        self._checked = True


def _theirs(pair: Pair, teacher: Batch) -> Tensor:
    tap = teacher[str(pair.teacher)].detach()
    return tap if pair.teacher_pool is None else pair.teacher_pool(tap)


def _student_key(pair: Pair) -> str:
    return "logits" if pair.teacher is None else str(pair.student)


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
