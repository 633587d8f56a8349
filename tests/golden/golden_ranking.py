"""DarkRank in its own code and in that of RKD.

DarkRank's gradients are written by hand, with the query held fixed; the maps give them as `backward_code`.
"""

from __future__ import annotations

from typing import Any

import torch
from referee import Case, original
from torch import Tensor

from textkd import losses


def _options(case: Case) -> dict[str, Any]:
    """Its distances are squared, its features not scaled by us, its queries the first half of the batch."""
    scale, power = case.params["scale"], case.params["power"]
    return {"alpha": scale**power, "power": 2.0 * power, "norm": 0.0, "queries": "first_half"}


def _backward(case: Case, name: str, **options: Any) -> Tensor:
    """Its hand-written gradient: that of textkd's loss with the query held fixed."""
    student = case["student"].detach().requires_grad_()
    loss = losses.get(name, "hidden")(student, case["teacher"], query_gradient=False, **options)
    return case.params["grad_scale"] * torch.autograd.grad(loss, student)[0]


@original("darkrank", "ListMLELoss")
def list_mle(case: Case) -> Tensor:
    # its gradient has one more eps, in every quotient: the tests of the loss compare it where that is negligible
    loss = losses.get("list_mle", "hidden")
    return loss(case["student"], case["teacher"], length=0, eps=1e-12, **_options(case))


@original("darkrank", "ListNetLoss")
def list_net(case: Case) -> dict[str, Any]:
    options = {**_options(case), "length": case.params["list_length"]}
    loss = losses.get("list_net", "hidden")(case["student"], case["teacher"], **options)
    return {"loss": loss, "backward_code": _backward(case, "list_net", **options)}


@original("darkrank", "ListMSELoss")
def list_mse(case: Case) -> dict[str, Any]:
    options = _options(case)
    loss = losses.get("score_mse", "hidden")(case["student"], case["teacher"], reduction="sum", **options)
    return {"loss": loss, "backward_code": _backward(case, "score_mse", **options)}


@original("darkrank", "MatchLoss")
def match(case: Case) -> dict[str, Any]:
    """The squared distance of the vectors, once per query."""
    queries = len(case["student"]) // 2
    student = case["student"].detach().requires_grad_()
    loss = queries * student.numel() * losses.get("mse", "hidden")(student, case["teacher"])
    return {"loss": loss, "backward_code": case.params["grad_scale"] * torch.autograd.grad(loss, student)[0]}


@original("rkd_official", "HardDarkRank")
def hard_dark_rank(case: Case) -> Tensor:
    p = case.params
    options = {"alpha": p["alpha"], "power": p["beta"], "length": p["permute_len"], "norm": 0.0}
    return losses.get("list_mle", "hidden")(case["student"], case["teacher"], **options)
