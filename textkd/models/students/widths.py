"""How wide a shrunk student is to be: the words of a recipe, and the sizes that they mean for a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from textkd.errors import Collector, Problem, problem
from textkd.models.architectures import PLANS
from textkd.models.students.fields import WIDTH_OF_FFN

SIDES = ("encoder", "decoder")
WIDTHS = ("heads", "ffn", "hidden")
SIDED_WIDTHS = tuple(f"{side}_{width}" for side in SIDES for width in WIDTHS)
HOW = ("by", "rows")
BY = ("magnitude", "activation", "gradient", "fisher")
ROWS = 256
MULTIPLE = 8  # of a share of the feed-forward units: whole vectors of the processor


@dataclass(frozen=True)
class Sizes:
    """Of one stack of blocks. heads: of each attention; ffn: units of each feed-forward; hidden: the width of the
    stream that all blocks read and write."""

    heads: int
    ffn: int
    hidden: int

    @property
    def head_width(self) -> int:
        """Dimensions of a head."""
        return self.hidden // self.heads


def have(config: Any) -> Sizes:
    """The sizes of the stack of a config, whatever it calls them.

    Args:
        config: of an encoder or a decoder.

    Example:
        >>> from transformers import DistilBertConfig
        >>> have(DistilBertConfig())
        Sizes(heads=12, ffn=3072, hidden=768)
    """
    return Sizes(int(config.num_attention_heads), int(getattr(config, ffn_field(config))), int(config.hidden_size))


def ffn_field(config: Any) -> str:
    """What a config calls the number of its feed-forward units."""
    return next(name for name in WIDTH_OF_FFN if hasattr(config, name))


def option_problems(shrink: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with the words for widths in a block `shrink`, whatever model it is for.

    Args:
        shrink: the block.

    Example:
        >>> print(*option_problems({"ffn": 0, "by": "fischer"}))
        shrink.ffn: asked: student shrink ffn: 0
          found: not a positive whole number, and no share
          fix: a number of units, or 0.5 for half of them shrink.by: asked: student shrink by: 'fischer'
          found: no such measure of importance
          nearest: fisher
          fix: one of magnitude, activation, gradient, fisher
    """
    given = [key for key in (*WIDTHS, *SIDED_WIDTHS) if shrink.get(key) is not None]
    for key in given:
        value, of_ffn = shrink[key], key.endswith("ffn")
        if (type(value) is int and value > 0) or (of_ffn and type(value) is float and 0 < value <= 1):
            continue
        what = "not a positive whole number" + (", and no share" if of_ffn else "")
        fix = "a number of units, or 0.5 for half of them" if of_ffn else "1 or more"
        yield problem(f"student shrink {key}: {value!r}", what, fix=fix, where=f"shrink.{key}")
    by, rows = shrink.get("by"), shrink.get("rows")
    if by is not None and by not in BY:
        what, near = "no such measure of importance", (str(by), BY)
        yield problem(f"student shrink by: {by!r}", what, near=near, fix=f"one of {', '.join(BY)}", where="shrink.by")
    if rows is not None and (type(rows) is not int or rows < 1):
        what, fix = "not a positive whole number", f"leave it out: {ROWS} rows of the training data are looked at"
        yield problem(f"student shrink rows: {rows!r}", what, fix=fix, where="shrink.rows")
    for key in (key for key in HOW if shrink.get(key) is not None and not given):
        what = "nothing becomes narrower, so nothing is chosen by importance"
        yield problem(f"student shrink {key}: {shrink[key]!r}", what, fix="leave it out, or add ffn: 768, say",
                      where=f"shrink.{key}")  # fmt: skip
    if rows is not None and by == "magnitude":
        what, fix = "the size of the weights is looked at, and no rows", "leave it out, or by: fisher"
        yield problem(f"student shrink rows: {rows!r} beside by: magnitude", what, fix=fix, where="shrink.rows")


