"""Plain distillation with softened targets: KL and cross entropy of logits."""

from __future__ import annotations

from referee import Case, original
from torch import Tensor

from textkd import losses


@original("repdistiller", "DistillKL")
def repdistiller_kl(case: Case) -> Tensor:
    return losses.get("kl", "logits")(case["y_s"], case["y_t"], temperature=case.params["T"])
