"""TrainingArguments that are read only beside another one, and those that nothing in textkd reads: a table, as
transformers' own source has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any

from transformers import TrainingArguments

from textkd.errors import Problem, problem
from textkd.training import fsdp
from textkd.training.arguments import DEFAULTS

NAMED = ("wandb", "trackio", "comet_ml", "mlflow", "dagshub", "swanlab")  # reports that read `run_name`
RECOMPUTES = ("gradient_checkpointing", "activation_checkpointing")
BEST = "load_best_model_at_end: true, or save_strategy: best"

Whole = Mapping[str, Any]  # all arguments of a training
Beside = tuple[str, Callable[[Whole], bool]]  # what it takes, as it is told, and whether that is there


def given(whole: Whole, name: str) -> Any:
    """The value of an argument, textkd's or transformers' own default where nobody gave it."""
    return whole.get(name, DEFAULTS.get(name, _defaults().get(name)))


def is_default(name: str, value: Any) -> bool:
    """Whether nothing but the default is said of an argument; an empty block or text says nothing."""
    usual = (_defaults().get(name), DEFAULTS.get(name))
    return any(value is one or value == one for one in usual) or (usual[0] is None and value in ({}, [], ""))


def take_out(name: str) -> str:
    """What to do about an argument that is read by nothing: a command line takes nothing out of a recipe.

    Example:
        >>> take_out("save_steps"), take_out("eval_steps")
        ('take it out (save_steps=500 is as good)', 'take it out (eval_steps=null is as good)')
    """
    usual = given({}, name)
    return f"take it out ({name}={'null' if usual is None else getattr(usual, 'value', usual)} is as good)"


@cache
def _defaults() -> dict[str, Any]:
    return {one.name: None if one.default is MISSING else one.default for one in fields(TrainingArguments)}


def _is(name: str, *values: Any) -> Callable[[Whole], bool]:
    return lambda whole: given(whole, name) in values


def _is_not(name: str, *values: Any) -> Callable[[Whole], bool]:
    return lambda whole: given(whole, name) not in values


def _any(*ways: Callable[[Whole], bool]) -> Callable[[Whole], bool]:
    return lambda whole: any(way(whole) for way in ways)


def _on(name: str) -> Callable[[Whole], bool]:
    return lambda whole: bool(given(whole, name))


def _reports(*names: str) -> Callable[[Whole], bool]:
    def told(whole: Whole) -> bool:
        asked = given(whole, "report_to")
        return any(one in (*names, "all") for one in (asked if isinstance(asked, list | tuple) else [asked]))

    return told


_STEPS_OF_LOGS = _any(
    _is("logging_strategy", "steps"), lambda whole: _is("eval_strategy", "steps")(whole) and not whole.get("eval_steps")
)
_EVALUATES = _is_not("eval_strategy", "no", False)
_CHOOSES = _any(_on("load_best_model_at_end"), _is("save_strategy", "best"),
                _is("lr_scheduler_type", "reduce_lr_on_plateau", "greedy"))  # fmt: skip
_RECOMPUTES = _any(*(_on(name) for name in RECOMPUTES))
BESIDE: dict[str, Beside] = {
    "eval_steps": ("eval_strategy: steps", _is("eval_strategy", "steps")),
    "save_steps": ("save_strategy: steps", _is("save_strategy", "steps")),
    "logging_steps": ("logging_strategy: steps", _STEPS_OF_LOGS),
    "eval_delay": ("eval_strategy: steps, or epoch", _EVALUATES),
    "eval_accumulation_steps": ("eval_strategy: steps, or epoch", _any(_EVALUATES, _on("eval_on_start"))),
    "save_total_limit": ("save_strategy: steps, or epoch", _is_not("save_strategy", "no", False)),
    **dict.fromkeys(("metric_for_best_model", "greater_is_better"), (BEST, _CHOOSES)),
    **dict.fromkeys(
        ("hub_model_id", "hub_strategy", "hub_private_repo", "hub_always_push", "hub_revision"),
        ("push_to_hub: true", _on("push_to_hub")),
    ),
    "run_name": (f"report_to: {', '.join(NAMED[:-1])} or {NAMED[-1]}", _reports(*NAMED)),
    **dict.fromkeys(
        ("project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"),
        ("report_to: trackio", _reports("trackio")),
    ),
    **dict.fromkeys(
        ("dataloader_persistent_workers", "dataloader_prefetch_factor", "dataloader_multiprocessing_context",
         "dataloader_in_order"),
        ("dataloader_num_workers above 0", _on("dataloader_num_workers")),
    ),
    "liger_kernel_config": ("use_liger_kernel: true", _on("use_liger_kernel")),
    "fsdp_config": ("fsdp", lambda whole: fsdp.asked(given(whole, "fsdp"))),
    **dict.fromkeys((f"{name}_kwargs" for name in RECOMPUTES), (f"{RECOMPUTES[0]}: true", _RECOMPUTES)),
    "data_seed": ("an order that is drawn at random", _is_not("train_sampling_strategy", "sequential")),
}  # fmt: skip

_OF_SCRIPTS = "it is for scripts of one's own: no Trainer reads it"
_OF_EVALUATION = "it is for evaluations apart from a training, and textkd makes none of these with Trainer"
# read by nothing: why, and what to do
UNREAD: dict[str, tuple[str, str]] = {
    "do_train": (_OF_SCRIPTS, "leave it out"),
    "do_eval": (_OF_SCRIPTS, "leave it out; eval_strategy says when there is an evaluation"),
    "do_predict": (_OF_SCRIPTS, "leave it out"),
    "bf16_full_eval": (_OF_EVALUATION, "leave it out; bf16: true holds for evaluations, too"),
    "fp16_full_eval": (_OF_EVALUATION, "leave it out; fp16: true holds for evaluations, too"),
    "include_for_metrics": ("the metrics of a task read predictions and labels alone", "leave it out"),
    "average_tokens_across_devices": ("the losses of textkd count over all processes by themselves", "leave it out"),
    "disable_tqdm": ("textkd has a progress bar of its own", "leave it out; without a terminal there is no bar"),
    "local_rank": ("the launcher says it, in the environment", "leave it out, and start with torchrun"),
}


def idle(name: str, value: Any, whole: Whole) -> Problem | None:
    """What is wrong with an argument that nothing reads beside the others.

    Args:
        name: of the argument.
        value: as it was given.
        whole: all arguments of the training, with this one.

    Returns:
        None where it is read, or says no more than the default.

    Example:
        >>> idle("save_steps", 50, {"save_steps": 50, "save_strategy": "epoch"}).found
        'it is read only beside save_strategy: steps'
        >>> idle("save_steps", 50, {"save_steps": 50, "save_strategy": "steps"})
    """
    if is_default(name, value):
        return None
    if name in UNREAD:
        what, fix = UNREAD[name]
        return problem(f"{name}: {value!r}", what, fix=fix, where=name)
    other, is_read = BESIDE.get(name, ("", None))
    if is_read is None or is_read(whole):
        return None
    what = f"it is read only beside {other}"
    return problem(f"{name}: {value!r}", what, fix=f"{take_out(name)}, or give {other}", where=name)
