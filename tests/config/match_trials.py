"""For every option of a match: what its step computes with one value, and with another."""

from __future__ import annotations

from typing import Any

import fused_lab
import torch
from option_lab import OptionLab, Seen, Trial
from option_trials import LOGITS
from tiny_lab import make_teacher

from textkd.config.match_block import match_of
from textkd.config.schema import MatchBlock
from textkd.models.students import shrink
from textkd.objective import projections
from textkd.training.wiring import wire


def match(first: dict[str, Any], other: dict[str, Any], several: bool = False) -> Trial:
    """The losses and gradients of two matches on one batch."""

    def trial(lab: OptionLab) -> Seen:
        return lab.once(lambda *_: _step(lab, first, several), first, several), _step(lab, other, several)

    return trial


def _step(lab: OptionLab, block: dict[str, Any], several: bool) -> Any:
    known = lab.known
    if "big" not in known:
        big = make_teacher()
        torch.manual_seed(3)
        other = make_teacher()
        other.classifier.weight.data.mul_(-2)
        known |= {"big": big, "other": other, "student": shrink(big, layers=[2, 4])}
        ids = torch.tensor([[2, 5, 9, 11, 3, 0], [2, 10, 12, 6, 7, 3], [2, 14, 5, 3, 0, 0]])
        known["batch"] = {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": torch.tensor([0, 1, 1])}
    trained = {"student": known["student"], **({"peer": known["other"]} if several else {})}
    frozen = {"big": known["big"], **({} if several else {"other": known["other"]})}
    for model in trained.values():
        model.zero_grad()
    torch.manual_seed(0)
    made = match_of(MatchBlock.model_validate(block))
    matches = [made, match_of(MatchBlock(tap="labels", student="", weight=1e-3))] if several else [made]
    wiring = wire(trained, frozen, matches, known["batch"], "cross_entropy", rows=24)
    try:
        step = wiring.loss(wiring.learners.module, known["batch"], 0.25)
        step.total.backward()
        grads = {name: float(_grads(model)) for name, model in trained.items()}
        return (
            {name: round(float(part), 6) for name, part in step.parts.items()},
            round(float(step.total.detach()), 6),
            grads,
        )
    finally:
        wiring.close()
        for model in trained.values():
            projections.detach(model)


def _grads(model: Any) -> torch.Tensor:
    there = [p.grad.abs().sum() for p in model.parameters() if p.grad is not None]
    return torch.stack([torch.zeros(()), *there]).sum()


def whole(fused: bool) -> list[str]:
    """The taps of the teacher that a step reads."""
    made = match_of(MatchBlock(tap="logits", fused=fused))
    student, teacher = (fused_lab.made("distilbert", seed) for seed in (0, 1))
    wiring = wire(student, teacher, [made], fused_lab.BATCH, "cross_entropy")
    try:
        return sorted(wiring.frozen.taps(fused_lab.BATCH))
    finally:
        wiring.close()


BIG = {**LOGITS, "from": "big"}
HIDDEN = {"tap": "hidden", "layers": "uniform", "from": "big"}
BOTH = {**LOGITS, "from": ["big", "other"], "combine": "mean_probabilities"}
APART = {"student": "hidden:1", "teacher": "big/hidden:2"}
PEERS = {"student": "student/logits", "teacher": "peer/logits", "loss": "kl"}
MATCHES: dict[str, Trial] = {
    "MatchBlock.tap": match(BIG, {"tap": "pooled", "from": "big"}),
    "MatchBlock.student": match(APART, {**APART, "student": "hidden:2"}),
    "MatchBlock.teacher": match(APART, {**APART, "teacher": "other/hidden:2"}),
    "MatchBlock.loss": match(BIG, {**BIG, "loss": "mse"}),
    "MatchBlock.weight": match(BIG, {**BIG, "weight": 3}),
    "MatchBlock.schedule": match(BIG, {**BIG, "schedule": {"kind": "linear"}}),
    "MatchBlock.temperature": match(BIG, {**BIG, "temperature": 3}),
    "MatchBlock.layers": match(HIDDEN, {**HIDDEN, "layers": {1: 1, 2: 2}}),
    "MatchBlock.projection": match(HIDDEN, {**HIDDEN, "projection": "linear"}),
    "MatchBlock.options": match(HIDDEN, {**HIDDEN, "options": {"reduction": "token_mean"}}),
    "MatchBlock.from": match(BIG, {**BIG, "from": "other"}),
    "MatchBlock.combine": match(BOTH, {**BOTH, "combine": "mean_logits"}),
    "MatchBlock.weights": match(BOTH, {**BOTH, "weights": [0.9, 0.1]}),
    "MatchBlock.fused": lambda lab: (whole(False), whole(True)),
    "MatchBlock.target_gradient": match(PEERS, {**PEERS, "target_gradient": True}, several=True),
}
