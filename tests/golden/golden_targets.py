"""Targets and temperatures: TextBrewer's probability shift, flsw and cwsm; born-again networks."""

from __future__ import annotations

from typing import Any

from referee import Case, original
from torch import Tensor

from textkd import losses
from textkd.losses.logits.targets import probability_shift
from textkd.losses.logits.temperatures import row_temperatures


@original("textbrewer_schedules", "flsw_temperature")
def flsw(case: Case) -> dict[str, Any]:
    p = case.params
    numbers = {"temperature": p["base"], "beta": p["beta"], "gamma": p["gamma"], "eps": p["eps"]}
    tau = row_temperatures(case["S"], case["T"], rule="flsw", **numbers)
    return {"tau": tau, "loss": tau.sum()}


@original("textbrewer_schedules", "cwsm_temperature")
def cwsm(case: Case) -> dict[str, Any]:
    p = case.params
    tau = row_temperatures(case["S"], case["T"], rule="cwsm", temperature=p["base"], beta=p["beta"])
    return {"tau": tau, "loss": tau.sum()}


@original("textbrewer_schedules", "probability_shift")
def textbrewer_shift(case: Case) -> dict[str, Any]:
    shifted = probability_shift(case["T"], case["labels"])
    return {"shifted": shifted, "loss": shifted.sum()}


@original("ban_thirdparty", "kd_loss")
def ban_kd(case: Case) -> Tensor:
    alpha, t = case.params["alpha"], case.params["T"]
    soft = losses.get("kl", "logits")(case["y"], case["teacher"], temperature=t, reduction="mean")
    return alpha * soft + (1 - alpha) * losses.get("cross_entropy", "labels")(case["y"], case["labels"])