def sizes_of(model: Any, asked: Mapping[str, Any], side: str = "") -> Sizes:
    """The sizes of a narrower stack.

    Args:
        model: what is made narrower: a model of one stack, or one side of an encoder-decoder.
        asked: the block `shrink`; its values are of the right type.
        side: "encoder" or "decoder"; "": the model has one stack.

    Returns:
        The sizes; those that nobody asks for are the model's own. heads alone lessens hidden (each head keeps its
        width), hidden alone keeps the heads and makes each narrower.

    Raises:
        TextkdError: with everything that this model cannot be.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"num_hidden_layers": 1, "vocab_size": 20, "intermediate_size": 64}
        >>> model = BertModel(BertConfig(hidden_size=48, num_attention_heads=12, **sizes))
        >>> sizes_of(model, {"heads": 8, "ffn": 0.5})
        Sizes(heads=8, ffn=32, hidden=32)
        >>> sizes_of(model, {"hidden": 24})
        Sizes(heads=12, ffn=64, hidden=24)
    """
    config, keys = model.config, {width: f"{side}_{width}" if side else width for width in WIDTHS}
    given = {width: asked[key] for width, key in keys.items() if asked.get(key) is not None}
    if not given:
        return have(config)
    wrong = Collector()
    plan = PLANS.get(str(config.model_type))
    if plan is None or not plan.attentions:
        known = ", ".join(name for name, one in PLANS.items() if one.attentions)
        found = f"nobody knows where the heads and units of a {config.model_type} model lie"
        fix = f"layers alone, which takes whole blocks; narrower can be made: {known}"
        wrong.add(*(problem(f"student shrink {keys[width]}: {given[width]}", found, fix=fix,
                            where=f"shrink.{keys[width]}") for width in given))  # fmt: skip
        wrong.raise_any()
    own = have(config)
    for width, value in given.items():
        most = getattr(own, width)
        if type(value) is int and value > most:
            found, key = f"the model it is made of has {most}", keys[width]
            wrong.add(problem(f"student shrink {key}: {value}", found, fix=f"{key}: 1 to {most}",
                              where=f"shrink.{key}"))  # fmt: skip
    if not wrong.problems:
        wrong.add(*_beside(config, own, given, keys))
    wrong.raise_any()
    ffn = given.get("ffn", own.ffn)
    if type(ffn) is float:
        ffn = min(own.ffn, max(1, round(ffn * own.ffn / MULTIPLE)) * MULTIPLE)
    heads = int(given.get("heads", own.heads))
    return Sizes(heads, int(ffn), int(given.get("hidden", heads * own.head_width)))


def _beside(config: Any, own: Sizes, given: Mapping[str, Any], keys: Mapping[str, str]) -> Iterator[Problem]:
    """Widths that cannot be beside each other, or in this architecture."""
    heads, key = given.get("heads", own.heads), keys["hidden" if "hidden" in given else "heads"]
    hidden = given.get("hidden", heads * own.head_width)
    asked = f"student shrink {key}: {given.get('hidden', heads)}"
    if "heads" in given and "hidden" in given and hidden != heads * own.head_width:
        found = f"heads keep their width of {own.head_width}, so {heads} of them make {heads * own.head_width}"
        fix = f"leave {keys['hidden']} out, or give {keys['hidden']}: {heads * own.head_width}"
        if hidden % own.heads == 0:
            fix += f"; {keys['hidden']}: {hidden} alone keeps the {own.heads} heads, each {hidden // own.heads} wide"
        yield problem(f"{asked} with {keys['heads']}: {heads}", found, fix=fix, where=f"shrink.{key}")
        return
    if hidden % heads:
        best = max(1, round(hidden / heads)) * heads
        fix = f"{key}: {best}, or {keys['heads']}: {max(1, hidden // own.head_width)} in its place"
        yield problem(asked, f"not a multiple of the {heads} heads", fix=fix, where=f"shrink.{key}")
    if hidden == own.hidden:
        return
    if getattr(config, "embedding_size", own.hidden) == hidden != own.hidden:
        found = f"the embeddings have this width, and at it no {config.model_type} model has a projection after them"
        fix = f"a width that is not {hidden}"
        yield problem(asked, found, fix=fix, where=f"shrink.{key}")
    if config.model_type == "trocr" and not config.use_learned_position_embeddings:
        found, fix = "its positions are waves over the whole width, none of which can be left out", "leave it out"
        yield problem(asked, found, fix=fix, where=f"shrink.{key}")
    elif config.model_type == "trocr" and config.scale_embedding and not config.layernorm_embedding:
        found, fix = "its embeddings are scaled by their width, and no norm makes up for that", "leave it out"
        yield problem(asked, found, fix=fix, where=f"shrink.{key}")
