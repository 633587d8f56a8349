"""Where a model's blocks are, and how weights get from a teacher to a student that has other blocks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from textkd.errors import fail
from textkd.models.architectures import PLANS

# Config fields with one entry per block.
PER_BLOCK_FIELDS = ("layer_types", "mlp_layer_types", "attention_window")
# Weights whose last dimension has as many places for each block, those of a block side by side.
PER_BLOCK_WEIGHTS = ("contact_head.regression.weight",)
OTHERWISE = "make the student from a config (student: {config: ...}), or take a folder (student: {path: ...})"


def is_two_sided(model: PreTrainedModel) -> bool:
    """True for a `VisionEncoderDecoderModel`: an encoder and a decoder with a config each."""
    return str(model.config.model_type) == "vision-encoder-decoder"


def block_list(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The dotted path and the `ModuleList` of a model's blocks.

    Of an architecture that textkd does not know it is the one list as long as the config's depth.

    Args:
        model: an encoder with any head, or a decoder.

    Returns:
        (path from `model`, blocks).

    Raises:
        TextkdError: the config has no depth, or there is not exactly one such list.

    Example:
        >>> from transformers import BertConfig, BertForMaskedLM
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> path, blocks = block_list(BertForMaskedLM(BertConfig(num_hidden_layers=2, **sizes)))
        >>> path, len(blocks)
        ('bert.encoder.layer', 2)
    """
    asked = f"the blocks of {type(model).__name__}"
    depth = getattr(model.config, "num_hidden_layers", None)
    if depth is None:
        raise fail(asked, "its config has no num_hidden_layers", fix="use an encoder such as BERT, ModernBERT or ViT")
    base = model.base_model
    names = {id(module): name for name, module in model.named_modules()}
    plan = PLANS.get(model.config.model_type)
    lists = [
        m
        for n, m in base.named_modules()
        if isinstance(m, nn.ModuleList) and (n == plan.stack if plan else len(m) == depth)
    ]
    if len(lists) != 1:
        where = ", ".join(names[id(m)] for m in lists) or "none"
        raise fail(
            asked, f"{len(lists)} lists of {depth} modules ({where})", fix=f"known architectures: {', '.join(PLANS)}"
        )
    return names[id(lists[0])], lists[0]


def config_of_blocks(teacher_config: Any, chosen: Sequence[int]) -> Any:
    """A copy of a config for the blocks `chosen` (1..L)."""
    config = copy.deepcopy(teacher_config)
    config.num_hidden_layers = len(chosen)
    config.name_or_path = ""  # the weights of the teacher's folder are no longer these
    for field in PER_BLOCK_FIELDS:
        if isinstance(getattr(config, field, None), list):
            setattr(config, field, [getattr(teacher_config, field)[k - 1] for k in chosen])
    depth = teacher_config.num_hidden_layers
    if getattr(config, "stage_names", None) == [
        "stem",
        *(f"stage{k}" for k in range(1, depth + 1)),
    ]:  # counted by block
        last = len(chosen)
        config.stage_names = config.stage_names[: last + 1]
        config._out_features, config._out_indices = [config.stage_names[last]], [last]
    return config


def copy_weights(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    sources: Mapping[str, Sequence[int]],
    fresh: Callable[[str], bool] = lambda name: False,
    allow_missing: bool = False,
    part: Callable[[str, torch.Tensor, torch.Size], torch.Tensor] | None = None,
) -> None:
    """Copies every parameter and buffer of the teacher into the student, which has the teacher's class.

    sources: path of a list of blocks -> for each of the student's blocks the index of the teacher's. fresh: which of
    the student's weights stay as they are. part: f(name, weight, shape) -> what the student has of a weight that has
    another shape in the teacher. Weights that the teacher ties outside of blocks stay tied. Raises `TextkdError` for a
    weight that the teacher lacks, unless `allow_missing`, and for one whose size follows the number of blocks in a way
    that nobody knows.
    """
    theirs: dict[str, torch.Tensor] = {
        **dict(teacher.named_parameters(remove_duplicate=False)),
        **dict(teacher.named_buffers(remove_duplicate=False)),
    }
    copies: dict[int, torch.Tensor] = {}  # a weight that the teacher uses under two names is copied once
    owners = {**dict(student.named_modules(remove_duplicate=False))}
    own = [name for name, _ in student.named_parameters(remove_duplicate=False)]
    for name in [*own, *(n for n, _ in student.named_buffers(remove_duplicate=False))]:
        if fresh(name):
            continue
        source_name = _source_name(name, sources)
        source = theirs.get(source_name)
        owner, _, leaf = name.rpartition(".")
        if source is None:
            if allow_missing:
                continue
            fix = "load the teacher anew with from_pretrained; only unchanged models of transformers can be shrunk"
            raise fail(
                f"a smaller {type(teacher).__name__}", f"the model it is made of has no weight for {name}", fix=fix
            )
        own_shape = getattr(owners[owner], leaf).shape
        if source.shape != own_shape:
            cut = part(name, source, own_shape) if part else _of_chosen(teacher, name, source, own_shape, sources)
            source = cut
        in_block = any(name.startswith(f"{path}.") for path in sources)
        shared = None if in_block else copies.get(id(source))
        if shared is None:
            value = source.detach().clone()
            shared = nn.Parameter(value) if isinstance(source, nn.Parameter) else value
            copies[id(source)] = shared
        setattr(owners[owner], leaf, shared)


def _of_chosen(teacher: Any, name: str, weight: Any, shape: Any, sources: Mapping[str, Sequence[int]]) -> Any:
    """The part of a weight that belongs to the chosen blocks, where its size follows their number."""
    depth = getattr(teacher.config, "num_hidden_layers", 0)
    if name.endswith(PER_BLOCK_WEIGHTS) and depth and len(sources) == 1:
        (numbers,) = sources.values()
        part = weight.detach().unflatten(-1, (depth, -1))[..., list(numbers), :].flatten(-2)
        if part.shape == shape:
            return nn.Parameter(part)
    found = f"its weight {name} is {list(weight.shape)}, and with these blocks {list(shape)}: nobody knows which part"
    raise fail(f"a smaller {type(teacher).__name__}", found, fix=OTHERWISE)


def _source_name(name: str, sources: Mapping[str, Sequence[int]]) -> str:
    for path, numbers in sources.items():
        if name.startswith(f"{path}."):
            number, _, rest = name.removeprefix(f"{path}.").partition(".")
            return f"{path}.{numbers[int(number)]}.{rest}"
    return name
