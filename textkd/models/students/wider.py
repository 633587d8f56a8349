"""Wider blocks of the same function (Net2Net): units, heads and dimensions are copied; copies share what they say."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from textkd.errors import fail
from textkd.models.architectures import PLANS
from textkd.models.fixes import repair_positions
from textkd.models.students.copying import OTHERWISE, block_list, copy_weights, is_two_sided
from textkd.models.students.narrow import follow, resize, side_of, unfilled
from textkd.models.students.widths import Sizes, have

READERS, WRITERS = (nn.Linear,), (nn.Embedding, nn.LayerNorm, nn.Conv2d)


def spread(width: int, new_width: int) -> Tensor:
    """Which unit each unit of a wider layer is a copy of: all of them in turn, as often as there is room.

    Example:
        >>> spread(3, 5).tolist()
        [0, 1, 2, 0, 1]
    """
    return torch.arange(new_width) % width


def wider(model: PreTrainedModel, sizes: Mapping[str, Sizes], noise: float = 0.0) -> PreTrainedModel:
    """A model of the same class with wider blocks that computes the same.

    Feed-forward units: copies share their outgoing weights. Heads: copies share the columns of the output that read
    them; a wider head has copies of its units, of queries scaled so that scores stay. The stream: each dimension is
    copied as often, so that norms see the same mean and variance, and what reads the stream shares its columns among
    the copies. Which unit is copied: all in turn.

    Args:
        model: what grows; it is not changed.
        sizes: what the model ("") or its sides shall have, see `textkd.models.students.growth.grown_sizes`.
        noise: standard deviation, relative to that of the weights, of what is added to the incoming weights of copies
            in the blocks, from torch's global random state; 0 keeps the function.

    Returns:
        A model in eval mode, with the dtype and device of the given one.

    Raises:
        TextkdError: a weight that nobody knows how to copy; words that are tied to the output of a head of their own.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> shape = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> model = BertModel(BertConfig(num_hidden_layers=1, **shape)).eval()
        >>> grown, ids = wider(model, {"": Sizes(heads=3, ffn=20, hidden=24)}), torch.tensor([[1, 2, 3]])
        >>> torch.allclose(grown(ids)[0][..., :8], model(ids)[0], atol=1e-6)
        True
    """
    config = copy.deepcopy(model.config)
    config.name_or_path = ""
    for side, one in sizes.items():
        resize(getattr(config, side) if side else config, one)
    if is_two_sided(model):
        follow(model.config, config, "wider", "grow.wider")
    grown = _Grown(model, sizes, noise)
    student = unfilled(model, config, f"a wider {type(model).__name__}")
    copy_weights(model, student, {}, part=grown)
    repair_positions(student)
    for name, share in grown.last_norms.items():
        norm: Any = student.get_submodule(name)
        with torch.no_grad():
            norm.weight.div_(share)
            norm.bias.div_(share)
    return student.eval()


class _Grown:
    """Makes a weight of a wider model of the one that it had."""

    def __init__(self, model: Any, sizes: Mapping[str, Sizes], noise: float) -> None:
        self.model, self.noise = model, noise
        self.known = dict[str, dict[int, Tensor]]()  # axis -> which unit each one copies
        self.scales = dict[str, Tensor | float]()  # of rows, or of the whole weight
        self.streams = dict[str, tuple[int, int]]()  # side -> width before, how often each dimension is there
        self.made, self.in_blocks, self.last_norms = dict[int, tuple[Tensor, Tensor]](), list[str](), dict[str, float]()
        self.has_link = is_two_sided(model) and getattr(model, "enc_to_dec_proj", None) is not None
        for side, one in sizes.items():
            stack = getattr(model, side) if side else model
            self._stack(stack, f"{side}." if side else "", one)
            own = have(stack.config)
            self.streams[side] = own.hidden, one.hidden // own.hidden
            if one.hidden != own.hidden:
                self._words(stack, f"{side}." if side else "", one.hidden // own.hidden)

    def _stack(self, stack: Any, prefix: str, new: Sizes) -> None:
        plan, (path, blocks), own = PLANS[stack.config.model_type], block_list(stack), have(stack.config)
        units, heads, within = (
            spread(own.ffn, new.ffn), spread(own.heads, new.heads), spread(own.head_width, new.head_width),
        )  # fmt: skip
        attention = (heads[:, None] * own.head_width + within).flatten()
        # a unit of a wider head is met as often as it is there, and scores are divided by the root of the width
        met = math.sqrt(new.head_width / own.head_width) / torch.bincount(within)[within].double()
        for i in range(len(blocks)):
            place = f"{prefix}{path}.{i}"
            self.in_blocks.append(f"{place}.")
            self._between(f"{place}.{plan.ffn}", f"{place}.{plan.ffn_out}", units)
            for query, key, value, output in plan.attentions:
                self._between(f"{place}.{query}", f"{place}.{output}", attention)
                for name in (key, value):
                    self._between(f"{place}.{name}", "", attention)
                rows = met.repeat(new.heads)
                self.scales |= dict.fromkeys((f"{place}.{query}.weight", f"{place}.{query}.bias"), rows)

    def _between(self, first: str, second: str, sources: Tensor) -> None:
        self.known |= {f"{first}.weight": {0: sources}, f"{first}.bias": {0: sources}}
        if second:
            self.known[f"{second}.weight"] = {1: sources}

    def _words(self, stack: Any, prefix: str, times: int) -> None:
        """What is special about the words of a wider stack: their scale, and an output that is tied to them."""
        words, out = stack.get_input_embeddings(), stack.get_output_embeddings()
        name = next((name for name, one in stack.named_modules() if one is words), "")
        scale = math.sqrt(times) if getattr(stack.config, "scale_embedding", False) else 1.0
        self.scales[f"{prefix}{name}.weight"] = 1 / scale
        if out is None or out.weight is not getattr(words, "weight", None):
            return
        plan, (path, blocks) = PLANS[stack.config.model_type], block_list(stack)
        if stack.config.model_type != "trocr":
            what = "its words are tied to its output, behind a head whose norm nobody knows"
            fix = "wider: {ffn: ...} alone, or a model with another head"
            raise fail(f"a wider {type(self.model).__name__}", what, fix=fix, where="grow.wider")
        self.last_norms[f"{prefix}{path}.{len(blocks) - 1}.{plan.norms[-1]}"] = times / scale

    def __call__(self, name: str, weight: Tensor, shape: torch.Size) -> Tensor:
        if id(weight) in self.made:  # a weight of two names stays one
            return self.made[id(weight)][1]
        owner, known = self.model.get_submodule(name.rpartition(".")[0]), self.known.get(name, {})
        # another layer is one of its own kind; what holds layers has weights of its own to say, as a first token
        is_known = isinstance(owner, (*READERS, *WRITERS)) or next(owner.children(), None) is not None
        made, first = weight.detach(), None
        for axis in range(min(weight.dim(), len(shape))):
            sources = known.get(axis)
            if sources is None and weight.shape[axis] != shape[axis]:
                sources = self._stream(name, axis)
            if sources is None or not is_known:
                continue
            made = made.index_select(axis, sources.to(made.device))
            if axis == 1 and isinstance(owner, READERS):
                made = made / torch.bincount(sources)[sources].to(made)
            first = weight.shape[0] if axis == 0 and weight.shape[0] != shape[0] else first
        if made.shape != shape:
            found = f"its weight {name} is {list(weight.shape)}, and would be {list(shape)}: nobody knows of which part"
            raise fail(f"a wider {type(self.model).__name__}", found, fix=OTHERWISE, where="grow.wider")
        made = self._scaled(made, self.scales.get(name, 1.0))
        in_block = made.dim() == 2 and isinstance(owner, READERS) and name.startswith(tuple(self.in_blocks))
        if self.noise and first is not None and in_block:
            made = torch.cat([made[:first], made[first:] + self.noise * weight.std() * torch.randn_like(made[first:])])
        whole = nn.Parameter(made) if isinstance(weight, nn.Parameter) else made
        self.made[id(weight)] = (weight, whole)
        return whole

    def _scaled(self, made: Tensor, scale: Tensor | float) -> Tensor:
        if isinstance(scale, float):
            return made * scale
        return made * scale.to(made).view(-1, *[1] * (made.dim() - 1))

    def _stream(self, name: str, axis: int) -> Tensor | None:
        side = "" if "" in self.streams else side_of(name, axis, self.has_link)
        if side not in self.streams:
            return None
        width, times = self.streams[side]
        return spread(width, width * times)
