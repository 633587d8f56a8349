"""What Trainer makes of its arguments (optimizer, schedule of the rate, reports), made once on a tiny model: before a
run, and not in the middle of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from huggingface_hub import constants, get_token
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments
from transformers.debug_utils import DebugOption
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.training_args import ParallelMode, trainer_log_levels
from transformers.utils import is_liger_kernel_available

from textkd.errors import fail

STEPS = 10  # of the schedule of the rate
MOST_WORKERS = 1024
OF_BLOCKS = ("every_n_layers", "offload")  # what transformers itself takes of the words for checkpoints


class _Tiny(nn.Module):
    """A layer, a norm and embeddings: the kinds of weights that optimizers tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings, self.layer, self.norm = nn.Embedding(2, 2), nn.Linear(2, 2), nn.LayerNorm(2)


def try_parts(arguments: TrainingArguments) -> None:
    """Makes the parts of a training and throws them away.

    Args:
        arguments: of the training.

    Raises:
        Exception: whatever the part raises that cannot be made; a `TextkdError` where textkd knows better.

    Example:
        >>> try_parts(TrainingArguments("unused", use_cpu=True, optim="adamw_torch"))
        >>> try_parts(TrainingArguments("unused", use_cpu=True, adam_beta1=2.0))
        Traceback (most recent call last):
        ...
        ValueError: Invalid beta parameter at index 0: 2.0
    """
    for one in PARTS:
        one(arguments)


def optimizer_and_schedule(arguments: TrainingArguments, steps: int) -> tuple[Any, Any]:
    """What Trainer makes of the arguments for a model of a few weights.

    Args:
        arguments: of the training.
        steps: the optimizer steps of the training.

    Returns:
        The optimizer, and the schedule of its rate.

    Raises:
        Exception: whatever a library raises.

    Example:
        >>> arguments = TrainingArguments("unused", use_cpu=True, optim="sgd", warmup_steps=4)
        >>> optimizer, schedule = optimizer_and_schedule(arguments, 10)
        >>> type(optimizer).__name__, schedule.lr_lambdas[0](2)
        ('SGD', 0.5)
    """
    kind: Any = Trainer
    trainer = kind.__new__(kind)  # without all that its constructor does
    trainer.model, trainer.args = _Tiny(), arguments
    trainer.optimizer = trainer.lr_scheduler = trainer.optimizer_cls_and_kwargs = None
    trainer.create_optimizer()
    trainer.create_scheduler(steps)
    return trainer.optimizer, trainer.lr_scheduler


def _optimizer(arguments: TrainingArguments) -> None:
    """The optimizer, and its rate over the steps."""
    if any("=" not in part for part in (arguments.optim_args or "=").split(",")):
        raise fail(f"optim_args: {arguments.optim_args}", "not of the form KEY=VALUE,KEY=VALUE", fix="as rank=64")
    optimizer_and_schedule(arguments, STEPS)


def _reports(arguments: TrainingArguments) -> None:
    for callback in get_reporting_integration_callbacks(arguments.report_to):
        callback()


def _hub(arguments: TrainingArguments) -> None:
    if not arguments.push_to_hub:
        return
    fix = "leave push_to_hub out, and upload the finished folder: hf upload NAME FOLDER"
    if constants.HF_HUB_OFFLINE:
        raise fail("push_to_hub", "HF_HUB_OFFLINE is set", fix=fix)
    if not (arguments.hub_token or get_token()):
        raise fail("push_to_hub", "nobody is logged in to the hub", fix=f"hf auth login; or {fix}")


def _kernels(arguments: TrainingArguments) -> None:
    if arguments.use_liger_kernel and not is_liger_kernel_available():
        raise fail("use_liger_kernel", "liger-kernel is not installed", fix="pip install liger-kernel, or leave it out")


def _compiler(arguments: TrainingArguments) -> None:
    if not arguments.torch_compile:
        return
    from torch import _dynamo  # heavy

    known = _dynamo.list_backends(exclude_tags=())
    if (asked := arguments.torch_compile_backend) not in known:
        fix = f"one of {', '.join(_dynamo.list_backends())}"
        raise fail(f"torch_compile_backend: {asked}", "no such backend", near=(str(asked), known), fix=fix)
    if (mode := arguments.torch_compile_mode) is not None and asked == "inductor":
        from torch import _inductor

        if mode not in (modes := list(_inductor.list_mode_options())):
            fix = f"one of {', '.join(modes)}"
            raise fail(f"torch_compile_mode: {mode}", "no such mode", near=(str(mode), modes), fix=fix)


def _recomputing(arguments: TrainingArguments) -> None:
    """Activations that are computed again in the backward: `kwargs` as torch takes them, and as taps need them."""
    name = "gradient_checkpointing_kwargs"
    given: Any = getattr(arguments, "activation_checkpointing_kwargs", None) or getattr(arguments, name, None)
    words = {key: value for key, value in (given or {}).items() if key not in OF_BLOCKS}
    if not words:
        return
    if words.get("use_reentrant") is not False:
        raise fail(f"{name}: {given}", "inner taps would lose their gradient, silently",
                   fix=f"{name}: {{use_reentrant: false}}, beside what else is wanted")  # fmt: skip
    checkpoint(nn.Identity(), torch.ones(1), **words)


def _workers(arguments: TrainingArguments) -> None:
    if arguments.dataloader_num_workers > MOST_WORKERS:
        asked = f"dataloader_num_workers: {arguments.dataloader_num_workers}"
        raise fail(asked, "each is a process of its own", fix=f"give {MOST_WORKERS} or less; one per core is usual")


def _loader(arguments: TrainingArguments) -> None:
    rows: Any = [0]
    DataLoader(
        rows, num_workers=arguments.dataloader_num_workers, prefetch_factor=arguments.dataloader_prefetch_factor,
        persistent_workers=arguments.dataloader_persistent_workers,
        multiprocessing_context=getattr(arguments, "dataloader_multiprocessing_context", None),
    )  # fmt: skip


def _sharing(arguments: TrainingArguments) -> None:
    if arguments.fsdp and arguments.parallel_mode != ParallelMode.DISTRIBUTED:
        fix = "torchrun --nproc_per_node 2 -m textkd run FILE (docs/many-machines.md), or leave fsdp out"
        raise fail("fsdp", "it shares a model out among processes, and this is one", fix=fix)


def _levels(arguments: TrainingArguments) -> None:
    for name in ("log_level", "log_level_replica"):
        if (asked := getattr(arguments, name)) not in trainer_log_levels:
            fix = f"one of {', '.join(trainer_log_levels)}"
            raise fail(f"{name}: {asked}", "no such level", near=(str(asked), trainer_log_levels), fix=fix)


def _debug(arguments: TrainingArguments) -> None:
    if DebugOption.UNDERFLOW_OVERFLOW in arguments.debug:
        fix = "leave it out: a loss that is not finite stops a run by itself, with its name"
        raise fail("debug: underflow_overflow", "it stops at the first mask, which holds no numbers", fix=fix)


PARTS: tuple[Callable[[TrainingArguments], None], ...] = (
    _optimizer, _reports, _hub, _kernels, _compiler, _recomputing, _workers, _loader, _sharing, _levels, _debug,
)  # fmt: skip
