"""Where the parts of a model are: blocks, attention, feed-forward, embeddings, pooler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Any

from torch import nn

from textkd.errors import fail
from textkd.models.architectures import PLANS, Plan
from textkd.models.taps.address import (
    ATTENTION_KINDS,
    CROSS_KINDS,
    FROM_ZERO,
    GRADIENT_KINDS,
    KINDS,
    SELF_KINDS,
    Address,
)

# implementations whose masks the tap function understands (None: a model built without from_pretrained; it runs eager)
_READABLE = (None, "eager", "sdpa")


class Anatomy:
    """The parts of one stack of blocks: blocks, attention, feed-forward, embeddings, pooler. Made by `anatomy`.

    Of an unknown architecture only logits and ``module:`` taps are there.

    Args:
        model: the unwrapped model.
        side: "" or, for half of an encoder-decoder, which half; its addresses carry it.

    Attributes:
        base: the model without its head.
        blocks: module of block k at index k-1 (ALBERT: the same module many times).
        plan: the architecture's row of `PLANS`; None for an unknown architecture.
        sides: none; see `EncoderDecoder`.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> parts = Anatomy(BertModel(BertConfig(num_hidden_layers=4, **sizes)))
        >>> parts.size, str(parts.resolve("hidden:-1"))
        ('4x8', 'hidden:4')
    """

    sides: Mapping[str, Anatomy] = {}

    def __init__(self, model: nn.Module, side: str = "") -> None:
        self.model, self.side = model, side
        self.config: Any = getattr(model, "config", None)
        self.base: nn.Module = getattr(model, "base_model", model)
        self.model_type = str(getattr(self.config, "model_type", type(model).__name__))
        self.plan = self._fitting().get(self.model_type)
        self.blocks = self.plan.blocks(self.base) if self.plan else []

    @property
    def num_blocks(self) -> int:
        """L, the number of blocks a forward runs through."""
        self._known("its number of blocks")
        return len(self.blocks)

    @property
    def num_heads(self) -> int:
        """Attention heads per block, from the config; 1 where there is no attention."""
        self._known("its number of heads")
        return int(getattr(self.config, "num_attention_heads", 1))

    @property
    def hidden_size(self) -> int:
        """H, the width of hidden states, from the config."""
        self._known("its hidden size")
        return int(self.config.hidden_size)

    @property
    def size(self) -> str:
        """Blocks and width in a word: "6x384"; of an unknown architecture as its config says, "?" where it does not."""
        if self.plan is not None:
            return f"{self.num_blocks}x{self.hidden_size}"
        return "x".join(str(getattr(self.config, name, "?")) for name in ("num_hidden_layers", "hidden_size"))

    @property
    def pooler(self) -> nn.Module | None:
        """The module whose output is the pooled representation [B, H], None where the model has none."""
        found = getattr(self.base, self.plan.pooler, None) if self.plan else None
        return found if isinstance(found, nn.Module) else None

    @property
    def has_head(self) -> bool:
        """Whether there is something on top of the base model that makes logits."""
        return self.base is not self.model or self.plan is None

    @property
    def head(self) -> nn.Linear | None:
        """The linear layer that makes logits over a vocabulary; None where the model has none or another kind."""
        found = getattr(self.model, "get_output_embeddings", lambda: None)()
        # a quantised layer may be a Linear too, with weights that are no numbers to multiply with
        return found if isinstance(found, nn.Linear) and found.weight.is_floating_point() else None

    def on(self, address: Address | str) -> Anatomy:
        """The stack of blocks that an address is read from.

        Args:
            address: with or without its block.

        Raises:
            TextkdError: the address names a side that this model does not have.
        """
        address = Address.parse(address)
        if address.side != self.side:
            raise fail(
                f'tap "{address}"',
                f"{self.model_type} is {_sort(self.plan)} and has no sides",
                fix=f'"{replace(address, side=self.side)}"',
            )
        return self

    def part(self, kind: str, block: int) -> nn.Module:
        """The module that a kind of tap is read at.

        Args:
            kind: of tap.
            block: 1..L.
        """
        plan = self._known(kind)
        paths = {"ffn": plan.ffn, **dict.fromkeys(SELF_KINDS, plan.attention), **dict.fromkeys(CROSS_KINDS, plan.cross)}
        return self.blocks[block - 1].get_submodule(paths.get(kind, ""))

    def lends(self, kind: str) -> bool:
        """Whether reading this kind puts our function in the place of an attention module's own.

        Args:
            kind: of tap.
        """
        return kind in ATTENTION_KINDS and self.plan is not None and self.plan.projections is None

    def addresses(self) -> list[str]:
        """Every address the model offers, `module:` ones left out."""
        found = ["labels", "logits"] if self.has_head and not self.side else []
        found += ["head_input"] if found and self.head is not None else []
        if self.plan is None or self._skips_blocks():
            return found
        side = f"{self.side}." if self.side else ""
        found.append(f"{side}embeddings")
        for kind, (_, in_block) in KINDS.items():
            if in_block and self._has(kind) and (kind not in ATTENTION_KINDS or self._readable()):
                first = 0 if kind in FROM_ZERO else 1
                found.extend(f"{side}{kind}:{k}" for k in range(first, len(self.blocks) + 1))
        return found + ([f"{side}pooled"] if self.pooler is not None else [])

    def resolve(self, address: Address | str) -> Address:
        """An address with a block counted from the front.

        Args:
            address: with its block, where the kind has one.

        Raises:
            TextkdError: this model has no such tap.
        """
        address = Address.parse(address)
        self.on(address)
        if address.kind == "module":
            self._check_path(address)
        elif address.kind == "head_input":
            self._check_linear(address)
        elif address.kind in ("labels", "logits"):
            self._check_head(address)
        elif address.kind == "pooled" and self._known(address) and self.pooler is None:
            raise fail(
                f'tap "{address}"',
                f"the model has no pooler: {type(self.model).__name__}",
                fix='match "hidden" instead',
            )
        else:
            plan = self._known(address)
            if address.kind in GRADIENT_KINDS and not self.side:
                self._check_head(address)
            self._check_kind(address)
            address = self._resolve_block(address) if address.needs_block else address
            return replace(address, causal=plan.causal)
        return address

    def _resolve_block(self, address: Address) -> Address:
        count, first = len(self.blocks), 0 if address.kind in FROM_ZERO else 1
        if address.block is None:
            raise fail(
                f'tap "{address}"',
                "no block number",
                near=(f"{address}:{count}", self.addresses()),
                fix=f'"{address}:{count}", or a match with a layer map',
            )
        block = address.block + count + 1 if address.block < 0 else address.block
        if not first <= block <= count or (address.block < 0 and block == 0):
            raise fail(
                f'tap "{address}"',
                f"{type(self.model).__name__} has {count} blocks",
                near=(str(address), self.addresses()),
                fix=f"{replace(address, block=first)} to {replace(address, block=count)}",
            )
        return replace(address, block=block)

    def _check_kind(self, address: Address) -> None:
        if self.plan is not None and self.plan.only and address.kind not in self.plan.only:
            found = f"a {self.plan.title} has no {address.kind.replace('_', ' ')}"
            fix = f"it has logits, {', '.join(self.plan.only)}, and module:<path>"
            raise fail(f'tap "{address}"', found, near=(str(address), self.addresses()), fix=fix)
        if not self._has(address.kind):
            other = f', or "{replace(address, side="decoder")}"' if self.side else ""
            raise fail(
                f'tap "{address}"',
                f"{self.model_type} is {_sort(self.plan)} without cross-attention",
                near=(str(address), self.addresses()),
                fix=f'"{replace(address, kind=CROSS_KINDS[address.kind])}"{other}',
            )
        if self._skips_blocks():
            raise fail(
                f'tap "{address}"',
                "layerdrop is above 0: training skips blocks at random, and their taps with them",
                fix="load the model with decoder_layerdrop=0",
            )
        if address.kind in ATTENTION_KINDS and not self._readable():
            raise fail(
                f'tap "{address}"',
                f"the model runs attention with {self.config._attn_implementation}",
                fix='load it with attn_implementation="sdpa" (only tapped blocks leave SDPA)',
            )
        if address.kind == "ffn" and getattr(self.config, "chunk_size_feed_forward", None):
            raise fail(
                f'tap "{address}"',
                f"feed-forward in chunks of {self.config.chunk_size_feed_forward}",
                fix="load the model with chunk_size_feed_forward=0",
            )

    def _check_path(self, address: Address) -> None:
        names = [name for name, _ in self.model.named_modules(remove_duplicate=False) if name]
        if address.path not in names:
            raise fail(
                f'tap "{address}"',
                f'{type(self.model).__name__} has no module "{address.path}"',
                near=(address.path, names),
                fix="a dotted path as model.named_modules() prints it",
            )

    def _check_head(self, address: Address) -> None:
        if not self.has_head:
            raise fail(
                f'tap "{address}"',
                f"{type(self.model).__name__} is a bare encoder without a head",
                fix="load it with an AutoModelFor... class",
            )

    def _check_linear(self, address: Address) -> None:
        if self.head is None:
            raise fail(
                f'tap "{address}"',
                f"{type(self.model).__name__} has no linear layer that makes logits over a vocabulary",
                fix='"logits"',
            )

    def _has(self, kind: str) -> bool:
        if self.plan is not None and self.plan.only and kind not in self.plan.only:
            return False
        if kind in GRADIENT_KINDS:
            return self.has_head or bool(self.side)  # the head of an encoder-decoder is the whole model's
        return kind not in CROSS_KINDS or bool(self.plan and self.plan.cross)

    def _readable(self) -> bool:
        own_code = self.plan is not None and self.plan.projections is not None
        return own_code or getattr(self.config, "_attn_implementation", None) in _READABLE

    def _skips_blocks(self) -> bool:
        if self.plan is None or not self.plan.layerdrop:
            return False
        return float(attrgetter(self.plan.layerdrop)(self.base)) > 0

    def _fitting(self) -> dict[str, Plan]:
        """The plans that a model on this side can have."""
        return {name: plan for name, plan in PLANS.items() if not self.side or plan.causal == (self.side == "decoder")}

    def _known(self, asked: object) -> Plan:
        if self.plan is None:
            name = f'tap "{asked}"' if isinstance(asked, Address) else str(asked)
            kind = f"architecture of the {self.side}" if self.side else "architecture"
            raise fail(
                name,
                f'the {kind} "{self.model_type}" is not known',
                near=(self.model_type, self._fitting()),
                fix=f"known: {', '.join(self._fitting())}; logits and module:<path> work on any model",
            )
        return self.plan


def _sort(plan: Plan | None) -> str:
    return "a decoder" if plan is not None and plan.causal else "an encoder"
