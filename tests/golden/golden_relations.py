"""Relations between samples, tokens and heads: SP, CC, PKT, RKD, IRG, MMD, CORAL, MGSKD, MiniLMv2.

A feature map [B,C,H,W] is, for relations between samples, one vector per sample; else its places are the tokens.
"""

from __future__ import annotations

from collections.abc import Callable

from referee import Case, Outcome, original
from torch import Tensor
from torch.nn import functional as F

from textkd import losses


def hidden(name: str) -> losses.Loss:
    return losses.get(name, "hidden")


def rkd(student: Tensor, teacher: Tensor, distance: float, angle: float) -> Tensor:
    student, teacher = student.flatten(1), teacher.flatten(1)
    return distance * hidden("rkd_distance")(student, teacher) + angle * hidden("rkd_angle")(student, teacher)


@original("repdistiller", "Similarity")
def repdistiller_sp(case: Case) -> Tensor:
    return hidden("sp")(case["f_s"].flatten(1), case["f_t"].flatten(1))


@original("kd_zoo", "SP")
def kd_zoo_sp(case: Case) -> Tensor:
    return hidden("sp")(case["fm_s"].flatten(1), case["fm_t"].flatten(1))


@original("torchdistill", "SPKDLoss")
def torchdistill_sp(case: Case) -> Tensor:
    reduction = "mean" if case.params["reduction"] == "batchmean" else "sum"
    # its F.normalize(gram, 1) hands 1 over as the norm, not as the axis
    return hidden("sp")(case["s"].flatten(1), case["t"].flatten(1), row_norm="l1", reduction=reduction)


@original("kd_zoo", "CC")
def kd_zoo_cc(case: Case) -> Tensor:
    return hidden("cc")(case["feat_s"], case["feat_t"], gamma=case.params["gamma"], order=case.params["P_order"])


@original("torchdistill", "CCKDLoss")
def torchdistill_cc(case: Case) -> Tensor:
    kernel = case.params["type"]
    series = {"gamma": case.params["gamma"], "order": case.params["max_p"]} if kernel == "gaussian" else {}
    loss = hidden("cc")(case["s"], case["t"], kernel=kernel, normalise=False, distance="frobenius", **series)
    return loss if case.params.get("reduction", "batchmean") == "batchmean" else loss * len(case["s"]) ** 2


@original("repdistiller", "Correlation")
def repdistiller_cc(case: Case) -> Tensor:
    return hidden("cc_neighbours")(case["f_s"], case["f_t"])


def pkt(student: str, teacher: str) -> Callable[[Case], Outcome]:
    return lambda case: hidden("pkt")(case[student], case[teacher], eps=case.params.get("eps", 1e-7))


original("repdistiller", "PKT")(pkt("f_s", "f_t"))
original("kd_zoo", "PKTCosSim")(pkt("f_s", "f_t"))
original("torchdistill", "PKTLoss")(pkt("s", "t"))
original("pkt_official", "cosine_similarity_loss")(pkt("s", "t"))


@original("repdistiller", "RKDLoss")
def repdistiller_rkd(case: Case) -> Tensor:
    return rkd(case["f_s"], case["f_t"], case.params["w_d"], case.params["w_a"])


@original("kd_zoo", "RKD")
def kd_zoo_rkd(case: Case) -> Tensor:
    return rkd(case["feat_s"], case["feat_t"], case.params["w_dist"], case.params["w_angle"])


@original("torchdistill", "RKDLoss")
def torchdistill_rkd(case: Case) -> Tensor:
    return rkd(case["s"], case["t"], case.params["dist_factor"], case.params["angle_factor"])


@original("rkd_official", "RKdAngle")
def rkd_official_angle(case: Case) -> Tensor:
    return hidden("rkd_angle")(case["student"], case["teacher"])


@original("rkd_official", "RkdDistance")
def rkd_official_distance(case: Case) -> Tensor:
    return hidden("rkd_distance")(case["student"], case["teacher"])


@original("kd_zoo", "IRG")
def kd_zoo_irg(case: Case) -> Tensor:
    names = ("fm_{}1", "fm_{}2", "feat_{}")
    taps = [(case[name.format("s")], case[name.format("t")]) for name in names]
    edges = [
        hidden("rkd_distance")(s.flatten(1), t.flatten(1), squared=True, scale="max", error="mse") for s, t in taps
    ]
    layers = [irg_layers(*(taps[layer][side] for layer in (0, 1))) for side in (0, 1)]
    params = case.params
    return (
        params["w_vert"] * losses.get("mse", "logits")(case["out_s"], case["out_t"])
        + params["w_edge"] * sum(edges) / len(edges)
        + params["w_tran"] * hidden("irg_transformation")(*layers)
    )


def irg_layers(first: Tensor, second: Tensor) -> list[Tensor]:
    """Two feature maps as layers of one shape: the larger map pooled, neighbouring channels averaged."""
    if first.shape[2] > second.shape[2]:
        first = F.adaptive_avg_pool2d(first, second.shape[2:])
    if first.shape[1] < second.shape[1]:
        second = (second[:, 0::2] + second[:, 1::2]) / 2
    return [x.flatten(2).transpose(1, 2) for x in (first, second)]


def rbf_mmd(estimate: str) -> Callable[[Case], Outcome]:
    def run(case: Case) -> Tensor:
        kernels = {"kernels": case.params["kernel_num"], "factor": case.params["kernel_mul"]}
        return hidden("mmd")(case["source"], case["target"], estimate=estimate, **kernels)

    return run


original("deep_transfer_learning", "mmd_rbf_noaccelerate")(rbf_mmd("all"))
original("deep_transfer_learning", "mmd_rbf_accelerate")(rbf_mmd("neighbours"))


@original("deep_transfer_learning", "CORAL")
def deep_transfer_coral(case: Case) -> Tensor:
    width = case["source"].shape[1]
    # a mean over the H x H entries over 16 H, where the paper has the sum over 4 H^2
    return hidden("coral")(case["source"], case["target"], centre="features", scatter=True) / (4 * width)


@original("mgskd", "SampleLoss")
def mgskd_samples(case: Case) -> Tensor:
    return hidden("rkd_angle")(case["s"], case["t"], case["mask"], heads=case.params["heads"])


@original("mgskd", "TokenPhraseLoss")
def mgskd_tokens(case: Case) -> Tensor:
    sizes = {"heads": case.params["heads"], "corners": case.params["k1"], "neighbours": case.params["k2"]}
    return hidden("mgskd_tokens")(case["s"], case["t"], case["mask"], **sizes)


@original("minilmv2_bb", "minilmv2_relation")
def minilmv2(case: Case) -> Tensor:
    loss = losses.get("minilmv2", "heads")
    student, teacher = ([case[kind + side][:, None] for kind in "qkv"] for side in "st")
    parts = {"relation_heads": case.params["A_r"]}
    weighted = case.params["relations"].items()
    return sum(w * loss(student, teacher, case.get("mask"), relations=[pair], **parts) for pair, w in weighted)
