"""Where the parts of a model are: blocks, attention, feed-forward, embeddings, pooler."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from textkd.errors import TextkdError, fail
from textkd.taps.address import ATTENTION_KINDS, KINDS, Address
from textkd.taps.plans import PLANS, Plan

# implementations whose masks the tap function understands (None: a model built without from_pretrained; it runs eager)
_READABLE = (None, "eager", "sdpa")


class Anatomy:
    """The parts of one model; made by `anatomy`.

    model: the model. base: its encoder without head. blocks: module of block k at index k-1 (ALBERT: the same module
    many times). plan: the architecture's row, None for an unknown architecture (logits and module: taps still work).
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.config: Any = getattr(model, "config", None)
        self.base: nn.Module = getattr(model, "base_model", model)
        self.model_type = str(getattr(self.config, "model_type", type(model).__name__))
        self.plan = PLANS.get(self.model_type)
        self.blocks = self.plan.blocks(self.base) if self.plan else []

    @property
    def num_blocks(self) -> int:
        """L, the number of blocks a forward runs through."""
        self._known("its number of blocks")
        return len(self.blocks)

    @property
    def num_heads(self) -> int:
        """Attention heads per block, from the config."""
        self._known("its number of heads")
        return int(self.config.num_attention_heads)

    @property
    def hidden_size(self) -> int:
        """H, the width of hidden states, from the config."""
        self._known("its hidden size")
        return int(self.config.hidden_size)

    @property
    def pooler(self) -> nn.Module | None:
        """The module whose output is the pooled representation [B, H], None where the model has none."""
        found = getattr(self.base, self.plan.pooler, None) if self.plan else None
        return found if isinstance(found, nn.Module) else None

    @property
    def has_head(self) -> bool:
        """Whether there is something on top of the base model that makes logits."""
        return self.base is not self.model or self.plan is None

    def part(self, kind: str, block: int) -> nn.Module:
        """The module of block `block` (1..L) that a kind of tap is read at."""
        plan = self._known(kind)
        path = {"ffn": plan.ffn, **dict.fromkeys(ATTENTION_KINDS, plan.attention)}.get(kind, "")
        return self.blocks[block - 1].get_submodule(path)

    def addresses(self) -> list[str]:
        """Every address the model offers, `module:` ones left out."""
        found = ["labels", "logits"] if self.has_head else []
        if self.plan is None:
            return found
        found.append("embeddings")
        for kind, (_, in_block) in KINDS.items():
            if in_block and (kind not in ATTENTION_KINDS or self._readable()):
                found.extend(f"{kind}:{k}" for k in range(0 if kind == "hidden" else 1, len(self.blocks) + 1))
        return found + (["pooled"] if self.pooler is not None else [])

    def resolve(self, address: Address | str) -> Address:
        """`address` with a block counted from the front. Raises `TextkdError` where this model has no such tap."""
        address = Address.parse(address)
        if address.side:
            raise fail(
                f'tap "{address}"',
                f"{self.model_type} is an encoder and has no sides",
                fix=f'"{replace(address, side="")}"',
            )
        if address.kind == "module":
            self._check_path(address)
        elif address.kind in ("labels", "logits"):
            self._check_head(address)
        elif address.kind == "pooled" and self._known(address) and self.pooler is None:
            raise fail(
                f'tap "{address}"',
                f"the model has no pooler: {type(self.model).__name__}",
                fix='match "hidden" instead',
            )
        elif address.needs_block:
            return self._resolve_block(address)
        else:
            self._known(address)
        return address

    def _resolve_block(self, address: Address) -> Address:
        self._known(address)
        count, first = len(self.blocks), 0 if address.kind == "hidden" else 1
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
                fix=f"{address.kind}:{first} to {address.kind}:{count}",
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
        return replace(address, block=block)

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

    def _readable(self) -> bool:
        return getattr(self.config, "_attn_implementation", None) in _READABLE

    def _known(self, asked: object) -> Plan:
        if self.plan is None:
            name = f'tap "{asked}"' if isinstance(asked, Address) else str(asked)
            raise fail(
                name,
                f'the architecture "{self.model_type}" is not known',
                near=(self.model_type, PLANS),
                fix=f"known: {', '.join(PLANS)}; logits and module:<path> work on any model",
            )
        return self.plan


def anatomy(model: nn.Module) -> Anatomy:
    """Finds the parts of `model` (unwrapped, any head class of the architectures in `PLANS`)."""
    if hasattr(model, "module") and not hasattr(model, "config"):
        raise fail(f"the parts of {type(model).__name__}", "a wrapped model", fix="give the model inside the wrapper")
    try:
        return Anatomy(model)
    except AttributeError as error:
        raise _not_as_planned(model, error) from error


def _not_as_planned(model: nn.Module, error: AttributeError) -> TextkdError:
    return fail(
        f"the blocks of {type(model).__name__}",
        str(error),
        fix=f"model classes of {', '.join(PLANS)} in transformers' own code",
    )
