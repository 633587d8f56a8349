"""New blocks that change nothing yet (Net2Net): their sublayers add zeros, and their norms do what is done already."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from textkd.errors import Collector, problem
from textkd.models.architectures import PLANS
from textkd.models.fixes import repair_positions
from textkd.models.students.copying import block_list, config_of_blocks, copy_weights
from textkd.models.students.narrow import unfilled

EXACT = 1e-8  # the largest eps of a norm that norms twice as it norms once, to float32


def deeper(model: PreTrainedModel, places: Mapping[str, Sequence[int]], nearly: bool = False) -> PreTrainedModel:
    """A model with more blocks that computes the same.

    A new block is a copy of the one that it stands behind (of block 1, behind the embeddings), whose projections back
    to the stream are zero; a gradient reaches them at once. Where norms stand behind the sums (BERT), the norm before a
    new block hands its gain and bias to the last norm of the new one: norm(x) of an x that is normed, with gain 1 and
    bias 0, is x / sqrt(1 + eps), which gains of sqrt(1 + eps) make up for. What is left is eps / (2 variance of what
    was normed first): nothing to float32 for an eps of 1e-12, and too much for one of 1e-5.

    Args:
        model: what grows; it is not changed.
        places: behind which blocks new ones come, rising, 0 for the embeddings, of the model ("") or of its sides.
        nearly: take norms that are not exact, too.

    Returns:
        A model in eval mode, with the dtype and device of the given one.

    Raises:
        TextkdError: a norm whose eps is too large, and not `nearly`; `nearly` where all is exact; nothing is normed
            where the first block shall come.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> model = BertModel(BertConfig(num_hidden_layers=2, **sizes)).eval()
        >>> grown, ids = deeper(model, {"": [1]}), torch.tensor([[1, 2, 3]])
        >>> grown.config.num_hidden_layers, torch.allclose(grown(ids)[0], model(ids)[0], atol=1e-6)
        (3, True)
    """
    config, sources, wrong = copy.deepcopy(model.config), dict[str, list[int]](), Collector()
    config.name_or_path = ""
    eps = list[float]()
    for side, after in places.items():
        stack: Any = getattr(model, side) if side else model
        path, blocks = block_list(stack)
        wrong.add(*_problems(stack, after, side, nearly))
        eps.append(_eps(stack))
        numbers = [max(k, 1) for k in range(len(blocks) + 1) for _ in range(list(after).count(k) + (k > 0))]
        part = config_of_blocks(stack.config, numbers)
        if side:
            setattr(config, side, part)
        else:
            config = part
        sources[f"{side}.{path}" if side else path] = [k - 1 for k in numbers]
    if nearly and max(eps) <= EXACT:
        what = "the new blocks of this model are exact"
        wrong.add(problem("student grow.deeper nearly: true", what, fix="leave it out", where="grow.deeper.nearly"))
    wrong.raise_any()
    student = unfilled(model, config, f"a deeper {type(model).__name__}")
    copy_weights(model, student, sources)
    repair_positions(student)
    for side, after in places.items():
        _quieten(getattr(student, side) if side else student, after)
    return student.eval()


@torch.no_grad()
def _quieten(stack: Any, after: Sequence[int]) -> None:
    """Makes the new blocks of a stack the identity. after: as of `deeper`."""
    plan, blocks = PLANS[stack.config.model_type], block_list(stack)[1]
    for number, place in enumerate(after):
        new = place + number  # the index of the new block among all
        block: Any = blocks[new]
        for name in (*(attention[3] for attention in plan.attentions), plan.ffn_out):
            for weight in block.get_submodule(name).parameters():
                weight.zero_()
        if not plan.norms:
            continue
        norms = [block.get_submodule(name) for name in plan.norms]
        before = blocks[new - 1].get_submodule(plan.norms[-1]) if new else _embedding_norm(stack)
        norms[-1].load_state_dict(before.state_dict())
        norms[-1].weight.mul_(math.sqrt(1 + norms[-1].eps))
        for norm, gain in [(before, 1.0), *((one, math.sqrt(1 + one.eps)) for one in norms[:-1])]:
            norm.weight.fill_(gain)
            norm.bias.zero_()


def _embedding_norm(stack: Any) -> Any:
    """The norm whose output block 1 reads; None where it reads something else."""
    place, _, name = PLANS[stack.config.model_type].embedding_norm.rpartition(".")
    if getattr(stack.base_model, "embeddings_project", None) is not None:
        return None
    return getattr(stack.base_model.get_submodule(place), name, None)


def _problems(stack: Any, after: Sequence[int], side: str, nearly: bool) -> list[Any]:
    plan, key = PLANS[stack.config.model_type], f"{side}_after" if side else "after"
    asked, where, eps, found = f"student grow.deeper {key}: {list(after)}", f"grow.deeper.{key}", _eps(stack), []
    if plan.norms and 0 in after and _embedding_norm(stack) is None:
        what = f"block 1 of this {stack.config.model_type} model reads no norm's output, so none hands its gain on"
        found.append(problem(asked, what, fix=f"{key}: 1 or more", where=where))
    if eps > EXACT and not nearly:
        what = f"its norms have an eps of {eps:g}: norming twice is not what norming once is, by about {eps / 2:.0e}"
        fix = "nearly: true beside it takes that, or wider alone, which is exact"
        found.append(problem(asked, what, fix=fix, where=where))
    return found


def _eps(stack: Any) -> float:
    """The largest eps of the norms behind the sums of a stack's blocks; 0 where they stand before what they feed."""
    block: Any = block_list(stack)[1][0]
    norms = [block.get_submodule(name) for name in PLANS[stack.config.model_type].norms]
    return max((float(norm.eps) for norm in norms), default=0.0)
