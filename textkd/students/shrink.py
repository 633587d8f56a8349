"""A student made of some of the teacher's blocks: copied, not trained from nothing (DistilBERT, Sanh et al. 2019)."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from textkd.errors import fail
from textkd.students.layers import choose_layers

log = logging.getLogger(__name__)

# Where the blocks are, inside the base model. Other models: the one ModuleList as long as the config's depth.
BLOCKS = {
    "bert": "encoder.layer",
    "roberta": "encoder.layer",
    "xlm-roberta": "encoder.layer",
    "electra": "encoder.layer",
    "distilbert": "transformer.layer",
    "albert": "encoder.albert_layer_groups",
    "modernbert": "layers",
    "vit": "layers",
    "deit": "layers",
}
# Config fields with one entry per block.
PER_BLOCK_FIELDS = ("layer_types", "mlp_layer_types")


def shrink(
    teacher: PreTrainedModel, layers: str | Sequence[int] = "uniform", n_layers: int | None = None
) -> PreTrainedModel:
    """A new model of the teacher's class made of the teacher's blocks `layers`, its embeddings, pooler and head.

    layers: block numbers 1..L (negative from the end, in the order given, none twice), or "uniform", "first", "last"
    with `n_layers`. Weights are copies with the teacher's dtype and device; tied weights stay tied; labels and every
    other config field are kept. The student is in eval mode, like `from_pretrained`, and all its weights are
    trainable. The teacher is not changed, and the global random state neither. With all layers the student computes
    exactly what the teacher computes.

    ALBERT shares its blocks: only the depth shrinks; where the chosen blocks do not fall evenly into the groups, every
    student block gets a copy of its own. ModernBERT's block 1 has no attention norm (its input is normed already):
    another block in its place has its norm folded into its query-key-value weights (see `_fit_modernbert`).
    Raises `TextkdError` for a layer out of range, none, one twice, and for models without one stack of blocks.
    """
    path, _ = block_list(teacher)
    depth = int(teacher.config.num_hidden_layers)
    chosen = choose_layers(depth, layers, n_layers)
    config = copy.deepcopy(teacher.config)
    config.num_hidden_layers = len(chosen)
    config.name_or_path = ""  # the weights of the teacher's folder are no longer these
    for field in PER_BLOCK_FIELDS:
        if isinstance(getattr(config, field, None), list):
            setattr(config, field, [getattr(teacher.config, field)[k - 1] for k in chosen])
    sources = [k - 1 for k in chosen]
    if teacher.config.model_type == "albert":
        sources, config.num_hidden_groups = _albert_groups(teacher.config, chosen)
    with torch.random.fork_rng(devices=[]):
        student: PreTrainedModel = type(teacher)(config)
    _copy_weights(teacher, student, path, sources)
    if config.model_type in FITS:
        FITS[config.model_type](teacher, student, chosen)
    return student.eval()


def block_list(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The dotted path and the `ModuleList` of a model's blocks; `TextkdError` when there is not exactly one."""
    asked = f"the blocks of {type(model).__name__}"
    depth = getattr(model.config, "num_hidden_layers", None)
    if depth is None:
        raise fail(asked, "its config has no num_hidden_layers", fix="use an encoder such as BERT, ModernBERT or ViT")
    base = model.base_model
    names = {id(module): name for name, module in model.named_modules()}
    known = BLOCKS.get(model.config.model_type)
    lists = [
        m
        for n, m in base.named_modules()
        if isinstance(m, nn.ModuleList) and (n == known if known else len(m) == depth)
    ]
    if len(lists) != 1:
        where = ", ".join(names[id(m)] for m in lists) or "none"
        raise fail(
            asked, f"{len(lists)} lists of {depth} modules ({where})", fix=f"known architectures: {', '.join(BLOCKS)}"
        )
    return names[id(lists[0])], lists[0]


