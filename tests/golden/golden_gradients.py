"""Gradients of the true class's logit, the models being one tanh and one linear layer."""

from __future__ import annotations

import torch
from referee import Case, original
from torch import Tensor

from textkd import losses
from textkd.models.taps import input_gradient


@original("kd_zoo", "Sobolev")
def sobolev(case: Case) -> Tensor:
    image = case["img"]
    gradients = [input_gradient(torch.tanh(image) @ case[w].T, image, case["target"]) for w in ("Ws", "Wt")]
    return losses.get("sobolev", "hidden")(gradients[0], gradients[1].detach())


@original("kd_zoo", "LwM")
def lwm(case: Case) -> Tensor:
    taps = []
    for features, weight in (("fm_s", "Ws"), ("fm_t", "Wt")):
        hidden = case[features].flatten(2).transpose(1, 2)
        if not hidden.requires_grad:
            hidden = hidden.clone().requires_grad_()
        logits = torch.tanh(hidden).mean(1) @ case[weight].T
        taps.append([hidden, input_gradient(logits, hidden, case["target"])])
    student, teacher = taps
    return losses.get("lwm", "hidden")(student, [tap.detach() for tap in teacher], weighted="gradient")
