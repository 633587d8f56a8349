"""Losses over lists of layers: FSP and Gram, NST, KDSVD, BERT-EMD. The places of a feature map are the tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from referee import Case, Outcome, original
from torch import Tensor
from torch.nn import functional as F

from textkd import losses


def hidden(name: str) -> losses.Loss:
    return losses.get(name, "hidden")


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def one_size(maps: Sequence[Tensor]) -> list[Tensor]:
    """All feature maps pooled to the smallest of them, as tokens."""
    size = min((x.shape[2:] for x in maps), key=lambda shape: shape[0])
    return [tokens(x if x.shape[2:] == size else F.adaptive_avg_pool2d(x, size)) for x in maps]


@original("repdistiller", "FSP")
def repdistiller_fsp(case: Case) -> Outcome:
    student, teacher = case.listed("s"), case.listed("t")
    group = [fsp_of(student[i : i + 2], teacher[i : i + 2]) for i in range(len(student) - 1)]
    return {"loss": sum(group), "group": torch.stack(group)}


@original("kd_zoo", "FSP")
def kd_zoo_fsp(case: Case) -> Tensor:
    return fsp_of(case.listed("fm_s"), case.listed("fm_t"))


def fsp_of(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Each layer's channels may be as many as it likes, so the Gram matrices need not be square."""
    return hidden("fsp")(one_size(student), one_size(teacher))


@original("textbrewer", "fsp")
@original("textbrewer", "gram")
def textbrewer_fsp(case: Case) -> Tensor:
    return hidden("fsp")(case.listed("student"), case.listed("teacher"), case.get("mask"))


@original("textbrewer", "mmd")
@original("textbrewer", "nst")
def textbrewer_nst(case: Case) -> Tensor:
    return hidden("token_gram")(case.listed("student"), case.listed("teacher"), case.get("mask"))


@original("repdistiller", "NSTLoss")
def repdistiller_nst(case: Case) -> Tensor:
    return hidden("nst")(*one_size([case["f_s"], case["f_t"]]))


@original("kd_zoo", "NST")
def kd_zoo_nst(case: Case) -> Tensor:
    return hidden("nst")(*one_size([case["fm_s"], case["fm_t"]]))


@original("repdistiller", "KDSVD")
def repdistiller_kdsvd(case: Case) -> Tensor:
    student, teacher = ([tokens(x) for x in case.listed(side)] for side in "st")
    return hidden("kdsvd")(student, teacher, directions=case.params["k"], signs="solver")


@original("bert_emd", "emd_transformer_loss")
def bert_emd(case: Case) -> Outcome:
    # the model has added -10000 to the scores of padding, which the original takes off again
    attention = [[torch.where(x <= -1e2, 0.0, x) for x in case.listed(f"{side}att")] for side in "st"]
    vectors = [case.listed(f"{side}rep")[1:] for side in "st"]  # without the embeddings
    by_attention, by_vectors = transport("scores", attention, case), transport("hidden", vectors, case)
    att, rep = by_attention(*attention), by_vectors(*vectors)
    parts = {
        f"{name}_{side}_weight": getattr(module, f"{side}_weight").clone()
        for name, module in (("att", by_attention), ("rep", by_vectors))
        for side in ("student", "teacher")
    }
    if not case.params["seperate"]:
        # there attention and hidden states follow one pair of weights; textkd's matches each have their own
        for side in ("student_weight", "teacher_weight"):
            mean = (getattr(by_attention, side) + getattr(by_vectors, side)) / 2
            for module in (by_attention, by_vectors):
                getattr(module, side).copy_(mean)
    shared = {"student_weight": by_attention.student_weight, "teacher_weight": by_attention.teacher_weight}
    return {"loss": att + rep, "att_loss": att, "rep_loss": rep, **parts, **shared}


def transport(family: str, taps: Sequence[Sequence[Tensor]], case: Case) -> torch.nn.Module:
    """The loss in the precision of the case: its weights are float32 otherwise, of which 1/3 is not exact enough."""
    shapes = [[tuple(tap.shape) for tap in side] for side in taps]
    default = torch.get_default_dtype()
    torch.set_default_dtype(taps[0][0].dtype)
    try:
        return losses.get("emd", family).build(*shapes, {"update": case.params["update_weight"]}, rows=1)
    finally:
        torch.set_default_dtype(default)