def _copy_weights(teacher: PreTrainedModel, student: PreTrainedModel, path: str, sources: list[int]) -> None:
    """Copies every parameter and buffer; block i of the student takes block sources[i] of the teacher."""
    theirs: dict[str, torch.Tensor] = {
        **dict(teacher.named_parameters(remove_duplicate=False)),
        **dict(teacher.named_buffers(remove_duplicate=False)),
    }
    copies: dict[int, torch.Tensor] = {}  # a weight that the teacher uses under two names is copied once
    owners = {**dict(student.named_modules(remove_duplicate=False))}
    own = [name for name, _ in student.named_parameters(remove_duplicate=False)]
    for name in [*own, *(n for n, _ in student.named_buffers(remove_duplicate=False))]:
        source = theirs.get(_source_name(name, path, sources))
        owner, _, leaf = name.rpartition(".")
        if source is None:
            if student.config.model_type in FITS:
                continue
            fix = "load the teacher anew with from_pretrained; only unchanged models of transformers can be shrunk"
            raise fail(f"a smaller {type(teacher).__name__}", f"the teacher has no weight for {name}", fix=fix)
        shared = copies.get(id(source)) if not name.startswith(f"{path}.") else None
        if shared is None:
            value = source.detach().clone()
            shared = nn.Parameter(value) if isinstance(source, nn.Parameter) else value
            copies[id(source)] = shared
        setattr(owners[owner], leaf, shared)


def _source_name(name: str, path: str, sources: list[int]) -> str:
    if not name.startswith(f"{path}."):
        return name
    number, _, rest = name.removeprefix(f"{path}.").partition(".")
    return f"{path}.{sources[int(number)]}.{rest}"


def _albert_groups(config: Any, chosen: list[int]) -> tuple[list[int], int]:
    """Which group each student group copies, and how many groups there are; the rule for i is ALBERT's own."""
    depth, groups = config.num_hidden_layers, config.num_hidden_groups
    wanted = [int((k - 1) / (depth / groups)) for k in chosen]
    distinct = list(dict.fromkeys(wanted))
    share = [distinct[int(i / (len(chosen) / len(distinct)))] for i in range(len(chosen))]
    if share == wanted:
        return distinct, len(distinct)
    log.info("ALBERT: the blocks %s do not fall evenly into the %d groups, none are shared", chosen, groups)
    return wanted, len(chosen)


@torch.no_grad()
def _fit_modernbert(teacher: Any, student: Any, chosen: list[int]) -> None:
    """Block 1 has no attention norm, all others have one; makes up for it where a block changes its place.

    A block k > 1 that comes first computes Wqkv @ (w * LN(x) + b). Its input is the embeddings after their own norm,
    so the scale of a token is that of the norm's weight v: LN(x) ~ (x - mean(x)) / rms(v). Both parts are linear
    and are folded into Wqkv: exact for a constant v, close otherwise. (b goes into Wqkv's bias if there is one.)
    The teacher's block 1 in a later place gets the embeddings' norm, which is what it saw.
    """
    embeddings = teacher.base_model.embeddings.norm
    blocks, theirs = student.base_model.layers, teacher.base_model.layers
    for place, k in enumerate(chosen):
        if place > 0 and k == 1:
            norm = blocks[place].attn_norm
            norm.to(device=embeddings.weight.device, dtype=embeddings.weight.dtype)
            norm.load_state_dict(embeddings.state_dict())
        if place == 0 and k > 1:
            log.info("ModernBERT: block %d comes first, its attention norm is folded into its weights", k)
            norm, linear = theirs[k - 1].attn_norm, blocks[0].attn.Wqkv
            wide = linear.weight.float()
            if linear.bias is not None and norm.bias is not None:
                linear.bias += (wide @ norm.bias.float()).to(linear.bias.dtype)
            folded = wide * norm.weight.float() / embeddings.weight.float().square().mean().sqrt()
            linear.weight.copy_(folded - folded.mean(dim=1, keepdim=True))


FITS: dict[str, Callable[[Any, Any, list[int]], None]] = {"modernbert": _fit_modernbert}
