"""Arguments that TrainingArguments takes and Trainer stumbles over at its begin, or in the middle of a run."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_lab import Tiny
from transformers import TrainingArguments
from transformers.utils import is_torch_tf32_available

from textkd.config import build
from textkd.config.recipe_file import parse
from textkd.errors import TextkdError
from textkd.training import fsdp, stages
from textkd.training.argument_values import value_problems
from textkd.training.arguments import argument_problems, given_arguments
from textkd.training.read_beside import BESIDE, take_out
from textkd.training.unread_arguments import OF_PARTS, OF_WORDS, unread_problems

WRONG: dict[str, tuple[dict[str, Any], str, str]] = {  # arguments, where, words of the message
    "a misspelt report": ({"report_to": "wandbb"}, "report_to", "wandb"),
    "a report that is not installed": ({"report_to": "comet_ml"}, "report_to", "install"),
    "an optimizer that is not installed": ({"optim": "lomo"}, "optim", "lomo"),
    "another": ({"optim": "galore_adamw"}, "optim", "galore"),
    "a third": ({"optim": "adamw_bnb_8bit"}, "optim", "bitsandbytes"),
    "a misspelt optimizer": ({"optim": "adamw_torc"}, "optim", "nearest: adamw_torch"),
    "a schedule that needs more": ({"lr_scheduler_type": "cosine_with_min_lr"}, "lr_scheduler_type", "min_lr"),
    "words that the schedule lacks": ({"lr_scheduler_kwargs": {"foo": 1}}, "lr_scheduler_kwargs", "foo"),
    "an end above the begin": (
        {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"lr_end": 1.0}}, "lr_scheduler_kwargs", "lr_end",
    ),
    "kernels that are not there": ({"use_liger_kernel": True}, "use_liger_kernel", "pip install"),
    "a beta above 1": ({"adam_beta1": 2.0}, "adam_beta1", "2.0"),
    "no words for the optimizer": ({"optim_args": "rank"}, "optim_args", "KEY=VALUE"),
    "schedules without a word that they need": (
        {"lr_scheduler_type": "warmup_stable_decay"}, "lr_scheduler_type", "fix: give it: lr_scheduler_kwargs",
    ),
    "numbers in quotes inside a block": (
        {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"power": "2"}}, "lr_scheduler_kwargs",
        "power: 2 is written without quotes",
    ),
    "a strategy that is no word": ({"eval_strategy": False}, "eval_strategy", "one of 'no', 'steps', 'epoch'"),
    "no such compiler": ({"torch_compile": True, "torch_compile_backend": "nope"}, "torch_compile_backend", "inductor"),
    "too many processes": ({"dataloader_num_workers": 100_000}, "dataloader_num_workers", "1024"),
    "processes that stay, without any": (
        {"dataloader_persistent_workers": True}, "dataloader_persistent_workers", "num_workers > 0",
    ),
    "no such way to start processes": (
        {"dataloader_num_workers": 1, "dataloader_multiprocessing_context": "nope"},
        "dataloader_multiprocessing_context", "spawn",
    ),
    "a way to start processes, without any": (
        {"dataloader_multiprocessing_context": "fork"}, "dataloader_multiprocessing_context", "num_workers > 0",
    ),
    "no batch ahead": (
        {"dataloader_num_workers": 1, "dataloader_prefetch_factor": 0}, "dataloader_prefetch_factor", "of 1 or more",
    ),
    "no such way to compile": ({"torch_compile_mode": "max-autotun"}, "torch_compile_mode", "nearest: max-autotune"),
    "activations that are recomputed with a gradient lost": (
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
        "gradient_checkpointing_kwargs", "use_reentrant: false",
    ),
    "words that recomputing lacks": (
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False, "x": 1}},
        "gradient_checkpointing_kwargs", "x",
    ),
    "batches that stay apart": ({"eval_do_concat_batches": False}, "eval_do_concat_batches", "textkd sets this itself"),
    "shards of one process": ({"fsdp": "full_shard"}, "fsdp", "torchrun"),
    "a misspelt level": ({"log_level": "warnin"}, "log_level", "nearest: warning"),
    "a tool that masks stop": ({"debug": "underflow_overflow"}, "debug", "stops a run by itself"),
    "no steps to add up": ({"eval_accumulation_steps": 0}, "eval_accumulation_steps", "of 1 or more"),
    "less than no noise": ({"neftune_noise_alpha": -1}, "neftune_noise_alpha", "of 0 or more"),
    "lengths of another column": ({"length_column_name": "size"}, "length_column_name", "textkd sets this itself"),
    "a backend that is not there": ({"ddp_backend": "glo"}, "ddp_backend", "nearest: gloo"),
    "no time at all": ({"ddp_timeout": -1}, "ddp_timeout", "of 1 or more"),
    "no checkpoint": ({"save_total_limit": 0}, "save_total_limit", "of 1 or more"),
    "less than no steps": ({"max_steps": -5}, "max_steps", "of -1 or more"),
    "the hub, offline": ({"push_to_hub": True}, "push_to_hub", "HF_HUB_OFFLINE"),
}  # fmt: skip

if not torch.accelerator.is_available():
    WRONG["a backend of one process"] = ({"ddp_backend": "gloo"}, "ddp_backend", "torchrun")
if not is_torch_tf32_available():
    WRONG["numbers that no GPU here has"] = ({"tf32": True}, "tf32", "computes in TF32")


@pytest.mark.long
@pytest.mark.parametrize("what", WRONG)
def test_it_is_refused_before_a_run(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    training, where, words = WRONG[what]
    (found,) = argument_problems({"num_train_epochs": 2, **training})
    assert found.where == where
    assert words in str(found)


@pytest.mark.parametrize(
    ("words", "told"), [({"use_reentrant": True}, "lose their gradient"), ({"foo": 1}, "lose their gradient"),
                        ({"use_reentrant": False, "foo": 1}, "'foo'")],
)  # fmt: skip
def test_recomputing_that_fails_in_a_step_is_refused(words: dict[str, Any], told: str) -> None:
    found = argument_problems({"gradient_checkpointing": True, "gradient_checkpointing_kwargs": words})
    assert "gradient_checkpointing_kwargs" in {p.where for p in found}
    assert all(told in str(p) for p in found)


POWER = {"lr_scheduler_kwargs": {"power": 2.0}}
UNDER: list[tuple[dict[str, Any], dict[str, Any], set[str]]] = [  # of the recipe, of a stage or a control, the places
    ({"lr_scheduler_type": "polynomial", **POWER}, {"lr_scheduler_type": "linear"}, {"lr_scheduler_type"}),
    ({"lr_scheduler_type": "polynomial"}, POWER, set()),
    ({"load_best_model_at_end": True}, {"save_strategy": "steps", "save_steps": 2}, {"save_strategy"}),
    ({"optim": "nope"}, {"adam_beta1": 2.0}, {"adam_beta1"}),
]


@pytest.mark.parametrize(("base", "own", "places"), UNDER)
def test_arguments_are_tried_beside_those_that_stand_under_them(
    base: dict[str, Any], own: dict[str, Any], places: set[str]
) -> None:
    assert {p.where for p in argument_problems(own, base=base)} == places


@pytest.mark.long
@pytest.mark.parametrize("where", ["stages[1].training", "control"])
def test_a_stage_and_a_control_are_tried_with_the_arguments_of_the_recipe(tiny: Tiny, where: str) -> None:
    values = tiny.recipe
    values["training"] |= {"lr_scheduler_type": "polynomial"}
    for own, wrong in ((POWER, False), ({"lr_scheduler_kwargs": {"foo": 1}}, True)):
        if where == "control":
            values["control"] = own
        else:
            matches = [{"tap": "labels"}]
            values["stages"] = [{"matches": matches}, {"matches": matches, "training": own}]
            values.pop("matches", None)
        made = build.from_recipe(tiny.write(values))
        if not wrong:
            made.check()
            continue
        with pytest.raises(TextkdError) as caught:
            made.check()
        assert [p.where for p in caught.value.problems] == [f"{where}.lr_scheduler_kwargs"]


def test_two_faults_are_told_at_once() -> None:
    found = argument_problems({"adam_beta1": 2.0, "report_to": "wandbb", "learning_rate": 1e-3})
    assert {p.where for p in found} == {"adam_beta1", "report_to"}


COSINE = {"lr_scheduler_type": "cosine_with_min_lr"}
FOLLOW: dict[str, tuple[dict[str, Any], set[str]]] = {  # arguments, the places that are told
    "what it needs has a wrong type": ({**COSINE, "lr_scheduler_kwargs": 5}, {"lr_scheduler_kwargs"}),
    "what it needs is misspelt": ({**COSINE, "lr_scheduler_kwarg": {"min_lr": 0.1}}, {"lr_scheduler_kwarg"}),
    "another one has a wrong type": ({**COSINE, "learning_rate": "x"}, {"lr_scheduler_type", "learning_rate"}),
    "what it needs is there": (
        {"save_strategy": "best", "metric_for_best_model": "accuracy", "learning_rat": 1}, {"learning_rat"},
    ),
    "steps that would fit": (
        {"load_best_model_at_end": True, "save_strategy": "steps", "save_steps": 7, "eval_strategy": "steps",
         "eval_steps": "7"}, {"eval_steps"},
    ),
    "beside what has nothing to do with it": ({"adam_beta1": 2.0, "seed": "x"}, {"adam_beta1", "seed"}),
}  # fmt: skip


@pytest.mark.parametrize("what", FOLLOW)
def test_what_follows_from_a_bad_value_is_not_told(what: str) -> None:
    training, places = FOLLOW[what]
    assert {p.where for p in argument_problems(training)} == places


def test_no_trace_is_left() -> None:
    before = dict(os.environ)
    argument_problems({"torch_compile": True, "torch_compile_backend": "eager", "adam_beta1": 2.0})
    argument_problems({"fsdp": "full_shard"})
    assert dict(os.environ) == before


def test_a_training_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Accelerate writes there for one training would turn the next one into one in shards."""
    monkeypatch.setenv("FSDP_VERSION", "2")  # as a launcher

    def shards(self: stages._Run) -> Any:
        os.environ.update(ACCELERATE_USE_FSDP="true", FSDP_VERSION="1", FSDP_CPU_RAM_EFFICIENT_LOADING="False")
        assert fsdp.asked()
        raise ValueError("Using fsdp only works in distributed training.")

    monkeypatch.setattr(stages._Run, "_training", shards)
    before = dict(os.environ)
    run = stages._Run(Path("unused"), 1, {}, {}, stages.Stage([]), None, {}, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="only works in distributed"):
        run.train("student")
    assert dict(os.environ) == before
    assert not fsdp.asked()


