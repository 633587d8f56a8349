"""Divergences of language models: reverse, symmetric, skewed, Jensen-Shannon; top-k teachers; two vocabularies."""

from __future__ import annotations

import math

import torch
from referee import Case, original
from torch import Tensor

from textkd import losses


def _logits(name: str, *given: Tensor, **options: object) -> Tensor:
    return losses.get(name, "logits")(*given, **options)


def _entropy(teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean entropy of the rows: what DistiLLM leaves out of its forward divergences."""
    return _logits("soft_cross_entropy", teacher, teacher, mask)


def _distillm(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    return case["logits"].float(), case["teacher_logits"].float(), case["label"] != -100


@original("distillm", "forward_kl")
def forward_kl(case: Case) -> Tensor:
    return _logits("soft_cross_entropy", *_distillm(case))


@original("distillm", "reverse_kl")
def reverse_kl(case: Case) -> Tensor:
    return _logits("reverse_kl", *_distillm(case))


@original("distillm", "symmetric_kl")
def symmetric_kl(case: Case) -> Tensor:
    student, teacher, mask = _distillm(case)
    lam = case.params["lam"]
    divergence = _logits("symmetric_kl", student, teacher, mask, reverse_weight=lam)
    return divergence + (1 - lam) * _entropy(teacher, mask)


@original("distillm", "js_distance")
def js_distance(case: Case) -> Tensor:
    return _logits("jsd", *_distillm(case), beta=1 - case.params["lam"])


@original("distillm", "tv_distance")
def tv_distance(case: Case) -> Tensor:
    return _logits("total_variation", *_distillm(case))


@original("distillm", "skewed_forward_kl")
def skewed_forward_kl(case: Case) -> Tensor:
    student, teacher, mask = _distillm(case)
    return _logits("skewed_kl", student, teacher, mask, skew=case.params["lam"]) + _entropy(teacher, mask)


@original("distillm", "skewed_reverse_kl")
def skewed_reverse_kl(case: Case) -> Tensor:
    return _logits("skewed_kl", *_distillm(case), skew=case.params["lam"], direction="reverse")


def _fdistill(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    return case["s_logits"], case["t_logits"], case["mask"]


@original("fdistill", "calc_ce_loss")
def fdistill_kl(case: Case) -> Tensor:
    return _logits("kl", *_fdistill(case), temperature=case.params["temperature"])


@original("fdistill", "calc_js_loss")
def fdistill_js_half(case: Case) -> Tensor:
    """KL of the mixture from the student; the original's caller adds the teacher's half."""
    share = case.params["s_wght"]
    assert math.isclose(share + case.params["t_wght"], 1)
    options = {"skew": share, "direction": "reverse", "eps": 1e-10, "temperature": case.params["temperature"]}
    return _logits("skewed_kl", *_fdistill(case), **options)


@original("fdistill", "calc_tvd_loss")
def fdistill_total_variation(case: Case) -> Tensor:
    return _logits("total_variation", *_fdistill(case), temperature=case.params["temperature"])


@original("fdistill", "calc_engine_loss")
def fdistill_engine(case: Case) -> Tensor:
    options = {"temperature": case.params["temperature"], "scale_by_t2": False, "entropy": False}
    return _logits("reverse_kl", *_fdistill(case), **options)


@original("trl_gkd", "generalized_jsd_loss")
def gkd(case: Case) -> Tensor:
    labels, reduction = case.get("labels"), case.params.get("reduction", "batchmean")
    mask = None if labels is None else labels != -100
    by_sample = labels is None and reduction == "batchmean"  # TRL then divides by B, not by B x T
    value = _logits(
        "jsd",
        case["student_logits"],
        case["teacher_logits"],
        mask,
        beta=case.params["beta"],
        temperature=case.params["temperature"],
        scale_by_t2=False,
        reduction="sum" if by_sample else reduction,
    )
    return value / len(case["student_logits"]) if by_sample else value


@original("distillkit_sparse", "sparse_kl_div")
def sparse_kl(case: Case) -> Tensor:
    p = case.params
    tail = {"zero": "zero", "symmetric_uniform": "bucket"}[p["missing"]]
    assert p.get("log_target", True) or tail == "zero"
    stored = [case["target_values"].float(), case["target_ids"]]
    options = {
        "tail": tail,
        "temperature": p["temperature"],
        "stored_temperature": p.get("target_generation_temperature", 1.0),
        "eps": p.get("eps", 1e-6),
        "scale_by_t2": False,
        "reduction": "sum",
    }
    student = case["logits"].float() * p.get("student_generation_temperature", 1.0)
    return _logits("topk_kl", student, stored, case.get("mask"), **options)


@original("distillkit_sparse", "dense_kl_div")
def dense_kl(case: Case) -> Tensor:
    options = {"temperature": case.params["temperature"], "scale_by_t2": False, "reduction": "sum"}
    return _logits("kl", case["logits"].float(), case["target_logits"].float(), case.get("mask"), **options)


@original("uld", "uld")
def uld(case: Case) -> dict[str, Tensor]:
    p = case.params
    student, teacher = case["student"], case["teacher"]
    mask = _answers(case["student_targets"], p.get("skip_student_eos", False))
    teacher_mask = _answers(case["teacher_targets"], p.get("skip_teacher_eos", False))
    options = {"temperature": p["student_temperature"], "teacher_temperature": p["teacher_temperature"]}
    distill = p["distillation_weight"] * _logits("uld", student, [teacher, teacher_mask], mask, **options)
    loss = distill
    if p["crossentropy_weight"]:
        # next-token prediction, as the causal language models of the original give it
        entropy = losses.get("cross_entropy", "labels")(student[:, :-1], case["student_targets"][:, 1:])
        loss = distill + p["crossentropy_weight"] * entropy
    return {"distill": distill, "loss": loss}


def _answers(targets: Tensor, skip_last: bool) -> Tensor:
    """Where the original reads an answer: as many positions as there are labels, from one before the first label."""
    labelled = targets != -100
    sizes = labelled.sum(1, keepdim=True) - int(skip_last)
    start = (labelled.int().argmax(1, keepdim=True) - 1).clamp(min=0)
    positions = torch.arange(targets.shape[1])
    return (positions >= start) & (positions < start + sizes)
