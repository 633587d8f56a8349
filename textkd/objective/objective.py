"""The distillation objective: pairs of taps in, one total and its named parts out. Knows no model and no trainer."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from textkd.errors import Collector, fail
from textkd.losses import LinearLogits, check_shapes
from textkd.models.forward import own_columns
from textkd.models.taps import Tap, mask_for, require_some
from textkd.objective.counting import count, padded_length
from textkd.objective.pair import Pair, not_finite

Batch = Mapping[str, Tensor]
Finish = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


class Objective:
    """The weighted sum of all pairs' losses. Knows taps by their names, and no model, no trainer, no DDP.

    total = sum over pairs of  weight * schedule(progress) * share * loss(source tap, target tap, mask).

    ``share`` is 1 for a batch that stands alone. Under gradient accumulation or on several processes it is this
    micro-batch's items over the mean items of all micro-batches of the step (`items`), so that a mean over valid tokens
    stays the mean over the whole step's tokens however the batch was cut.

    Args:
        pairs: what is compared; `textkd.objective.bind.bind` makes them of matches.

    Example:
        >>> from textkd import losses
        >>> from textkd.objective.schedules import Schedule
        >>> ends = (Tap.parse("student/hidden:1"),), (Tap.parse("teacher/hidden:2"),)
        >>> pair = Pair("hidden", *ends, losses.get("mse", "hidden"), 0.5, Schedule.parse(1), None, None, {})
        >>> student, teacher = torch.ones(2, 3, 4, requires_grad=True), torch.zeros(2, 3, 4)
        >>> taps = {"student/hidden:1": student, "teacher/hidden:2": teacher}
        >>> total, parts = Objective([pair])(taps, {"attention_mask": torch.ones(2, 3)})
        >>> total.item(), parts["hidden"].item()
        (0.5, 1.0)
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = list(pairs)
        self._checked = False

    def reads(self, model: str) -> list[str]:
        """The addresses that have to be read out of a model. A pair of labels reads logits.

        Args:
            model: its name.

        Returns:
            Each address once.
        """
        names = dict.fromkeys(key for pair in self.pairs for side in pair.read for key in side)
        return [key.partition("/")[2] for key in names if key.partition("/")[0] == model]

    def uses_head(self, model: str) -> bool:
        """Whether any pair reads the logits of a model, or what they are made of.

        Args:
            model: its name.

        Returns:
            True where the model must make logits, or what goes into its head.
        """
        return not {"logits", "head_input"}.isdisjoint(self.reads(model))

    @property
    def learning(self) -> frozenset[str]:
        """The models that a gradient reaches."""
        reached = {name for pair in self.pairs if pair.target_gradient for name in pair.models}
        return frozenset(reached | {pair.source.model for pair in self.pairs})

    def by_source(self, models: Sequence[str]) -> list[Objective]:
        """An objective for each of these models: the pairs whose source is its own.

        Args:
            models: their names.

        Returns:
            In the order of `models`.
        """
        return [Objective([pair for pair in self.pairs if pair.source.model == model]) for model in models]

    def items(self, batch: Batch) -> Tensor:
        """How many items (rows, valid positions, valid query-key pairs) each pair's mean runs over in a batch.

        Args:
            batch: the tensors that masks and labels come from.

        Returns:
            [P], in the order of the pairs.
        """
        counts: dict[tuple[Tap, str], Tensor] = {}
        keys = [(pair.source.at(None), pair.loss.unit(pair.options)) for pair in self.pairs]
        for pair, key in zip(self.pairs, keys, strict=True):
            if key not in counts:
                own = own_columns(batch, pair.source.model)
                counts[key] = count(mask_for(pair.source.address, own, None), key[1], own)
        return torch.stack([counts[key] for key in keys])

    def lengths(self, batch: Batch) -> Tensor | None:
        """[P] pairs of a row with its padding where a loss divides by them, else 1; None where none does. The longest
        micro-batch of a step counts, as in one batch of all of them."""
        if not any(pair.loss.is_padded(pair.options) for pair in self.pairs):
            return None
        return torch.tensor([padded_length(pair, batch) for pair in self.pairs])

    def inside(self, targets: Mapping[str, Tensor], batch: Batch, progress: float = 0.0) -> Finish | None:
        """What the forward of the trained models must finish with: the losses that use weights of these models.

        Args:
            targets: taps of the models that are only read.
            batch: the tensors that masks and labels come from.
            progress: the share of the training that is done, in [0, 1].

        Returns:
            A function: taps of the trained models -> the losses by pair; to be handed to `__call__`. None where there
            are none. Without DDP it may be left out: `__call__` computes these losses too.
        """
        pairs = [pair for pair in self.pairs if pair.inside]
        if not pairs:
            return None

        def finish(taps: Mapping[str, Tensor]) -> dict[str, Tensor]:
            every = ChainMap(dict(taps), targets)  # type: ignore[arg-type]
            if not self._checked:
                self._check(every, batch)
            return {pair.name: self.value(pair, every, batch, progress) for pair in pairs}

        return finish

    def __call__(
        self,
        taps: Mapping[str, Tensor],
        batch: Batch,
        progress: float = 0.0,
        expected: Tensor | None = None,
        computed: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch.

        Args:
            taps: of all models, as ``student/hidden:2``; a projected one as ``student/<name of its projection>``.
            batch: the tensors that masks and labels come from.
            progress: the share of the training that is done, in [0, 1].
            expected: mean `items` of the step's micro-batches, times their largest `lengths`; None: it stands alone.
            computed: losses that the forward finished with (`inside`), by pair.

        Returns:
            (total, parts): the scalar to differentiate, and every pair's loss (times share, without weight), detached.

        Raises:
            TextkdError: on the first call, where a tap is missing, shapes do not fit, a mask leaves nothing, or a
                source carries no gradient.
        """
        if not self._checked:
            self._check(taps, batch)
        shares = None if expected is None else self.items(batch) / expected.clamp(min=1)
        if shares is not None and (lengths := self.lengths(batch)) is not None:
            shares = shares * lengths.to(shares.device)
        total: Tensor | None = None
        parts: dict[str, Tensor] = {}
        for i, pair in enumerate(self.pairs):
            value = None if computed is None else computed.get(pair.name)
            value = self.value(pair, taps, batch, progress) if value is None else value
            value = value if shares is None else value * shares[i]
            parts[pair.name] = value.detach()
            term = value * (pair.weight * pair.schedule(progress))
            total = term if total is None else total + term
        assert total is not None
        return total, parts

    def dry_run(self, taps: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Every loss, computed once, by pair.

        Args:
            taps: of all models, as of `__call__`.
            batch: the tensors that masks and labels come from.

        Raises:
            TextkdError: one, with all losses that cannot be computed, are not finite, or teach nothing.
        """
        self._check(taps, batch)
        found, values = Collector(), dict[str, Tensor]()
        for pair in self.pairs:
            with found.collecting(pair.place):
                value = values[pair.name] = self.value(pair, taps, batch, 0.0)
                if not torch.isfinite(value):
                    raise not_finite(pair, value.item(), taps)
        self._checked = False
        found.raise_once()
        return values

    def value(self, pair: Pair, taps: Batch, batch: Batch, progress: float) -> Tensor:
        """The loss of one pair, without its weight.

        Args:
            pair: one of `pairs`.
            taps, batch, progress: as of `__call__`.
        """
        sources, batch = sources_of(pair, taps), own_columns(batch, pair.source.model)
        mask = _mask(pair, batch, sources[0])
        if len(sources[0]) < pair.loss.min_rows:
            what = f"a batch of {len(sources[0])}, where it compares {pair.loss.min_rows} samples or more"
            raise fail(f"the loss of {pair.name}", what, fix="larger batches, or dataloader_drop_last: true")
        options = dict(pair.options)
        if pair.temperature is not None:
            options["temperature"] = pair.temperature(progress)
        for need in pair.loss.needs:
            options[need] = progress if need == "progress" else batch[need]
        if not pair.targets:
            return pair.loss(sources[0], batch["labels"], mask, **options)
        targets = _targets(pair, taps)
        if pair.combine is not None:
            temperature = float(options.get("temperature", pair.loss.default("temperature", 1.0)))
            return pair.loss(sources[0], pair.combine(targets, temperature, batch.get("labels")), mask, **options)
        if pair.loss.arity:
            return pair.loss(sources, targets, mask, **options)
        return pair.loss(sources[0], targets[0], mask, **options)

    def _check(self, taps: Batch, batch: Batch) -> None:
        found = Collector()
        for pair in self.pairs:
            with found.collecting(pair.place):
                _check_read(pair, taps, batch)
                sources = sources_of(pair, taps)
                if torch.is_grad_enabled() and not any(tap.requires_grad for tap in sources):
                    what = "it carries no gradient, so this match teaches nothing"
                    fix = "do not freeze what the match should train"
                    raise fail(f"student tap {pair.source.address}", what, fix=fix)
                targets = _targets(pair, taps)
                if pair.target_gradient and torch.is_grad_enabled() and not any(tap.requires_grad for tap in targets):
                    what = "it carries no gradient, so target_gradient has no effect"
                    fix = f"do not freeze what lies before it in {', '.join(pair.models)}, or leave target_gradient out"
                    raise fail(f"target tap {pair.target}", what, fix=fix)
                mask = _mask(pair, own_columns(batch, pair.source.model), sources[0])
                if mask is not None:
                    require_some(mask, pair.name)
                for one, other in zip(sources, targets, strict=False):
                    found.add(*check_shapes(pair.loss, tuple(one.shape), tuple(other.shape), pair.options))
        found.raise_once()
        self._checked = True


def _check_read(pair: Pair, taps: Batch, batch: Batch) -> None:
    """Raises `TextkdError` if a tap or another tensor that the pair takes was not given."""
    sources, targets = pair.read
    for i, key in enumerate(sources):
        if key not in taps and _projected(pair, i) not in taps:
            raise fail(f"tap {key}", f"only {', '.join(taps)}", fix="capture it")
    for key in targets:
        if key not in taps:
            raise fail(f"tap {key}", f"only {', '.join(taps) or 'nothing'}", fix="capture it")
    for need in pair.loss.needs:
        if need != "progress" and need not in batch:
            fix = f"a data set with {need}, or a loss without"
            raise fail(f"the loss {pair.loss.name}", f"the batch has no {need}", fix=fix)


def _projected(pair: Pair, number: int) -> str:
    return f"{pair.source.model}/{pair.projected(number)}"


def sources_of(pair: Pair, taps: Batch) -> list[Any]:
    """The pair's sources, projected where they have a projection; logits of a head as `LinearLogits`."""
    names = [(_projected(pair, i), key) for i, key in enumerate(pair.read[0])]
    found = [taps[projected if projected in taps else key] for projected, key in names]
    return found if pair.heads[0] is None else [_made_by(pair.heads[0], found[0])]


def _targets(pair: Pair, taps: Batch) -> list[Any]:
    """The pair's targets; without gradient unless the match asks for it."""
    found: list[Any] = [taps[key] if pair.target_gradient else taps[key].detach() for key in pair.read[1]]
    if pair.heads[1] is not None:
        made = _made_by(pair.heads[1], found[0])
        return [made if pair.target_gradient else made.detach()]
    return found if pair.target_pool is None else [pair.target_pool(tap) for tap in found]


def _made_by(head: nn.Linear, hidden: Tensor) -> LinearLogits:
    """The logits of `hidden`, in the type that the head had it in."""
    if head.weight.dim() != 2 or hasattr(head.weight, "device_mesh"):
        raise fail("fused logits", "the head's weights are cut over processes (FSDP, ZeRO-3)",
                   fix="DDP, or fused: false")  # fmt: skip
    place = hidden.device  # a teacher may have a device of its own
    bias = None if head.bias is None else head.bias.to(place)
    return LinearLogits(hidden, head.weight.to(place), bias, hidden.dtype)


def _mask(pair: Pair, batch: Batch, tap: Tensor | LinearLogits) -> Tensor | None:
    return mask_for(pair.source.address, batch, tap.hidden if isinstance(tap, LinearLogits) else tap)
