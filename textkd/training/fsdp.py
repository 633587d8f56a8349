"""FSDP2: what textkd adds to Accelerate's, so that a student in shards trains as a whole one does.

Accelerate shards the student (torch's `fully_shard`) and gathers one block at a time. A sharded module cannot be made
whole again, so a training shards a copy and reads the finished weights back (`methods.stages`).
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import Tensor, nn

from textkd.errors import Problem, fail, problem
from textkd.models.taps import anatomy
from textkd.objective import projections


def asked(fsdp: Any = None) -> bool:
    """Whether the launcher's configuration asks for FSDP, or the training argument of this name."""
    return _is_true("ACCELERATE_USE_FSDP") or bool(fsdp)


def launch_problems() -> list[Problem]:
    """What of the launcher's FSDP configuration cannot be; asked before a model is loaded."""
    if not asked():
        return []
    found = []
    if os.environ.get("FSDP_VERSION", "1") != "2":
        what = "textkd trains with FSDP2 (parameters by parameter); version 1 is going out of transformers"
        found.append(problem(f"fsdp_version: {os.environ.get('FSDP_VERSION', '1')}", what, fix="fsdp_version: 2"))
    if _is_true("FSDP_CPU_RAM_EFFICIENT_LOADING"):
        what = "only the first process would load weights, and the teacher of all others would be empty"
        fix = "fsdp_cpu_ram_efficient_loading: false"
        found.append(problem("fsdp_cpu_ram_efficient_loading: true", what, fix=fix))
    return found


def settle(accelerator: Any, arguments: Any) -> bool:
    """Whether `accelerator` will shard what it prepares. Called once it is made.

    Accelerate takes FSDP on accelerators alone and on CPUs trains with DDP without a word; the same code runs there
    over gloo, so it is turned on. Checkpoints are written in shards, whatever the configuration says: gathering them
    on one process is for the finished weights.
    """
    state = accelerator.state
    plugin = getattr(state, "fsdp_plugin", None)
    if plugin is None and asked(arguments.fsdp) and state.distributed_type == DistributedType.MULTI_CPU:
        plugin = FullyShardedDataParallelPlugin(**(arguments.fsdp_plugin_args or {}))
        if accelerator.mixed_precision != "no":
            plugin.set_mixed_precision(accelerator.mixed_precision)
        state.fsdp_plugin = plugin
        PartialState().distributed_type = state.distributed_type = DistributedType.FSDP
    if plugin is None:
        return False
    # it warns of writing into its views, which taps may be; losses write into nothing
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    plugin.state_dict_config = plugin.optim_state_dict_config = None  # those of another type stay otherwise
    plugin.set_state_dict_type("SHARDED_STATE_DICT")
    return True


def refuse_other_kind(checkpoint: str | None, sharded: bool) -> None:
    """Raises `TextkdError` for a checkpoint of shards that a whole student should go on from, or the reverse."""
    if checkpoint is None or sharded == any(Path(checkpoint).glob("pytorch_model_fsdp*")):
        return
    kinds = ("a student in shards (FSDP)", "a whole student (one process or DDP)")
    written, going = kinds if not sharded else kinds[::-1]
    fix = "launch it as before, or delete the folder of this checkpoint to begin the stage anew"
    raise fail(f"to go on from {checkpoint} with {going}", f"it was written by {written}", fix=fix)


def by_block(accelerator: Any, model: nn.Module) -> None:
    """Says that the blocks of `model` are what is gathered one after the other, where nobody else says: few models of
    transformers name theirs, and all others would be gathered whole."""
    plugin = accelerator.state.fsdp_plugin
    if plugin.transformer_cls_names_to_wrap is None:
        plugin.transformer_cls_names_to_wrap = sorted({type(block).__name__ for block in blocks(model)})


def blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of all sides; none where blocks share their weights (ALBERT), which are gathered once."""
    found = anatomy(model)
    stacks = [found.blocks, *(side.blocks for side in found.sides.values())]
    return [block for stack in stacks for block in stack if len(set(stack)) == len(stack)]


def in_shards(teacher: nn.Module) -> nn.Module:
    """A copy of `teacher`, each process with its share of the weights on its device; one block is gathered at a time.
    Every forward has to be run to its end, by all processes."""
    from torch.distributed.fsdp import fully_shard

    twin = copy.deepcopy(teacher)
    for block in blocks(twin):
        fully_shard(block)
    fully_shard(twin, reshard_after_forward=True)  # by itself the outermost part would stay whole
    return twin


def reshard(model: nn.Module) -> None:
    """Makes every parameter of a sharded `model` its shard: an evaluation leaves some whole, and what is written to
    those is lost."""
    if torch.distributed.is_available():
        from torch.distributed.fsdp import FSDPModule

        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()


def send_buffers(student: nn.Module) -> None:
    """Gives the losses' buffers (what they remember) of the first process to all: DDP does, FSDP2 does not."""
    for buffer in getattr(student, projections.ATTRIBUTE, nn.Module()).buffers():
        torch.distributed.broadcast(buffer, src=0)


def local(tensor: Tensor) -> Tensor:
    """This process's shard of a sharded tensor; any other tensor itself."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sharded tensors whole; all processes call it."""
    return whole({name: t.full_tensor() if hasattr(t, "full_tensor") else t for name, t in tensors.items()})


def shared_out(tensor: Tensor, like: Any) -> Tensor:
    """A whole tensor in shards as those of the parameter `like`, or as it is where that is whole."""
    if not hasattr(like, "device_mesh") or hasattr(tensor, "device_mesh"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Plain tensors: gathered ones may still be on their way, which on a CPU nobody waits for before they are saved."""
    return {name: t if type(t) in (Tensor, nn.Parameter) else t.clone() for name, t in tensors.items()}


def all_finite(parameters: Iterable[Tensor]) -> Tensor:
    """Whether all that this process has of them is finite, as a scalar (1.0 or 0.0)."""
    good = [torch.isfinite(local(p)).all() for p in parameters]
    return torch.stack(good).all().float() if good else torch.ones(())


def _is_true(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("true", "1", "yes")
