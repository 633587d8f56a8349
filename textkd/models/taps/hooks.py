"""Which hooks stand on which modules for which addresses."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.utils.hooks import RemovableHandle

from textkd.models.taps import projected
from textkd.models.taps.address import ATTENTION_KINDS, CROSS_KINDS, FROM_ZERO, GRADIENT_KINDS, SELF_KINDS, Address
from textkd.models.taps.anatomy import Anatomy
from textkd.models.taps.attention import BlockHook, LendHook, ReturnHook
from textkd.models.taps.gradients import RootInput, RootOutput
from textkd.models.taps.recorder import HeadHook, InputHook, OutputHook, Switch

Wants = dict[int, dict[str, str]]  # block -> kind -> key of the tap


def install(found: Anatomy, switch: Switch, addresses: Sequence[Address], bare: bool = True) -> list[RemovableHandle]:
    """Registers the hooks that record `addresses` (resolved, none of them logits or labels) while `switch` is on.

    bare: nobody wants the logits, so a head whose input is asked for makes none."""
    handles: list[RemovableHandle] = []
    for part in (found, *found.sides.values()):
        own = [address for address in addresses if address.side == part.side]
        handles.extend(_hook(part, switch, address, bare) for address in own if address.kind not in ATTENTION_KINDS)
        handles.extend(_attention(part, switch, own))
    return handles


def _attention(part: Anatomy, switch: Switch, addresses: Sequence[Address]) -> list[RemovableHandle]:
    projections = part.plan.projections if part.plan is not None else None
    if projections is None:
        return _lend(part, switch, _wants(addresses, cross=False))
    handles: list[RemovableHandle] = []
    for cross in (False, True):
        for block, kinds in _wants(addresses, cross).items():
            module = part.part("cross_attention" if cross else "attention", block)
            handles.extend(projected.install(module, switch, projections, kinds))
    return handles


def _wants(addresses: Sequence[Address], cross: bool) -> Wants:
    """What is asked of each block's attention; of the one over the encoder's tokens, under the plain names of kinds."""
    wants: Wants = {}
    for address in addresses:
        if address.block is not None and address.kind in (CROSS_KINDS if cross else SELF_KINDS):
            wants.setdefault(address.block, {})[CROSS_KINDS.get(address.kind, address.kind)] = str(address)
    return wants


def _lend(found: Anatomy, switch: Switch, wants: Wants) -> list[RemovableHandle]:
    handles: list[RemovableHandle] = []
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


def _hook(found: Anatomy, switch: Switch, address: Address, bare: bool) -> RemovableHandle:
    module, call, calls = _place(found, address)
    if address.kind == "head_input":
        head = HeadHook(switch, str(address), call, calls, {"bare": bare})
        return module.register_forward_pre_hook(head, with_kwargs=True)
    at_root = address.kind in GRADIENT_KINDS
    if address.at_input or _enters_block_1(found, address):
        before = (RootInput if at_root else InputHook)(switch, str(address), call, calls)
        return module.register_forward_pre_hook(before, with_kwargs=True)
    if at_root:
        return module.register_forward_hook(RootOutput(switch, str(address), call, calls))
    half = address.kind == "ffn" and found.plan is not None and found.plan.gated
    return module.register_forward_hook(OutputHook(switch, str(address), call, calls, {"first_half": half}))


def _enters_block_1(found: Anatomy, address: Address) -> bool:
    if address.kind == "embeddings":
        return found.plan is not None and not found.plan.embeddings
    return address.kind in FROM_ZERO and address.block == 0


def _in_block(blocks: list[nn.Module], block: int) -> tuple[nn.Module, int, int]:
    """(module of block `block`, which of its calls that is, its calls per forward)."""
    module = blocks[block - 1]
    same = [k for k, other in enumerate(blocks, start=1) if other is module]
    return module, same.index(block) + 1, len(same)


def _place(found: Anatomy, address: Address) -> tuple[nn.Module, int, int]:
    if address.kind == "module":
        return found.model.get_submodule(address.path), 1, 1
    if address.kind == "head_input":
        assert found.head is not None
        return found.head, 1, 1
    if address.block is None and not _enters_block_1(found, address):
        assert found.plan is not None
        return found.base.get_submodule(found.plan.pooler if address.kind == "pooled" else found.plan.embeddings), 1, 1
    block = max(address.block or 1, 1)
    _, call, calls = _in_block(found.blocks, block)
    return found.part(address.kind, block), call, calls
