"""Contrastive representation distillation with its memory."""

from __future__ import annotations

from typing import Any

from referee import Case, original
from torch import Tensor
from torch.func import functional_call

from textkd import losses


@original("repdistiller", "CRDLoss")
def repdistiller_crd(case: Case) -> dict[str, Any]:
    """The embeddings' weights and both memories are the case's; column 0 of `contrast_idx` is the positive."""
    params = case.params
    options = {
        "width": params["feat_dim"], "num_negatives": params["nce_k"], "tau": params["nce_t"],
        "momentum": params["nce_m"],
    }  # fmt: skip
    crd = losses.get("crd", "hidden").build(
        case["f_s"].shape, case["f_t"].shape, options, rows=params["n_data"]
    ).double()  # fmt: skip
    state: dict[str, Tensor] = {name: value.clone() for name, value in crd.named_buffers()}
    state |= {"memory_student": case["memory_v1"].clone(), "memory_teacher": case["memory_v2"].clone()}
    state |= {"student.weight": case["ws"], "student.bias": case["bs"]}
    state |= {"teacher.weight": case["wt"], "teacher.bias": case["bt"]}
    given = {"example_id": case["idx"], "candidates": case["contrast_idx"]}
    loss = functional_call(crd, state, (case["f_s"], case["f_t"]), given)
    return {
        "loss": loss, "Z_v1": state["z_student"], "Z_v2": state["z_teacher"],
        "memory_v1_after": state["memory_student"], "memory_v2_after": state["memory_teacher"],
    }  # fmt: skip
