"""Networks that learn from each other, branches and exits."""

from __future__ import annotations

from typing import Any

import torch
from referee import Case, original
from torch import Tensor

from textkd import losses
from textkd.losses.logits.branches import MultiExit
from textkd.losses.logits.fusion import Fusion
from textkd.objective.schedules import Schedule


@original("dml_tf", "kl_loss_compute")
def dml_tf(case: Case) -> Tensor:
    return losses.get("peer_kl", "logits")(case["logits1"], case["logits2"], guard="ratio", eps=1e-8, detach=False)


@original("kd_zoo", "DML")
def dml_zoo(case: Case) -> Tensor:
    return losses.get("peer_kl", "logits")(case["out1"], case["out2"])


@original("codistillation_pfn", "codistill_cross_entropy")
def codistillation_cross_entropy(case: Case) -> Tensor:
    return losses.get("soft_cross_entropy", "logits")(case["output"], case["another"])


@original("codistillation_pfn", "codistill_kl_divergence")
def codistillation_kl(case: Case) -> Tensor:
    return losses.get("reverse_kl", "logits")(case["output"], case["another"])  # what the option means there


@original("one", "KLLoss")
@original("ffl", "KLLoss")
def ensemble_kl(case: Case) -> Tensor:
    options = {"temperature": case.params["T"], "guard": "target", "eps": 1e-7}
    return losses.get("peer_kl", "logits")(case["pred"], case["label"], **options)


@original("ffl", "Fusion_module")
def fusion(case: Case) -> dict[str, Any]:
    side = case.params["sptial"]
    module = Fusion(case.params["channel"], case.params["numclass"], grid=(side, side)).to(case["x"].dtype)
    with torch.no_grad():
        module.mix.weight.copy_(case["conv1_weight"])
        module.mix_norm.weight.copy_(case["bn1_weight"])
        module.mix_norm.bias.copy_(case["bn1_bias"])
        module.join.weight.copy_(case["conv1_1_weight"].flatten(1))
        module.join_norm.weight.copy_(case["bn1_1_weight"])
        module.join_norm.bias.copy_(case["bn1_1_bias"])
        module.classify.weight.copy_(case["fc2_weight"])
        module.classify.bias.copy_(case["fc2_bias"])
    logits = module(case["x"].flatten(2).transpose(1, 2), case["y"].flatten(2).transpose(1, 2))
    return {"logits": logits, "loss": logits.square().sum()}


@original("ffl", "sigmoid_rampup")
def sigmoid_rampup(case: Case) -> dict[str, Any]:
    length = case.params["length"]
    ramp_up = Schedule.parse("ramp_up" if length else 1.0)
    ramp = torch.tensor([ramp_up(float(epoch) / (length or 1)) for epoch in case["epochs"]], dtype=torch.float64)
    return {"ramp": ramp, "loss": ramp[2]}


@original("multiexit", "DistillationBasedLoss")
def multi_exit(case: Case) -> dict[str, Any]:
    p = case.params
    exits = case.listed("l")
    shapes = [x.shape for x in exits]
    loss = MultiExit(shapes, shapes, share=p["C"], growth=p["Tmult"], maxprob=p["maxprob"])
    values, temperatures = [], []
    for _ in range(2):
        before = loss.temperature(exits[0])
        values.append(p["global_scale"] * loss(exits, exits[-1:], labels=case["y"]))
        temperatures.append(loss.temperature(exits[0]))
    return {
        "loss": values[0],
        "loss_second_call": values[1],
        "T_after_1": temperatures[0],
        "T_after_2": temperatures[1],
        "adj_maxprob_2": (exits[-1] / before).softmax(-1).amax(-1).mean(),
    }


@original("multiexit", "DistillationLossConstTemp")
def multi_exit_constant(case: Case) -> Tensor:
    p = case.params
    exits = case.listed("l")
    shapes = [x.shape for x in exits]
    loss = MultiExit(shapes, shapes, share=p["C"], temperature=p["T"], growth=1.0)
    return p["global_scale"] * loss(exits, exits[-1:], labels=case["y"])


@original("rocket_launching", "rocket_distillation")
def rocket_distillation(case: Case) -> Tensor:
    t = case.params["T"]
    kl = losses.get("kl", "logits")(case["y"], case["teacher"], temperature=t, reduction="mean")
    return 2 * case.params["alpha"] * kl


@original("rocket_launching", "hint")
def rocket_hint(case: Case) -> Tensor:
    gamma, block = case.params["gamma"], case.params["grad_block"]
    return losses.get("rocket", "logits")(case["ys"], case["y"], labels=case["targets"], gamma=gamma, block=block)
