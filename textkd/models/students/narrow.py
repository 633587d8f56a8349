"""A narrower model of the units of another one that are kept: heads, feed-forward units, dimensions of the stream."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from textkd.errors import fail, reading
from textkd.models.architectures import PLANS, SIDED
from textkd.models.fixes import repair_positions
from textkd.models.students.copying import OTHERWISE, block_list, copy_weights, is_two_sided
from textkd.models.students.importance import AttentionScores, Scores
from textkd.models.students.widths import Sizes, ffn_field, have

CROSS = (".encoder_attn.k_proj.weight", ".encoder_attn.v_proj.weight")
LINK = "enc_to_dec_proj.weight"


@dataclass(frozen=True)
class Kept:
    """What is kept of one stack, as rising indices.

    sizes: of the narrower stack. hidden [h]. ffn: per block. attentions: per block and attention (dimensions of queries
    and keys, dimensions of values), counted over all heads.
    """

    sizes: Sizes
    hidden: Tensor
    ffn: tuple[Tensor, ...]
    attentions: tuple[tuple[tuple[Tensor, Tensor], ...], ...]


def choose(scores: Scores, sizes: Sizes, blocks: Sequence[int]) -> Kept:
    """What is kept of the most important: of the stream for the whole stack, of heads and units in each block.

    Args:
        scores: of the whole stack, see `importance.measure`.
        sizes: how much is kept.
        blocks: the indices of the blocks that are taken, from 0.

    Returns:
        What is kept; of two that matter as much, the first.

    Example:
        >>> one = AttentionScores(torch.tensor([1.0, 3.0]), torch.ones(2, 2), torch.ones(2, 2))
        >>> scores = Scores(torch.ones(4), (torch.tensor([0.5, 0.1, 0.9]),), ((one,),))
        >>> kept = choose(scores, Sizes(heads=1, ffn=2, hidden=2), [0])
        >>> kept.ffn[0].tolist(), kept.attentions[0][0][0].tolist()
        ([0, 2], [2, 3])
    """
    attentions = tuple(tuple(_dimensions(one, sizes) for one in scores.attentions[i]) for i in blocks)
    return Kept(sizes, _best(scores.hidden, sizes.hidden), tuple(_best(scores.ffn[i], sizes.ffn) for i in blocks),
                attentions)  # fmt: skip


def _best(scores: Tensor, count: int) -> Tensor:
    return torch.argsort(scores, descending=True, stable=True)[:count].sort().values


def _dimensions(scores: AttentionScores, sizes: Sizes) -> tuple[Tensor, Tensor]:
    heads, width = _best(scores.heads, sizes.heads), scores.values.shape[1]
    rows = [torch.cat([head * width + _best(of[head], sizes.head_width) for head in heads])
            for of in (scores.queries, scores.values)]  # fmt: skip
    return rows[0], rows[1]


def narrow(model: PreTrainedModel, kept: Mapping[str, Kept]) -> PreTrainedModel:
    """A new model of the same class, of what is kept of another one.

    It computes what the model does with the rest masked, norms taken over the kept dimensions. A projection of the
    encoder to the width of the decoder keeps the dimensions that the decoder's stream keeps. What is scaled by the
    width of a head (queries) or of the stream (embeddings of some decoders) has that made up for in its weights.

    Args:
        model: what is made narrower; it is not changed.
        kept: what is kept of the model ("": a model of one stack), or of its sides ("encoder", "decoder").

    Returns:
        A model in eval mode, with the dtype and device of the given one.

    Raises:
        TextkdError: a weight that nobody knows how to cut.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> from textkd.models.students.importance import measure
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> model = BertModel(BertConfig(num_hidden_layers=1, **sizes))
        >>> scores = measure(model, {"": model}, "magnitude")[""]
        >>> small = narrow(model, {"": choose(scores, Sizes(heads=2, ffn=4, hidden=4), [0])})
        >>> small.embeddings.word_embeddings.weight.shape, small.encoder.layer[0].intermediate.dense.weight.shape
        (torch.Size([20, 4]), torch.Size([4, 4]))
    """
    config = narrower(model.config, {side: one.sizes for side, one in kept.items()})
    student = unfilled(model, config, f"a narrower {type(model).__name__}")
    copy_weights(model, student, {}, part=_Cut(model, kept, config))
    repair_positions(student)
    return student.eval()


def unfilled(model: PreTrainedModel, config: Any, asked: str) -> PreTrainedModel:
    """A model of a model's class with another config, its weights still to be filled in.

    asked: how errors call it. The global random state is not changed.
    """
    with torch.random.fork_rng(devices=[]), no_init_weights(), reading(asked, OTHERWISE):
        student: PreTrainedModel = type(model)(config)
    if is_two_sided(model) and getattr(model.encoder, "pooler", True) is None:
        student.encoder.pooler = None
    if getattr(model, "generation_config", None) is not None:
        student.generation_config = copy.deepcopy(model.generation_config)
    return student


def narrower(config: Any, sizes: Mapping[str, Sizes]) -> Any:
    """The config of a narrower model.

    Args:
        config: of the model; it is not changed.
        sizes: of the model (""), or of its sides ("encoder", "decoder").

    Raises:
        TextkdError: two sides that would be equally wide, and were not.

    Example:
        >>> from transformers import BertConfig
        >>> narrower(BertConfig(), {"": Sizes(heads=8, ffn=768, hidden=512)}).hidden_size
        512
    """
    made = copy.deepcopy(config)
    made.name_or_path = ""
    for side, one in sizes.items():
        resize(getattr(made, side) if side else made, one)
    if config.model_type in SIDED:
        follow(config, made, "narrower", "shrink")
    return made


def resize(config: Any, sizes: Sizes) -> None:
    """Sets the sizes of a stack, and what hangs on them."""
    width = config.hidden_size
    for name in ("embedding_size", "pooler_output_size"):
        if getattr(config, name, None) == width:
            setattr(config, name, sizes.hidden)
    config.hidden_size, config.num_attention_heads = sizes.hidden, sizes.heads
    setattr(config, ffn_field(config), sizes.ffn)


def follow(before: Any, config: Any, how: str, where: str) -> None:
    """The link between two sides in the form that it had: keys and values as wide as the encoder, or a projection.

    how: "narrower", for errors. where: the block that asks for it.
    """
    widths = [(one.encoder.hidden_size, one.decoder.hidden_size) for one in (before, config)]
    had_projection = before.decoder.cross_attention_hidden_size is None and widths[0][0] != widths[0][1]
    if had_projection and widths[1][0] == widths[1][1]:
        found = f"both sides would be {widths[1][0]} wide, and the projection between them would be gone"
        raise fail(f"a {how} encoder or decoder", found, fix="another width for one of them", where=where)
    if not had_projection:
        own = widths[1][0] == widths[1][1] and before.decoder.cross_attention_hidden_size is None
        config.decoder.cross_attention_hidden_size = None if own else widths[1][0]


class _Cut:
    """The part of a weight that a narrower model keeps."""

    def __init__(self, model: Any, kept: Mapping[str, Kept], config: Any) -> None:
        self.model, self.kept, self.known = model, kept, dict[str, dict[int, Tensor]]()
        self.has_link = is_two_sided(model) and getattr(model, "enc_to_dec_proj", None) is not None
        self.scales, self.cut = dict[str, float](), dict[int, tuple[Tensor, Tensor]]()
        for side, one in kept.items():
            self._in_blocks(getattr(model, side) if side else model, f"{side}." if side else "", one)

    def _in_blocks(self, stack: Any, prefix: str, kept: Kept) -> None:
        """Which rows and columns of the blocks' linear layers are kept; all else follows the stream."""
        plan, path, own = PLANS[stack.config.model_type], block_list(stack)[0], have(stack.config)
        for i, ffn in enumerate(kept.ffn):
            place = f"{prefix}{path}.{i}"
            self._rows(f"{place}.{plan.ffn}", ffn)
            self.known[f"{place}.{plan.ffn_out}.weight"] = {1: ffn}
            for (query, key, value, output), (met, values) in zip(plan.attentions, kept.attentions[i], strict=True):
                self._rows(f"{place}.{query}", met)
                self._rows(f"{place}.{key}", met)
                self._rows(f"{place}.{value}", values)
                self.known[f"{place}.{output}.weight"] = {1: values}
                scale = math.sqrt(kept.sizes.head_width / own.head_width)  # scores are divided by the root of the width
                self.scales |= dict.fromkeys((f"{place}.{query}.weight", f"{place}.{query}.bias"), scale)
        if getattr(stack.config, "scale_embedding", False):  # the norm that follows takes no heed of the scale of both
            positions = f"{prefix}{path.removesuffix('layers')}embed_positions.weight"
            self.scales[positions] = math.sqrt(kept.sizes.hidden / own.hidden)

    def _rows(self, layer: str, kept: Tensor) -> None:
        self.known |= {f"{layer}.weight": {0: kept}, f"{layer}.bias": {0: kept}}

    def __call__(self, name: str, weight: Tensor, shape: torch.Size) -> Tensor:
        if id(weight) in self.cut:  # a weight of two names stays one
            return self.cut[id(weight)][1]
        known, made = self.known.get(name, {}), weight.detach()
        for axis in range(min(weight.dim(), len(shape))):
            places = known.get(axis)
            if places is None and weight.shape[axis] != shape[axis]:
                side = side_of(name, axis, self.has_link) if "" not in self.kept else ""
                places = self.kept[side].hidden if side in self.kept else None
            if places is not None:
                made = made.index_select(axis, places.to(made.device))
        if made.shape != shape:
            found = f"its weight {name} is {list(weight.shape)}, and would be {list(shape)}: nobody knows which part"
            raise fail(f"a narrower {type(self.model).__name__}", found, fix=OTHERWISE, where="shrink")
        made = made * self.scales.get(name, 1.0)
        whole = nn.Parameter(made) if isinstance(weight, nn.Parameter) else made
        self.cut[id(weight)] = (weight, whole)
        return whole


def side_of(name: str, axis: int, has_link: bool) -> str:
    """The side of an encoder-decoder whose stream an axis of a weight runs along.

    has_link: there is a projection between the two sides.
    """
    side = name.partition(".")[0]
    if axis == 1 and (name == LINK or (name.endswith(CROSS) and not has_link)):
        return "encoder"
    return "decoder" if name.startswith("enc_to_dec_proj") else side
