"""What is compared with what: a `Match`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from textkd.objective.layer_maps import LayerSpec

Taps = str | Sequence[str]


@dataclass(frozen=True)
class Match:
    """One comparison: a tap that learns (the source) with a tap that it learns from (the target).

    A tap is ``[model/]address``: ``hidden:4``, ``big/logits``, ``peer_2/attention:-1``. Where a training has one model
    that learns and one that teaches, nobody needs to name them.

    Args:
        tap: the address on both sides: ``labels``, ``logits``, ``hidden``, ``attention:4``, ... A list of addresses of
            one family is compared one by one, or as a whole where the loss takes many taps
            (``["query", "key", "value"]`` for relations).
        loss: a registered name (`textkd ls losses`) or a function ``f(student, teacher, mask=None)``. The default is
            cross-entropy, MSE or BCE for labels by the kind of task, KL for logits, MSE for everything else.
        weight: multiplies the loss; with a layer map every pair has this weight.
        schedule: multiplies the weight over training progress.
        temperature: a number, or a schedule that gives it.
        layers: which block of the source learns from which block of the target: "uniform", "first", "last", "skip",
            ``{source: target}`` or pairs. Needed where the address names no block ("hidden" alone means "uniform").
            "all" hands every block of both sides to a loss that takes many layers.
        student, teacher: the source and the target apart, in place of `tap`.
        projection: "auto" (linear where widths differ), a name of `textkd.objective.projections.NAMES`, or "none".
        options: the loss's own options.
        fused: of logits and labels over a large vocabulary: they are computed a few positions at a time inside the
            loss, and never kept (docs/recipes.md).
        from_: the model that the target belongs to, or several of them with `combine`. In a recipe: ``from``.
        combine: how the logits of several models become one target: "mean_probabilities", "mean_logits", or "gate"
            (a model that is surer of the true class counts more, for each row apart).
        weights: of the models in `from_`; they are divided by their sum.
        target_gradient: the gradient flows into the target, too. Its model has to be one that is trained.

    Example:
        >>> Match("hidden", loss="mse", layers={1: 2, 2: 4}, weight=0.5).layers
        {1: 2, 2: 4}
        >>> Match("logits", from_=["big", "small"], combine="mean_probabilities").teachers
        ('big', 'small')
    """

    tap: Taps = ""
    loss: str | Callable[..., Any] | None = None
    weight: float = 1.0
    schedule: str | Mapping[str, Any] | None = None
    temperature: float | Mapping[str, Any] | None = None
    layers: LayerSpec = None
    student: Taps = ""
    teacher: Taps = ""
    projection: str | None = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    fused: bool = False
    from_: str | Sequence[str] = ()
    combine: str | None = None
    weights: Sequence[float] | None = None
    target_gradient: bool = False

    @property
    def teachers(self) -> tuple[str, ...]:
        """The models that `from_` names, in their order."""
        if isinstance(self.from_, str):
            return (self.from_,) if self.from_ else ()
        return tuple(self.from_)
