"""Factor transfer (FT): the distance of normalised feature maps, plain or between learned factors of them."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.masking import aligned, fill, mean_of_samples, sample_means
from textkd.losses.modules import options_of, width_of
from textkd.losses.options import Fraction, Range
from textkd.losses.registry import register
from textkd.losses.shapes import Shape

_SLOPE = 0.1  # of the leaky ReLU


@register(
    "factor",
    family="hidden",
    source="FT, Kim et al. 2018, arXiv:1802.04977; code: Jangho-Kim/Factor-Transfer-pytorch, HobbitLong/RepDistiller",
    formula="1/B sum over samples of mean |f_s/||f_s|| - f_t/||f_t|||, f: all valid tokens of a sample as one vector",
    per="row",
)
def factor(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    order: Annotated[int, Range(1)] = 1,
    root: bool = False,
    pool_power: Annotated[int, Range(0)] = 0,
) -> Tensor:
    """Distance of the samples' whole feature maps, each scaled to length 1.

    student, teacher: [B,T,H] or [B,H]. order p: mean of |difference|^p over a sample's elements. root: the p-norm of
    the difference instead (torchdistill). pool_power q: first the mean over the width of f^q, so that only where a
    sample is active counts (RepDistiller, q = 2); 0: every dimension for itself. Scalar.
    """
    if pool_power and student.dim() == 2:
        raise fail("pool_power on [B,H]", "there is one number per sample, always 1 when scaled", fix="pool_power: 0")
    student, teacher = aligned(student, teacher, mask)
    if pool_power:
        student, teacher = student.pow(pool_power).mean(-1), teacher.pow(pool_power).mean(-1)
    difference = _unit(student) - _unit(teacher)
    if root:
        distance = torch.linalg.vector_norm(difference.flatten(1), ord=order, dim=1)
    else:
        distance = sample_means(difference.abs() if order == 1 else difference.abs().pow(order), mask)
    return mean_of_samples(distance, mask)


@register(
    "factor_transfer",
    family="hidden",
    source="FT, Kim et al. 2018, arXiv:1802.04977; code: Jangho-Kim/Factor-Transfer-pytorch",
    formula="first mean (t - D(P(t)))^2, then the loss `factor` of translator(s) and P(t)",
    needs=("progress",),
    any_width=True,
    per="row",
    to_target="stops",
)
class FactorTransfer(nn.Module):
    """Factors of the teacher that a paraphraser P (an autoencoder) finds, and that the student's translator imitates.

    The original's two stages in one run: at first the paraphraser alone learns, by reconstruction of the teacher, and
    the loss is the reconstruction's error; then it is fixed and the loss is the distance of the factors. Deviation: no
    activation on the last layer of the decoder, since hidden states are signed; no batch norm.

    paraphraser_share: the share of the training that belongs to the first stage. rate: width of the factors in widths
    of the teacher. kernel: tokens that a layer sees. Scalar.
    """

    def __init__(
        self,
        student: Shape,
        teacher: Shape,
        *,
        rate: Annotated[float, Range(0.0, open_low=True)] = 0.5,
        kernel: Literal[1, 3] = 1,
        paraphraser_share: Fraction = 0.2,
    ) -> None:
        super().__init__()
        mine, wide = width_of(student, "factor_transfer"), width_of(teacher, "factor_transfer")
        inner = max(int(wide * rate), 1)
        self.rate, self.kernel, self.paraphraser_share = rate, kernel, paraphraser_share
        self.encoder = TokenLayers((wide, wide, inner, inner), kernel, last=True)
        self.decoder = TokenLayers((inner, inner, wide, wide), kernel, last=False)
        self.translator = TokenLayers((mine, mine, inner, inner), kernel, last=True)

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, progress: float = 1.0) -> Tensor:
        student, teacher = fill(student, mask), fill(teacher.detach(), mask)
        if progress < self.paraphraser_share:
            again = self.decoder(self.encoder(teacher, mask), mask)
            return mean_of_samples(sample_means((again - teacher).square(), mask), mask)
        with torch.no_grad():  # the paraphraser is fixed now
            factors = self.encoder(teacher, mask)
        return factor(self.translator(student, mask), factors, mask)

    def extra_repr(self) -> str:
        return options_of(self, "rate", "kernel", "paraphraser_share")


class TokenLayers(nn.Module):
    """Convolutions over the tokens with leaky ReLU behind each (behind the last one if `last`); padding counts as 0."""

    def __init__(self, widths: tuple[int, ...], kernel: int, last: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Convolution(a, b, kernel) for a, b in itertools.pairwise(widths))
        self.last = last

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = fill(layer(x), mask)
            x = F.leaky_relu(x, _SLOPE) if self.last or i + 1 < len(self.layers) else x
        return x


class Convolution(nn.Conv1d):
    """Over the tokens of [B,T,H], in the type of its input; [B,H] is one token."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype)
        middle = weight.shape[-1] // 2
        if middle == 0 or x.dim() == 2:
            return F.linear(x, weight[..., middle], bias)
        return F.conv1d(x.transpose(1, 2), weight, bias, padding=middle).transpose(1, 2)


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.flatten(1), dim=1).view_as(x)
