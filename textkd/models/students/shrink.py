"""A student made of some of the teacher's blocks, or of parts of them: copied, not trained from nothing (DistilBERT,
Sanh et al. 2019)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from textkd.errors import Collector, fail, problem, reading
from textkd.models.loading import clone
from textkd.models.students.composing import compose, compose_from
from textkd.models.students.copying import OTHERWISE, block_list, config_of_blocks, copy_weights, is_two_sided
from textkd.models.students.importance import measure
from textkd.models.students.layers import LAYER_CHOICES, choose_layers, choose_side
from textkd.models.students.narrow import choose, narrow
from textkd.models.students.widths import (
    ROWS,
    SIDED_WIDTHS,
    SIDES,
    WIDTHS,
    Sizes,
    have,
    option_problems,
    sizes_of,
)

log = logging.getLogger(__name__)


def shrink(
    teacher: PreTrainedModel,
    layers: str | Sequence[int] | None = None,
    n_layers: int | None = None,
    *,
    encoder_layers: int | Sequence[int] | None = None,
    decoder_layers: int | Sequence[int] | None = None,
    by: str | None = None,
    rows: int | None = None,
    examples: Iterable[Mapping[str, torch.Tensor]] | None = None,
    **widths: Any,
) -> PreTrainedModel:
    """A new model of the teacher's class, made of some of the teacher's blocks, its embeddings, pooler and head; and,
    where widths are given, of the heads, feed-forward units and dimensions that matter most.

    Weights are copies with the teacher's dtype and device; tied weights stay tied; labels and every other config field
    are kept. The teacher and the global random state are not changed. With all layers and widths the student computes
    exactly what the teacher computes.

    ALBERT shares its blocks: only the depth shrinks. Where the chosen blocks do not fall evenly into the groups, every
    student block gets a copy of its own. ModernBERT's block 1 has no attention norm (its input is normed already):
    another block in its place has its norm folded into its query-key-value weights (see `_fit_modernbert`).

    Args:
        teacher: a model with one stack of blocks, or a `VisionEncoderDecoderModel`.
        layers: block numbers 1..L (negative from the end, in the order given, none twice), or "uniform" (the default),
            "first", "last" with `n_layers`. With widths and without both: all.
        n_layers: how many blocks, where `layers` is a word.
        encoder_layers: of a `VisionEncoderDecoderModel`, in place of `layers`: block numbers of the encoder, an int
            (that many, chosen uniformly), or None (all). Position embeddings, projection between the sides, output
            layer and generation_config are copied too.
        decoder_layers: the same of the decoder.
        by: how importance is measured, see `textkd.models.students.importance.measure`: "magnitude", "activation",
            "gradient" or "fisher"; None: "fisher" with `examples`, else "magnitude".
        rows: how many rows of `examples` are run; None: 256.
        examples: batches, with labels for "gradient" and "fisher".
        widths: heads (fewer, each as wide: hidden follows), ffn (units, or a share such as 0.5), hidden (the heads
            stay, each narrower); of two sides encoder_heads, decoder_ffn and so on. Every block keeps as many heads
            and units, each its own; dimensions of the stream (hidden) are the same ones everywhere.

    Returns:
        A model in eval mode, like `from_pretrained`; all its weights are trainable.

    Raises:
        TextkdError: a layer out of range, none, or one twice; a width that cannot be; a model without one stack of
            blocks, or with weights outside of them that follow their number; `layers` on a model of two sides, or the
            other way round.

    Source:
        DistilBERT, Sanh et al. 2019, arXiv:1910.01108: a student that starts from the teacher's own blocks. Widths:
        Kwon et al. 2022, arXiv:2204.09656.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> teacher = BertModel(BertConfig(num_hidden_layers=6, **sizes))
        >>> student = shrink(teacher, layers=[2, 4, 6])
        >>> student.config.num_hidden_layers
        3
        >>> torch.equal(student.encoder.layer[0].output.dense.weight, teacher.encoder.layer[1].output.dense.weight)
        True
        >>> narrower = shrink(teacher, layers=[2, 4, 6], heads=1, ffn=0.5)
        >>> narrower.config.hidden_size, narrower.config.intermediate_size
        (4, 8)
    """
    if unknown := [name for name in widths if name not in (*WIDTHS, *SIDED_WIDTHS)]:
        raise TypeError(f"shrink() got an unexpected keyword argument {unknown[0]!r}")
    depths = {
        "layers": layers,
        "n_layers": n_layers,
        "encoder_layers": encoder_layers,
        "decoder_layers": decoder_layers,
    }
    return shrink_beside(teacher, None, {**depths, "by": by, "rows": rows, **widths}, examples)


def shrink_beside(
    teacher: PreTrainedModel, config: Mapping[str, Any] | None, asked: Mapping[str, Any], examples: Any = None
) -> PreTrainedModel:
    """`shrink`, perhaps beside a side that is made anew.

    Args:
        teacher: as of `shrink`.
        config: sides of the student that are new, by name, as of `compose_from`; None: there are none.
        asked: the block `shrink`.
        examples: as of `shrink`.

    Returns:
        As of `shrink`.

    Raises:
        TextkdError: as of `shrink`.
    """
    wrong = Collector()
    wrong.add(*option_problems(asked))
    wrong.raise_any()
    how, two = "", is_two_sided(teacher)
    stacks = {side: getattr(teacher, side) for side in SIDES} if two else {"": teacher}
    (_no_plain_words if two else _one_stack)(teacher, asked)
    student, sizes, chosen = None, dict[str, Sizes](), dict[str, list[int]]()
    with wrong.collecting():
        how = measure_of(asked.get("by"), examples is not None, asked.get("rows"))
    with wrong.collecting():
        if two:
            depths = {f"{side}_layers": asked.get(f"{side}_layers") for side in SIDES}
            student = compose(teacher, **depths) if config is None else compose_from(teacher, config, **depths)
            blocks = {side: int(stack.config.num_hidden_layers) for side, stack in stacks.items()}
            chosen = {side: choose_side(blocks[side], depths[f"{side}_layers"]) for side in SIDES}
        else:
            chosen = {"": _chosen(teacher, asked)}
            student = _of_blocks(teacher, chosen[""])
    for side, stack in stacks.items():
        if any(asked.get(f"{side}_{width}" if side else width) is not None for width in WIDTHS):
            with wrong.collecting():
                sizes[side] = sizes_of(stack, asked, side)
    wrong.raise_any()
    assert student is not None
    narrower = {side: stacks[side] for side, one in sizes.items() if one != have(stacks[side].config)}
    if not narrower:
        return student
    scores = measure(teacher, narrower, how, examples, asked.get("rows") or ROWS)
    kept = {side: choose(scores[side], sizes[side], [k - 1 for k in chosen[side]]) for side in narrower}
    return narrow(student, kept)


def whole(teacher: PreTrainedModel) -> PreTrainedModel:
    """A copy of all of a teacher, in eval mode, whose weights are trainable and no longer those of a folder.

    Args:
        teacher: it is not changed.
    """
    student: PreTrainedModel = clone(teacher)
    student.config.name_or_path = student.name_or_path = ""
    return student.requires_grad_(True).eval()


def measure_of(by: str | None, has_rows: bool, rows: int | None = None) -> str:
    """How importance is measured: as it is asked, else by Fisher information where there are rows.

    Args:
        by: as it is asked.
        has_rows: there are rows to measure it on.
        rows: how many are asked for.

    Raises:
        TextkdError: rows are asked for and there are none.

    Example:
        >>> measure_of(None, True), measure_of(None, False)
        ('fisher', 'magnitude')
    """
    if rows is not None and not has_rows and by is None:
        found = "importance is told by the weights alone, where there are no rows whose labels the model has learnt"
        raise fail(f"student shrink rows: {rows}", found, fix="leave it out", where="shrink.rows")
    if by is None:
        return "fisher" if has_rows else "magnitude"
    if by != "magnitude" and not has_rows:
        fix = "by: magnitude, or examples=BATCHES where a program asks for the student"
        raise fail(f"student shrink by: {by}", "no rows to measure it on", fix=fix, where="shrink.by")
    return by


def _chosen(teacher: Any, asked: Mapping[str, Any]) -> list[int]:
    """The blocks that are taken, 1..L."""
    block_list(teacher)  # there is one
    depth, layers, count = int(teacher.config.num_hidden_layers), asked.get("layers"), asked.get("n_layers")
    if layers is None and count is None and any(asked.get(width) is not None for width in WIDTHS):
        return list(range(1, depth + 1))
    wrong, chosen, layers = Collector(), list[int](), "uniform" if layers is None else layers
    place = "n_layers" if layers in LAYER_CHOICES and count is not None else "layers"
    with wrong.collecting(f"shrink.{place}"):
        chosen = choose_layers(depth, layers, count)
    wrong.raise_any()
    return chosen


def _of_blocks(teacher: Any, chosen: list[int]) -> PreTrainedModel:
    """A model of these blocks, as wide as the teacher."""
    path, _ = block_list(teacher)
    asked = f"a {type(teacher).__name__} of {len(chosen)} blocks"
    with reading(asked, OTHERWISE):
        config = config_of_blocks(teacher.config, chosen)
    sources = [k - 1 for k in chosen]
    if teacher.config.model_type == "albert":
        sources, config.num_hidden_groups = _albert_groups(teacher.config, chosen)
    fits = config.model_type in FITS  # it may keep weights of its own
    # all weights are copied; a class of somebody's own may use what it draws
    idle = no_init_weights() if type(teacher).__module__.startswith("transformers.") and not fits else nullcontext()
    with torch.random.fork_rng(devices=[]), idle, reading(asked, OTHERWISE):
        student: PreTrainedModel = type(teacher)(config)
        copy_weights(teacher, student, {path: sources}, allow_missing=fits)
    if fits:
        FITS[config.model_type](teacher, student, chosen)
    return student.eval()


def _no_plain_words(teacher: Any, asked: Mapping[str, Any]) -> None:
    wrong = Collector()
    depths = [f"{side} of {getattr(teacher.config, side).num_hidden_layers} blocks" for side in SIDES]
    found = f"{type(teacher).__name__} has two sides: {' and '.join(depths)}"
    for name in [name for name in ("layers", "n_layers", *WIDTHS) if asked.get(name) is not None]:
        fix = "give encoder_layers and decoder_layers: block numbers, how many, or nothing for all"
        if name in WIDTHS:
            fix = f"encoder_{name} or decoder_{name}: {asked[name]!r}"
        wrong.add(problem(f"student {name} {asked[name]!r}", found, fix=fix, where=f"shrink.{name}"))
    wrong.raise_any()


def _one_stack(teacher: Any, asked: Mapping[str, Any]) -> None:
    """Refuses what has not one stack of blocks, or is asked as if it had two."""
    if getattr(teacher.config, "is_encoder_decoder", False):
        found = "an encoder-decoder that textkd does not know"
        fix = "use a VisionEncoderDecoderModel, or a model that is an encoder only"
        raise fail(f"a smaller {type(teacher).__name__}", found, fix=fix)
    wrong, sided = Collector(), [f"{side}_layers" for side in SIDES]
    for name in [name for name in (*sided, *SIDED_WIDTHS) if asked.get(name) is not None]:
        found, fix = f"{type(teacher).__name__} has one stack of blocks and no sides", name.partition("_")[2]
        wrong.add(
            problem(f"student {name} {asked[name]!r}", found, fix=f"{fix}: {asked[name]!r}", where=f"shrink.{name}")
        )
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
