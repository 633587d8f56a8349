"""What stands for a linear layer, or for a table of words, of a model that is made smaller without a narrower stream.

All are made of `nn.Linear` and `nn.Embedding`, so that an int8 grid and an export find them as they find any others.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class LowRank(nn.Module):
    """[..., in] -> [..., out] over `rank` numbers between: two matrices and no activation.

    Args:
        width: of what comes in.
        out: of what goes out.
        rank: between them.
        bias: of the second.
        where: device and dtype of the parameters.
    """

    def __init__(self, width: int, out: int, rank: int, bias: bool = True, **where: Any) -> None:
        super().__init__()
        self.in_features, self.out_features, self.rank = width, out, rank
        self.first = nn.Linear(width, rank, bias=False, **where)
        self.second = nn.Linear(rank, out, bias=bias, **where)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        made: Tensor = self.second(self.first(hidden))
        return made


class Bottleneck(nn.Module):
    """[..., in] -> [..., out] over `rank` numbers between, with a ReLU on them (the block B of Crowley et al. 2018).

    Args:
        width: of what comes in.
        out: of what goes out.
        rank: between them.
        bias: of the second; the first has one.
        where: device and dtype of the parameters.
    """

    def __init__(self, width: int, out: int, rank: int, bias: bool = True, **where: Any) -> None:
        super().__init__()
        self.in_features, self.out_features, self.rank = width, out, rank
        self.first = nn.Linear(width, rank, **where)
        self.second = nn.Linear(rank, out, bias=bias, **where)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        made: Tensor = self.second(functional.relu(self.first(hidden)))
        return made


class Grouped(nn.Module):
    """[..., in] -> [..., out] in `groups` parts that do not see each other (the block G of Crowley et al. 2018). What
    goes out is dealt among the parts, one by one, so that each part of the next layer sees something of all of these.

    In the paper a pointwise convolution does that, behind a grouped one of 3x3. A linear layer is pointwise: it would
    be as large as the layer that is to be replaced, so the order alone changes, which costs nothing.

    Args:
        width: of what comes in, a multiple of `groups`.
        out: of what goes out, a multiple of `groups`.
        groups: the parts.
        bias: there is one.
        where: device and dtype of the parameters.
    """

    def __init__(self, width: int, out: int, groups: int, bias: bool = True, **where: Any) -> None:
        super().__init__()
        self.in_features, self.out_features, self.groups = width, out, groups
        self.parts = nn.ModuleList(nn.Linear(width // groups, out // groups, bias=bias, **where) for _ in range(groups))

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., in] -> [..., out]: place j * groups + k is the j-th number of part k."""
        pieces = hidden.chunk(self.groups, dim=-1)
        made = [part(piece) for part, piece in zip(self.parts, pieces, strict=True)]
        return torch.stack(made, dim=-1).flatten(-2)


class WordTable(nn.Module):
    """Embeddings [V, H] of words as a table [V, r] and a matrix [r, H] behind it.

    Args:
        old: what it stands for; its weights are not read.
        rank: r.
    """

    def __init__(self, old: nn.Embedding, rank: int) -> None:
        super().__init__()
        where: dict[str, Any] = {"device": old.weight.device, "dtype": old.weight.dtype}
        self.num_embeddings, self.embedding_dim, self.padding_idx = (
            old.num_embeddings,
            old.embedding_dim,
            old.padding_idx,
        )
        self.scale = float(getattr(old, "embed_scale", 1.0))  # of TrOCR
        self.table = nn.Embedding(old.num_embeddings, rank, old.padding_idx, **where)
        self.up = nn.Linear(rank, old.embedding_dim, bias=False, **where)

    def forward(self, ids: Tensor) -> Tensor:
        """[...] ids -> [..., H]."""
        made: Tensor = self.up(self.table(ids))
        return made if self.scale == 1.0 else made * self.scale


class TiedOutput(nn.Module):
    """[..., H] -> logits [..., V] over the words of a `WordTable`, as it stands there: nothing is kept twice.

    Args:
        words: the table; it is a part of the model elsewhere.
        bias: [V], or None.
    """

    def __init__(self, words: WordTable, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self._words = (words,)  # a tuple, so that its weights have one name
        self.in_features, self.out_features = words.embedding_dim, words.num_embeddings
        self.bias = bias

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., H] -> [..., V]."""
        (words,) = self._words
        return functional.linear(hidden @ words.up.weight, words.table.weight, self.bias)
