"""A student made of some of the teacher's blocks: copied, not trained from nothing (DistilBERT, Sanh et al. 2019)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from textkd.errors import Collector, fail, problem, reading
from textkd.models.students.composing import SIDES, compose
from textkd.models.students.copying import OTHERWISE, block_list, config_of_blocks, copy_weights, is_two_sided
from textkd.models.students.layers import choose_layers

log = logging.getLogger(__name__)


def shrink(
    teacher: PreTrainedModel,
    layers: str | Sequence[int] | None = None,
    n_layers: int | None = None,
    *,
    encoder_layers: int | Sequence[int] | None = None,
    decoder_layers: int | Sequence[int] | None = None,
) -> PreTrainedModel:
    """A new model of the teacher's class, made of some of the teacher's blocks, its embeddings, pooler and head.

    Weights are copies with the teacher's dtype and device; tied weights stay tied; labels and every other config field
    are kept. The teacher and the global random state are not changed. With all layers the student computes exactly what
    the teacher computes.

    ALBERT shares its blocks: only the depth shrinks. Where the chosen blocks do not fall evenly into the groups, every
    student block gets a copy of its own. ModernBERT's block 1 has no attention norm (its input is normed already):
    another block in its place has its norm folded into its query-key-value weights (see `_fit_modernbert`).

    Args:
        teacher: a model with one stack of blocks, or a `VisionEncoderDecoderModel`.
        layers: block numbers 1..L (negative from the end, in the order given, none twice), or "uniform" (the default),
            "first", "last" with `n_layers`.
        n_layers: how many blocks, where `layers` is a word.
        encoder_layers: of a `VisionEncoderDecoderModel`, in place of `layers`: block numbers of the encoder, an int
            (that many, chosen uniformly), or None (all). Position embeddings, projection between the sides, output
            layer and generation_config are copied too.
        decoder_layers: the same of the decoder.

    Returns:
        A model in eval mode, like `from_pretrained`; all its weights are trainable.

    Raises:
        TextkdError: a layer out of range, none, or one twice; a model without one stack of blocks, or with weights
            outside of them that follow their number; `layers` on a model of two sides, or the other way round.

    Source:
        DistilBERT, Sanh et al. 2019, arXiv:1910.01108: a student that starts from the teacher's own blocks.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> teacher = BertModel(BertConfig(num_hidden_layers=6, **sizes))
        >>> student = shrink(teacher, layers=[2, 4, 6])
        >>> student.config.num_hidden_layers
        3
        >>> torch.equal(student.encoder.layer[0].output.dense.weight, teacher.encoder.layer[1].output.dense.weight)
        True
    """
    if is_two_sided(teacher):
        _no_plain_layers(teacher, layers, n_layers)
        return compose(teacher, encoder_layers=encoder_layers, decoder_layers=decoder_layers)
    _one_stack(teacher, encoder_layers, decoder_layers)
    path, _ = block_list(teacher)
    chosen = choose_layers(int(teacher.config.num_hidden_layers), "uniform" if layers is None else layers, n_layers)
    asked = f"a {type(teacher).__name__} of {len(chosen)} blocks"
    with reading(asked, OTHERWISE):
        config = config_of_blocks(teacher.config, chosen)
    sources = [k - 1 for k in chosen]
    if teacher.config.model_type == "albert":
        sources, config.num_hidden_groups = _albert_groups(teacher.config, chosen)
    fits = config.model_type in FITS  # it may keep weights of its own
    # all weights are copied; a class of somebody's own may use what it draws
    idle = no_init_weights() if type(teacher).__module__.startswith("transformers.") and not fits else nullcontext()
    with (
        torch.random.fork_rng(devices=[]),
        idle,
        reading(f"a {type(teacher).__name__} of {len(chosen)} blocks", OTHERWISE),
    ):
        student: PreTrainedModel = type(teacher)(config)
        copy_weights(teacher, student, {path: sources}, allow_missing=fits)
    if fits:
        FITS[config.model_type](teacher, student, chosen)
    return student.eval()


def _no_plain_layers(teacher: Any, layers: Any, n_layers: Any) -> None:
    wrong = Collector()
    for name, value in (("layers", layers), ("n_layers", n_layers)):
        if value is not None:
            depths = [f"{side} of {getattr(teacher.config, side).num_hidden_layers} blocks" for side in SIDES]
            found = f"{type(teacher).__name__} has two sides: {' and '.join(depths)}"
            fix = "give encoder_layers and decoder_layers: block numbers, how many, or nothing for all"
            wrong.add(problem(f"student {name} {value!r}", found, fix=fix, where=name))
    wrong.raise_any()


def _one_stack(teacher: Any, encoder_layers: Any, decoder_layers: Any) -> None:
    """Refuses what has not one stack of blocks, or is asked as if it had two."""
    if getattr(teacher.config, "is_encoder_decoder", False):
        found = "an encoder-decoder that textkd does not know"
        fix = "use a VisionEncoderDecoderModel, or a model that is an encoder only"
        raise fail(f"a smaller {type(teacher).__name__}", found, fix=fix)
    wrong = Collector()
    for name, value in (("encoder_layers", encoder_layers), ("decoder_layers", decoder_layers)):
        if value is not None:
            found = f"{type(teacher).__name__} has one stack of blocks and no sides"
            wrong.add(problem(f"student {name} {value!r}", found, fix=f"layers: {value!r}", where=name))
    wrong.raise_any()


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