@pytest.mark.parametrize(
    "training",
    [
        {"optim": "adafactor"}, {"optim": "sgd"}, {"optim": "rmsprop"},
        {"lr_scheduler_type": "cosine", "warmup_steps": 3},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"every_n_layers": 2}},
        {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": False}},
        {"lr_scheduler_type": "constant"}, {"adam_beta1": 0.5, "adam_epsilon": 1e-6}, {"report_to": "none"},
    ],
)  # fmt: skip
def test_what_works_is_taken(training: dict[str, Any]) -> None:
    assert argument_problems(training) == []


CONSTANT = {"lr_scheduler_type": "constant"}
SGD, STABLE = {"optim": "sgd"}, {"lr_scheduler_type": "warmup_stable_decay"}
UNREAD: list[tuple[dict[str, Any], list[str]]] = [  # arguments, what is told of them
    ({**CONSTANT, "warmup_steps": 3}, ["warmup_steps: 3"]),
    ({**CONSTANT, "warmup_steps": 0}, []),
    ({**CONSTANT, "warmup_steps": 3, "bf16": "x", "eval_steps": "y", "log_level": 5, "eval_strategy": "steps"},
     ["warmup_steps: 3"]),  # beside values that are told elsewhere
    ({**CONSTANT, "lr_scheduler_kwargs": {"power": 2, "a": 1}},
     ["lr_scheduler_kwargs: {power: 2}", "lr_scheduler_kwargs: {a: 1}"]),
    ({**STABLE, "lr_scheduler_kwargs": {"num_decay_steps": 5, "num_cycles": 0.7, "decay_type": "linear"}},
     ["lr_scheduler_kwargs: {num_cycles: 0.7}"]),
    ({**STABLE, "lr_scheduler_kwargs": {"num_decay_steps": 5, "num_cycles": 0.7, "decay_type": "cosine"}}, []),
    ({"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"num_cycles": 0.5}}, []),  # the default of a word
    ({"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": '{"power": 1}'}, []),
    ({"lr_scheduler_type": "reduce_lr_on_plateau", "warmup_steps": 3, "lr_scheduler_kwargs": {"patience": 10}},
     ["warmup_steps: 3"]),
    ({"lr_scheduler_type": "inverse_sqrt", "warmup_steps": 2000}, []),
    ({"optim_args": "rank=3"}, ["optim_args: rank=3"]),
    ({**SGD, "optim_args": "momentum=0.0,nesterov=false,weight_decay=1"}, ["optim_args: weight_decay=1"]),
    ({**SGD, "adam_beta1": 0.5, "adam_beta2": 0.5, "weight_decay": 0.1}, ["adam_beta1: 0.5", "adam_beta2: 0.5"]),
    ({**SGD, "adam_beta1": 0.9}, []),
    ({**SGD, "optim_args": "", "lr_scheduler_kwargs": {}, "gradient_checkpointing_kwargs": {}, "fsdp_config": {}}, []),
    ({"optim": "adafactor", "adam_epsilon": 0.5}, ["adam_epsilon: 0.5"]),
    ({"optim_target_modules": ["layer"]}, ["optim_target_modules: ['layer']"]),
    ({"save_steps": 5}, ["save_steps: 5"]),  # textkd saves at the ends of epochs
    ({"logging_strategy": "epoch", "logging_steps": 5, "eval_strategy": "steps"}, []),  # where eval_steps is not given
    ({"report_to": [["x"]], "run_name": "a"}, ["run_name: 'a'"]),
]  # fmt: skip


@pytest.mark.parametrize(("training", "asked"), UNREAD)
def test_what_changes_nothing_is_told(training: dict[str, Any], asked: list[str]) -> None:
    assert [one.asked for one in unread_problems(training, [training])] == asked


def test_what_is_as_good_as_leaving_it_out_is_taken() -> None:
    """Beside an override, as `training.save_strategy=no` of a recipe with save_steps."""
    for training in ({**CONSTANT, "warmup_steps": 3}, {"save_steps": 5}, {"eval_steps": 5}, {"run_name": "a"}):
        (told,) = unread_problems(training, [training])
        offered = re.search(r"\((\w+)=(\S+) is as good\)", told.fix)
        assert offered is not None
        whole = {**training, offered[1]: parse(offered[2])}
        assert unread_problems(whole, [whole]) == []
    for name in (*BESIDE, *OF_PARTS, *OF_WORDS):
        if name != "warmup_ratio":  # of older versions
            offered = re.search(r"=(\S+) is", take_out(name))
            assert offered is not None
            assert value_problems(name, parse(offered[1])) == [], name


def test_a_value_that_one_training_of_several_reads_is_taken() -> None:
    block = {**CONSTANT, "warmup_steps": 3}
    assert unread_problems(block, [block, {**block, "lr_scheduler_type": "linear"}]) == []
    assert unread_problems(block, [{**block, "warmup_steps": 4}]) == []  # overridden: nothing is known of it
    assert len(unread_problems(block, [block, {**block, "warmup_steps": 4, "lr_scheduler_type": "linear"}])) == 1
    assert unread_problems(block, [{**block, "optim": "nope"}]) == []  # told elsewhere


def test_what_transformers_concludes_itself_is_not_told() -> None:
    more: dict[str, Any]
    for more in ({}, {"save_strategy": "steps", "save_steps": 5}, {"load_best_model_at_end": True}):
        made = TrainingArguments("unused", eval_strategy="steps", torch_compile=False, use_cpu=True, **more)
        given = given_arguments(made)
        assert unread_problems(given, [given]) == []
        assert argument_problems(given) == []
