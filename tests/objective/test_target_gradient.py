"""`target_gradient`: the gradient flows into the target, where the match says so, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from cohort_lab import batches, net
from torch import Tensor
from torch.testing import assert_close

from textkd import Match, TextkdError, wire

BATCH = batches()[0]
LABELS = Match("labels")
Outputs = Mapping[str, Any]


def peers(count: int = 2) -> dict[str, Any]:
    return {f"peer_{number}": net(number) for number in range(1, count + 1)}


def ours(matches: Sequence[Match], models: dict[str, Any]) -> dict[str, Tensor]:
    """The gradients of one step, by model and parameter."""
    wired = wire(models, None, matches, BATCH)
    wired.loss(wired.learners.module.train(), BATCH).total.backward()
    wired.close()
    return {f"{name}/{key}": p.grad for name, model in models.items() for key, p in model.named_parameters()
            if p.grad is not None}  # fmt: skip


def plain(formula: Callable[[Outputs], Tensor], models: dict[str, Any]) -> dict[str, Tensor]:
    """The same by autograd on a formula of the models' own outputs."""
    inputs = {name: column for name, column in BATCH.items() if name != "labels"}
    formula({name: model.train()(**inputs, output_hidden_states=True) for name, model in models.items()}).backward()
    return {f"{name}/{key}": p.grad for name, model in models.items() for key, p in model.named_parameters()
            if p.grad is not None}  # fmt: skip


def kl(target: Tensor, student: Tensor) -> Tensor:
    """KL(target || student) of probabilities, the mean over rows."""
    return (target * (target.log() - student.log())).sum(-1).mean()


def divergence(outputs: Outputs) -> Tensor:
    one, other = (outputs[name].logits.softmax(-1) for name in ("peer_1", "peer_2"))
    return kl(other, one)


def distance(outputs: Outputs) -> Tensor:
    one, other = (outputs[name].hidden_states[1] for name in ("peer_1", "peer_2"))
    return (one - other)[BATCH["attention_mask"].bool()].square().mean()


def to_the_mean(outputs: Outputs) -> Tensor:
    soft = {name: (one.logits / 2).softmax(-1) for name, one in outputs.items()}
    return 4 * kl((soft["peer_2"] + soft["peer_3"]) / 2, soft["peer_1"])


def cross_entropies(outputs: Outputs) -> Tensor:
    return sum(torch.nn.functional.cross_entropy(one.logits, BATCH["labels"]) for one in outputs.values())


TO_PEER = {"student": "peer_1/logits", "teacher": "peer_2/logits"}
TO_BLOCK = {"student": "peer_1/hidden:1", "teacher": "peer_2/hidden:1"}
TO_MEAN = {"student": "peer_1/logits", "teacher": "logits", "from_": ["peer_2", "peer_3"], "temperature": 2.0,
           "combine": "mean_probabilities"}  # fmt: skip
FLOWS = [
    (Match(**TO_PEER, loss="peer_kl", options={"detach": False}, target_gradient=True), divergence, 2),
    (Match(**TO_PEER, loss="kl", target_gradient=True), divergence, 2),
    (Match(**TO_BLOCK, loss="mse", target_gradient=True), distance, 2),
    (Match(**TO_MEAN, target_gradient=True), to_the_mean, 3),
]


@pytest.mark.long
@pytest.mark.parametrize(("match", "formula", "count"), FLOWS)
def test_it_flows_as_autograd_has_it(match: Match, formula: Callable[[Outputs], Tensor], count: int) -> None:
    found, expected = ours([match], peers(count)), plain(formula, peers(count))
    assert {key.partition("/")[0] for key in found} == set(peers(count))
    assert found.keys() == expected.keys()
    for name in peers(count):
        assert max(float(grad.abs().max()) for key, grad in found.items() if key.startswith(name)) > 1e-4
    for key, gradient in expected.items():
        assert_close(found[key], gradient, rtol=1e-4, atol=1e-7, msg=key)


@pytest.mark.long
@pytest.mark.parametrize(
    "words", [{**TO_PEER, "loss": "peer_kl"}, {**TO_PEER, "loss": "kl"}, {**TO_BLOCK, "loss": "mse"}, TO_MEAN]
)
def test_else_the_target_gets_none(words: dict[str, Any]) -> None:
    """The other models learn from labels, so that there is a gradient to be changed."""
    count = 3 if "combine" in words else 2
    found, expected = ours([LABELS, Match(**words)], peers(count)), plain(cross_entropies, peers(count))
    for key, gradient in expected.items():
        if key.startswith("peer_1/"):
            continue
        assert_close(found[key], gradient, rtol=1e-4, atol=1e-7, msg=key)
    assert any(not torch.allclose(found[key], grad, rtol=1e-2) for key, grad in expected.items() if "peer_1/" in key)


def test_a_model_learns_from_its_own_depths() -> None:
    """Its last block is a constant to its first, or is drawn towards it."""
    words = {"student": "hidden:1", "teacher": "student/hidden:2", "loss": "mse"}
    still, moved = (ours([Match(**words, target_gradient=on)], {"student": net(1)}) for on in (False, True))
    assert not any("layer.1." in key for key in still)
    assert any("layer.1." in key for key in moved)


def test_a_target_that_is_frozen_in_this_training_is_told() -> None:
    models = peers()
    models["peer_2"].bert.requires_grad_(False)
    models["peer_2"].classifier.requires_grad_(False)
    with pytest.raises(TextkdError, match=r"target tap peer_2/hidden:1\n.*it carries no gradient"):
        ours([Match(**TO_BLOCK, loss="mse", target_gradient=True)], models)


def test_a_loss_that_trains_its_target_asks_for_the_gradient() -> None:
    with pytest.raises(TextkdError, match="target_gradient: true in the match"):
        ours([Match(**TO_PEER, loss="peer_kl", options={"detach": False})], peers())
    with pytest.raises(TextkdError, match="sends no gradient into its target"):
        ours([Match(**TO_PEER, loss="peer_kl", target_gradient=True)], peers())
