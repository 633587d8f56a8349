"""Architectures as rows of data: which attribute holds the blocks, attention, feed-forward, embeddings and pooler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Plan:
    """Attribute paths of one architecture: `stack`, `embeddings`, `pooler` from the base model, the rest from a block.

    stack: the list of modules that a student takes some of. unrolled: f(base model) -> the blocks as they run, where
    these are not the modules of `stack`.
    ffn: the linear layer whose output goes into the activation. gated: that output is [activated half, gate half].
    embeddings "": no module makes them all; they are read as the input of block 1. notes: what `textkd ls taps` should
    say about a kind of tap here.

    causal: a decoder; a position sees only the ones before it. cross: its attention over the encoder's tokens.
    projections: the query, key and value layers of attention modules with code of their own, which transformers'
    attention interface never sees; they hold `num_heads` and `scaling`. layerdrop: attribute path (from the base model)
    of the probability that training skips a block.

    attentions: the query, key, value and output layers of each attention of a block, the one over its own tokens first;
    ffn_out: the layer behind the activation. With these a block can be made narrower; () and "": nobody knows how.
    norms: the layer norms of a block behind its residual sums, in the order in which they run; (): its norms stand
    before what they feed, so that the sums go on as they are. embedding_norm: the norm whose output block 1 reads.

    title: what it is called where something of a transformer is asked of it; only: the kinds of taps that it has,
    beside labels, logits and modules ((): those of a transformer).
    """

    stack: str
    attention: str = ""
    ffn: str = ""
    embeddings: str = "embeddings"
    pooler: str = "pooler"
    gated: bool = False
    causal: bool = False
    cross: str = ""
    projections: tuple[str, str, str] | None = None
    layerdrop: str = ""
    attentions: tuple[tuple[str, str, str, str], ...] = ()
    ffn_out: str = ""
    norms: tuple[str, ...] = ()
    embedding_norm: str = ""
    title: str = ""
    only: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    unrolled: Callable[[nn.Module], list[nn.Module]] | None = None

    def blocks(self, base: nn.Module) -> list[nn.Module]:
        """The blocks of a base model in the order in which they run."""
        return list(base.get_submodule(self.stack).children()) if self.unrolled is None else self.unrolled(base)


def _albert_blocks(base: Any) -> list[nn.Module]:
    """ALBERT runs few layers many times: block k is the k-th call, so a layer stands here once per call."""
    groups, count = base.encoder.albert_layer_groups, base.config.num_hidden_layers
    return [layer for i in range(count) for layer in groups[int(i / (count / len(groups)))].albert_layers]


def _four(place: str, query: str, key: str, value: str, output: str) -> tuple[str, str, str, str]:
    return f"{place}.{query}", f"{place}.{key}", f"{place}.{value}", f"{place}.{output}"


_BERT = Plan(
    "encoder.layer",
    attention="attention.self",
    ffn="intermediate.dense",
    attentions=(_four("attention", "self.query", "self.key", "self.value", "output.dense"),),
    ffn_out="output.dense",
    norms=("attention.output.LayerNorm", "output.LayerNorm"),
    embedding_norm="embeddings.LayerNorm",
)
_PROJECTIONS = ("q_proj", "k_proj", "v_proj")
_VIT = Plan(
    "layers",
    attention="attention",
    ffn="mlp.fc1",
    attentions=(_four("attention", *_PROJECTIONS, "o_proj"),),
    ffn_out="mlp.fc2",
    notes={"hidden": "before the final norm", "pooled": "of the first token, after the final norm"},
)
PLANS: dict[str, Plan] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "electra": _BERT,
    "distilbert": Plan(
        "transformer.layer",
        attention="attention",
        ffn="ffn.lin1",
        attentions=(_four("attention", "q_lin", "k_lin", "v_lin", "out_lin"),),
        ffn_out="ffn.lin2",
        norms=("sa_layer_norm", "output_layer_norm"),
        embedding_norm="embeddings.LayerNorm",
    ),
    "albert": Plan(
        "encoder.albert_layer_groups",
        attention="attention",
        ffn="ffn",
        pooler="pooler_activation",
        unrolled=_albert_blocks,
    ),
    "modernbert": Plan(
        "layers",
        attention="attn",
        ffn="mlp.Wi",
        gated=True,
        notes={
            "hidden": "before the final norm",
            "query": "after the rotary embedding",
            "key": "after the rotary embedding",
            "ffn": "the half that is activated, without the gate",
        },
    ),
    "vit": _VIT,
    "deit": _VIT,
    "trocr": Plan(
        "decoder.layers",
        attention="self_attn",
        ffn="fc1",
        embeddings="",
        causal=True,
        cross="encoder_attn",
        projections=_PROJECTIONS,
        layerdrop="decoder.layerdrop",
        attentions=tuple(_four(place, *_PROJECTIONS, "out_proj") for place in ("self_attn", "encoder_attn")),
        ffn_out="fc2",
        norms=("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"),
        embedding_norm="decoder.layernorm_embedding",
        notes={
            "embeddings": "of tokens and positions, the input of block 1",
            "query": "before the scaling",
            "cross_query": "before the scaling",
        },
    ),
    "textkd_bilstm": Plan(
        "layers",
        title="BiLSTM",
        only=("embeddings", "hidden", "pooled"),
        notes={"pooled": "what stands at the ends of a text: forwards at the last token, backwards at the first"},
    ),
    "textkd_textcnn": Plan(
        "layers",
        title="TextCNN",
        only=("embeddings", "pooled"),
        notes={"pooled": "the largest value of each filter"},
    ),
}
# model types of two models in one, which stand under these attributes
SIDED = {"vision-encoder-decoder": ("encoder", "decoder")}
