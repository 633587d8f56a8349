"""Feature losses that own weights: the weights are those of the case, and their gradients are compared too."""

from __future__ import annotations

from typing import Any

import torch
from golden_hidden import paired, tokens
from referee import Case, original
from torch import Tensor, nn

from textkd import losses


def build(name: str, student: Any, teacher: Any, weights: dict[str, Tensor], **options: Any) -> nn.Module:
    """The module of the loss `name`, in float64, with these weights (or buffers) in place of its own."""
    if isinstance(student, list):
        shapes = [s.shape for s in student], [t.shape for t in teacher]
    else:
        shapes = student.shape, teacher.shape
    entry = losses.get(name, "hidden")
    assert losses.check_options(entry, options) == []
    module = entry.build(*shapes, options, 0).double()
    for path, value in weights.items():
        owner, _, last = path.rpartition(".")
        at = module.get_submodule(owner)
        table = at._parameters if last in at._parameters else at._buffers
        assert table[last].numel() == value.numel(), f"{path}: {list(table[last].shape)} and {list(value.shape)}"
        table[last] = value.reshape(table[last].shape)
    return module


def overhaul(case: Case, reduction: str) -> Tensor:
    """The original's loss takes the student behind the connector, and the margin."""
    student, teacher = [tokens(case["source"])], [tokens(case["target"])]
    margin = {"margins.0.mean": case["margin"]}
    module = build("overhaul", student, teacher, margin, reduction=reduction, batch_norm=False)
    return module.eval()(student, teacher)


@original("overhaul", "ofd_distillation_loss")
def overhaul_official(case: Case) -> Tensor:
    return overhaul(case, "sum")


@original("mdistiller", "ofd_feat_loss")
def overhaul_mdistiller(case: Case) -> Tensor:
    return overhaul(case, "per_sample")


@original("kd_zoo", "OFD")
def overhaul_zoo(case: Case) -> Tensor:
    student = [tokens(case["fm_s"]) @ case["w"].flatten(1).T]  # the match's linear projection
    teacher = [tokens(case["fm_t"])]
    return build("overhaul", student, teacher, {}, margin="batch")(student, teacher)


@original("kd_zoo", "AFD")
def feature_attention(case: Case) -> Tensor:
    student, teacher = tokens(case["fm_s"]), tokens(case["fm_t"])
    weights = {f"attention.{i}.{kind}": case[f"attention_{i}_{kind}"] for i in (0, 2) for kind in ("weight", "bias")}
    return build("afd", student, teacher, weights, inner_share=float(case.params["att_f"]))(student, teacher)


@original("repdistiller", "VIDLoss")
def variational(case: Case) -> Tensor:
    student, teacher = paired(case["f_s"], case["f_t"])
    weights = {f"regressor.{2 * i}.weight": case[f"w{i}"] for i in range(3)}
    module = build(
        "vid", student, teacher, {**weights, "log_scale": case["log_scale"]},
        regressor_width=len(case["w0"]), init_variance=case.params["init_pred_var"], eps=case.params["eps"],
    )  # fmt: skip
    return module(student, teacher)


@original("lsh", "LSH")
def hashing(case: Case) -> Tensor:
    target = {"BCE": "bits", "L2": "l2", "L1": "l1"}[case.params["LSH_loss"]]
    given = {"planes": case["W"], "bias": case["b"], "ready": torch.tensor(True)}
    module = build(
        "lsh", case["f_s"], case["f_t"], given,
        bits=case.params["N"], target=target, mse=1.0 if case.params["with_l2"] else 0.0,
    )  # fmt: skip
    return module(case["f_s"], case["f_t"])
