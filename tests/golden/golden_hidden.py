"""Feature maps without weights of their own: hints, cosine, PKD, overhaul, boundaries, pyramid."""

from __future__ import annotations

from grids import same_grid
from referee import Case, original
from torch import Tensor

from textkd import losses

mse = losses.get("mse", "hidden")


def tokens(x: Tensor) -> Tensor:
    """[B,C,H,W] -> [B,T,C]; vectors stay."""
    return x if x.dim() < 4 else x.flatten(2).transpose(1, 2)


def paired(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both as tokens; of maps of two sizes the larger one is pooled to the smaller."""
    student, teacher = tokens(student), tokens(teacher)
    return (student, teacher) if student.shape[1] == teacher.shape[1] else same_grid(student, teacher)


@original("textbrewer", "hidden_mse")
def textbrewer_mse(case: Case) -> Tensor:
    return mse(case["student"], case["teacher"], case.get("mask"))


@original("textbrewer", "cos")
def textbrewer_cosine(case: Case) -> Tensor:
    return losses.get("cosine", "hidden")(case["student"], case["teacher"], case.get("mask"))


@original("textbrewer", "pkd")
def textbrewer_pkd(case: Case) -> Tensor:
    # the original takes a mask and does not look at it
    loss = losses.get("normalised_mse", "hidden")
    return loss(case["student"], case["teacher"], positions="first", reduction="token_mean")


@original("kd_zoo", "Hint")
def zoo_hint(case: Case) -> Tensor:
    return mse(tokens(case["fm_s"]), tokens(case["fm_t"]))


@original("repdistiller", "HintLoss")
def repdistiller_hint(case: Case) -> Tensor:
    return mse(tokens(case["f_s"]), tokens(case["f_t"]))


@original("kd_zoo", "AB")
def zoo_boundaries(case: Case) -> Tensor:
    loss = losses.get("activation_boundaries", "hidden")
    return loss([tokens(case["fm_s"])], [tokens(case["fm_t"])], margin=case.params["margin"])


@original("repdistiller", "ABLoss")
def repdistiller_boundaries(case: Case) -> Tensor:
    loss = losses.get("activation_boundaries", "hidden")
    student, teacher = (list(map(tokens, case.listed(side))) for side in "st")
    return 3e-3 * loss(student, teacher, margin=case.params["margin"], reduction="per_sample")


@original("mdistiller", "reviewkd_hcl_loss")
def mdistiller_hcl(case: Case) -> Tensor:
    loss = losses.get("hcl", "hidden")
    pairs = zip(case.listed("s"), case.listed("t"), strict=True)
    return sum(loss([tokens(s)], [tokens(t)], grid_rows=s.shape[2] if s.dim() == 4 else 0) for s, t in pairs)


@original("factor_transfer", "FT_L1")
def factor_transfer(case: Case) -> Tensor:
    return losses.get("factor", "hidden")(tokens(case["factor_s"]), tokens(case["factor_t"]))


@original("kd_zoo", "FT")
def zoo_factor(case: Case) -> Tensor:
    return losses.get("factor", "hidden")(tokens(case["fm_s"]), tokens(case["fm_t"]))


@original("torchdistill", "FTLoss")
def torchdistill_factor(case: Case) -> Tensor:
    order = case.params["p"]
    return losses.get("factor", "hidden")(tokens(case["s"]), tokens(case["t"]), order=order, root=order != 1)


@original("repdistiller", "FactorTransfer")
def repdistiller_factor(case: Case) -> Tensor:
    power, order = case.params["p1"], case.params["p2"]
    loss = losses.get("factor", "hidden")
    return loss(*paired(case["f_s"], case["f_t"]), pool_power=power, order=order)
