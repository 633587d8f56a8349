"""Plain distillation on logits in its many reductions, and what changes the logits or splits the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import referee
import torch
from referee import Case, original
from safetensors.torch import load_file
from scipy.optimize import least_squares
from torch import Tensor

from textkd import losses


def _logits(name: str, *given: Tensor | None, **options: Any) -> Tensor:
    return losses.get(name, "logits")(*given, **options)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return losses.get("cross_entropy", "labels")(logits, labels)


def _reduction(case: Case, key: str = "reduction", default: str = "batchmean") -> str:
    return case.params.get(key) or default


@original("repdistiller", "DistillKL")
def repdistiller_kl(case: Case) -> Tensor:
    return _logits("kl", case["y_s"], case["y_t"], temperature=case.params["T"])


@original("kd_zoo", "SoftTarget")
def zoo_soft_target(case: Case) -> Tensor:
    return _logits("kl", case["out_s"], case["out_t"], temperature=case.params["T"])


@original("kd_zoo", "Logits")
def zoo_logits(case: Case) -> Tensor:
    return _logits("mse", case["out_s"], case["out_t"])


@original("mdistiller", "kd_loss")
@original("logit_standardization", "kd_loss")
def mdistiller_kl(case: Case) -> Tensor:
    standardise = case.params.get("logit_stand", False)
    return _logits("kl", case["s"], case["t"], temperature=case.params["temperature"], standardise=standardise)


@original("mdistiller", "dkd_loss")
@original("logit_standardization", "dkd_loss")
def mdistiller_dkd(case: Case) -> Tensor:
    options = {name: case.params[name] for name in ("alpha", "beta", "temperature")}
    standardise = case.params.get("logit_stand", False)
    return _logits("dkd", case["s"], case["t"], labels=case["target"], standardise=standardise, **options)


@original("logit_standardization", "mlkd_cc_loss")
def multilevel_classes(case: Case) -> Tensor:
    return _logits("class_correlation", case["s"], case["t"], temperature=case.params["temperature"])


@original("logit_standardization", "mlkd_bc_loss")
def multilevel_batch(case: Case) -> Tensor:
    return _logits("batch_correlation", case["s"], case["t"], temperature=case.params["temperature"])


def _torchdistill(case: Case, standardise: bool) -> Tensor:
    """alpha CE + (1 - alpha) T^2 KL; without alpha the bare KL, then without T^2. A sum sums both."""
    alpha = case.params.get("alpha")
    options = {"temperature": case.params["temperature"], "reduction": _reduction(case), "standardise": standardise}
    if not alpha:
        return _logits("kl", case["s"], case["t"], scale_by_t2=False, **options)
    soft = _logits("kl", case["s"], case["t"], **options)
    rows = len(case["y"]) if options["reduction"] == "sum" else 1
    return alpha * rows * _cross_entropy(case["s"], case["y"]) + (1 - alpha) * soft


@original("torchdistill", "KDLoss")
@original("torchdistill", "KDLoss_soft_only")
def torchdistill_kl(case: Case) -> Tensor:
    return _torchdistill(case, standardise=False)


@original("torchdistill", "LogitStdKDLoss")
def torchdistill_standardised(case: Case) -> Tensor:
    return _torchdistill(case, standardise=True)


@original("torchdistill", "DISTLoss")
def torchdistill_dist(case: Case) -> Tensor:
    options = {"beta": case.params["beta"], "gamma": case.params["gamma"], "temperature": case.params["tau"]}
    return _logits("dist", case["s"], case["t"], eps_is="floor", **options)


@original("dist_kd", "DIST")
def dist(case: Case) -> Tensor:
    """[B,C] or maps [B,C,H,W], whose pixels are tokens."""
    student, teacher = (z if z.dim() == 2 else z.flatten(2).mT for z in (case["y_s"], case["y_t"]))
    options = {"beta": case.params["beta"], "gamma": case.params["gamma"], "temperature": case.params["tau"]}
    return _logits("dist", student, teacher, **options)


@original("distilbert", "distilbert_step")
def distilbert(case: Case) -> dict[str, Tensor]:
    p, labels, attended = case.params, case["lm_labels"], case["attention_mask"]
    student, teacher = case["s_logits"], case["t_logits"]
    chosen = labels > -1 if p["restrict"] else attended
    ce = _logits("kl", student, teacher, chosen, temperature=p["temperature"])
    given, loss = {"last_loss_ce": ce}, p["alpha_ce"] * ce
    if p["alpha_mlm"] > 0:
        given["last_loss_mlm"] = _cross_entropy(student, labels)
        loss = loss + p["alpha_mlm"] * given["last_loss_mlm"]
    if p["alpha_clm"] > 0:
        given["last_loss_clm"] = _cross_entropy(student[:, :-1], labels[:, 1:])
        loss = loss + p["alpha_clm"] * given["last_loss_clm"]
    if p["alpha_mse"] > 0:
        given["last_loss_mse"] = _logits("mse", student, teacher, chosen, reduction="batchmean")
        loss = loss + p["alpha_mse"] * given["last_loss_mse"]
    if p["alpha_cos"] > 0:
        given["last_loss_cos"] = losses.get("cosine", "hidden")(case["s_hidden"], case["t_hidden"], attended)
        loss = loss + p["alpha_cos"] * given["last_loss_cos"]
    return {**given, "loss": loss}


@original("pkd", "distillation_loss")
def pkd(case: Case) -> Tensor:
    p = case.params
    options = {"temperature": p["T"], "reduction": _reduction(case, "reduction_kd", "mean")}
    soft = _logits("kl", case["y"], case["teacher"], **options)
    return p["alpha"] * soft + (1 - p["alpha"]) * _cross_entropy(case["y"], case["labels"])


@original("pkd", "patience_loss")
def pkd_patience(case: Case) -> Tensor:
    """First positions of several layers [B,layers,H]."""
    name = "normalised_mse" if case.params["normalized"] else "mse"
    return losses.get(name, "hidden")(case["student"], case["teacher"])


@original("tinybert", "soft_cross_entropy")
def tinybert(case: Case) -> Tensor:
    options = {"temperature": case.params["temperature"], "scale_by_t2": False, "reduction": "mean"}
    return _logits("soft_cross_entropy", case["s"], case["t"], **options)


@original("intel_distiller", "KnowledgeDistillationPolicy")
def intel(case: Case) -> Tensor:
    p = case.params
    soft = _logits("kl", case["s"], case["t"], temperature=p["temperature"])
    return p["distill"] * soft + p["student"] * _cross_entropy(case["s"], case["y"])


@original("moonshine", "distillation")
def moonshine(case: Case) -> Tensor:
    alpha = case.params["alpha"]
    soft = _logits("kl", case["y"], case["teacher"], temperature=case.params["T"], reduction="mean")
    return 2 * alpha * soft + (1 - alpha) * _cross_entropy(case["y"], case["labels"])


@original("attention_transfer", "distillation")
def attention_transfer(case: Case) -> Tensor:
    alpha = case.params["alpha"]
    soft = _logits("kl", case["y"], case["teacher_scores"], temperature=case.params["T"])
    return alpha * soft + (1 - alpha) * _cross_entropy(case["y"], case["labels"])


def _textbrewer(case: Case, name: str, **options: Any) -> Tensor:
    """With one temperature, or with one per row; the latter is no input of the recorded case unless it lies beside."""
    given = case.params["temperature"]
    if isinstance(given, dict):
        beside = load_file(referee.FOLDER / f"{case.source}.safetensors")
        given = case.get("temperature")
        given = beside.get(case.params["temperature"]["tensor"]) if given is None else given
        given = _lost_temperatures(case, name, options) if given is None else given
    return _logits(name, case["student"], case["teacher"], case.get("mask"), temperature=given, **options)


def _lost_temperatures(case: Case, name: str, options: dict[str, Any]) -> Tensor:
    """The temperatures [B], which the recording left out: those for which the gradient [B,C] is the recorded one.

    C numbers per row are known and one is sought, so the other ones, and the value, still tell right from wrong.
    """
    student, teacher = case["student"].detach().requires_grad_(), case["teacher"]

    def residuals(temperatures: np.ndarray) -> np.ndarray:
        value = _logits(name, student, teacher, temperature=torch.tensor(temperatures), **options)
        return (torch.autograd.grad(value, student)[0] - case.gradients["student"]).flatten().numpy()

    fit = least_squares(residuals, np.full(len(student), 2.0), bounds=(0.1, 100), xtol=1e-15, ftol=1e-15, gtol=1e-15)
    return torch.tensor(fit.x)


@original("textbrewer", "kd_ce")
def textbrewer_ce(case: Case) -> Tensor:
    return _textbrewer(case, "soft_cross_entropy", scale_by_t2=False)


@original("textbrewer", "kd_mse")
def textbrewer_mse(case: Case) -> Tensor:
    return _textbrewer(case, "mse")
