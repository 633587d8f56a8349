"""Attention: activation maps, probabilities and scores."""

from __future__ import annotations

from grids import same_grid
from referee import Case, original
from torch import Tensor

from textkd import losses


def tokens(features: Tensor) -> Tensor:
    """[B,C,H,W] as [B,T,C]."""
    return features.flatten(2).transpose(1, 2)


@original("attention_transfer", "at_loss")
def at_loss(case: Case) -> Tensor:
    return losses.get("activation_map", "hidden")(tokens(case["x"]), tokens(case["y"]))


@original("kd_zoo", "AT")
def zoo_at(case: Case) -> Tensor:
    return losses.get("activation_map", "hidden")(
        tokens(case["fm_s"]), tokens(case["fm_t"]), power=case.params["p"], width="sum", eps=1e-6, add_eps=True
    )


@original("repdistiller", "Attention")
def repdistiller_attention(case: Case) -> Tensor:
    student, teacher = same_grid(tokens(case["f_s"]), tokens(case["f_t"]))
    return losses.get("activation_map", "hidden")(student, teacher, power=case.params["p"], absolute=False)


@original("tinybert", "intermediate_loss")
def tinybert(case: Case) -> dict[str, Tensor]:
    """Its attentions are scores with the mask added; student block i learns from teacher block i * k."""
    ours, theirs = case.listed("satt"), case.listed("tatt")
    step = case.params["teacher_layers"] // case.params["student_layers"]
    scores, hidden = losses.get("mse", "scores"), losses.get("mse", "hidden")
    of_maps = sum(scores(s, t, zero_below=-100.0) for s, t in zip(ours, theirs[step - 1 :: step], strict=True))
    pairs = zip(case.listed("srep"), case.listed("trep")[::step], strict=True)
    of_states = sum(hidden(s, t) for s, t in pairs)
    assert isinstance(of_maps, Tensor)
    return {"att_loss": of_maps, "rep_loss": of_states, "loss": of_maps + of_states}


def textbrewer(case: Case, loss: str, **options: str) -> Tensor:
    """[B,T,T] stands for maps whose heads are merged already. Without a mask small values are left out, and with one
    the softmax still runs over padded keys."""
    student, teacher = (x if x.dim() == 4 else x[:, None] for x in (case["student"], case["teacher"]))
    mask, quirks = case.get("mask"), dict[str, float | str]()
    if mask is None:
        quirks["zero_below"] = -1e-3
    elif loss == "cross_entropy":
        quirks["keys"] = "all"
    return losses.get(loss, "scores")(student, teacher, mask, **quirks, **options)


@original("textbrewer", "attention_mse")
def attention_mse(case: Case) -> Tensor:
    return textbrewer(case, "mse")


@original("textbrewer", "attention_mse_sum")
def attention_mse_sum(case: Case) -> Tensor:
    return textbrewer(case, "mse", heads="sum")


@original("textbrewer", "attention_ce")
def attention_ce(case: Case) -> Tensor:
    return textbrewer(case, "cross_entropy")


@original("textbrewer", "attention_ce_mean")
def attention_ce_mean(case: Case) -> Tensor:
    return textbrewer(case, "cross_entropy", heads="mean")
