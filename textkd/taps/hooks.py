"""Which hooks stand on which modules for which addresses."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.utils.hooks import RemovableHandle

from textkd.taps.address import ATTENTION_KINDS, Address
from textkd.taps.anatomy import Anatomy
from textkd.taps.attention import BlockHook, LendHook, ReturnHook
from textkd.taps.recorder import InputHook, OutputHook, Switch


def install(found: Anatomy, switch: Switch, addresses: Sequence[Address]) -> list[RemovableHandle]:
    """Registers the hooks that record `addresses` (resolved, none of them logits or labels) while `switch` is on."""
    handles = [_hook(found, switch, address) for address in addresses if address.kind not in ATTENTION_KINDS]
    wants: dict[int, dict[str, str]] = {}
    for address in addresses:
        if address.kind in ATTENTION_KINDS and address.block is not None:
            wants.setdefault(address.block, {})[address.kind] = str(address)
    for block, kinds in wants.items():
        module, call, calls = _in_block(found.blocks, block)
        ticket = BlockHook(switch, " ".join(kinds.values()), call, calls, kinds)
        handles.append(module.register_forward_pre_hook(ticket, with_kwargs=True))
    # an attention module that serves several blocks (ALBERT) is lent its config by one pair of hooks
    for attention in dict.fromkeys(found.part("attention", block) for block in wants):
        lend = LendHook(switch, "attention")
        handles.append(attention.register_forward_pre_hook(lend, with_kwargs=True))
        back = ReturnHook(switch, "attention", options={"lend": lend})
        handles.append(attention.register_forward_hook(back, always_call=True))
    return handles


def _hook(found: Anatomy, switch: Switch, address: Address) -> RemovableHandle:
    module, call, calls = _place(found, address)
    if address.at_input or address == Address("hidden", 0):
        before = InputHook(switch, str(address), call, calls)
        return module.register_forward_pre_hook(before, with_kwargs=True)
    half = address.kind == "ffn" and found.plan is not None and found.plan.gated
    return module.register_forward_hook(OutputHook(switch, str(address), call, calls, {"first_half": half}))


def _in_block(blocks: list[nn.Module], block: int) -> tuple[nn.Module, int, int]:
    """(module of block `block`, which of its calls that is, its calls per forward)."""
    module = blocks[block - 1]
    same = [k for k, other in enumerate(blocks, start=1) if other is module]
    return module, same.index(block) + 1, len(same)


def _place(found: Anatomy, address: Address) -> tuple[nn.Module, int, int]:
    if address.kind == "module":
        return found.model.get_submodule(address.path), 1, 1
    if address.block is None:
        assert found.plan is not None
        return found.base.get_submodule(found.plan.pooler if address.kind == "pooled" else found.plan.embeddings), 1, 1
    _, call, calls = _in_block(found.blocks, max(address.block, 1))
    return found.part(address.kind, max(address.block, 1)), call, calls
