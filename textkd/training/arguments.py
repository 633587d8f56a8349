"""TrainingArguments as a recipe gives them: textkd's defaults, and what is wrong with the values, seeds and steps.
TrainingArguments itself does not look at types, and finds out in the middle of a run."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import TrainingArguments

from textkd.errors import Problem, TextkdError, fail, is_own_defect, is_secret, problem
from textkd.models.files import at_home
from textkd.training import refusals
from textkd.training.argument_values import LARGEST_SEED, OWN, value_problems
from textkd.training.environment import kept_environment
from textkd.training.tried_arguments import try_parts

# textkd's own defaults; everything else is transformers'
DEFAULTS: dict[str, Any] = {
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 1,
    "logging_steps": 20,
    "train_sampling_strategy": "group_by_length",
    "per_device_eval_batch_size": 64,
}
# textkd decides these, because another value would be ignored or would break what it promises
RESERVED: dict[str, Any] = {
    "remove_unused_columns": False,  # columns go by each model's signature
    "label_names": ["labels"],
    "length_column_name": "length",
    "label_smoothing_factor": 0.0,  # Trainer's own loss is not used
    "logging_nan_inf_filter": False,  # a loss that is not finite stops the run
    "save_only_model": False,  # a killed run resumes
    "resume_from_checkpoint": None,  # by itself
    "restore_callback_states_from_checkpoint": False,
    "prediction_loss_only": False,  # the report needs metrics
    "batch_eval_metrics": False,
    "eval_do_concat_batches": True,  # metrics are of all rows at once
}
# what to give in their place
INSTEAD = {
    "label_smoothing_factor": "leave it out; options: {label_smoothing: 0.1} of the match of labels does it",
    "resume_from_checkpoint": "leave it out; the same command goes on by itself",
}


def check_arguments(
    training: Mapping[str, Any],
    metrics: Collection[str] = (),
    owned: Collection[str] = (),
    wrong: Collection[str] = (),
    base: Mapping[str, Any] = MappingProxyType({}),
) -> list[Problem]:
    """What is wrong with a `training:` block: names that TrainingArguments lacks, that textkd sets itself or that
    belong to the whole run (`owned`), values it refuses, a best model by something that is none of `metrics`. wrong:
    arguments that are left out because their values are bad: what is said of them is no news. base: what a training
    has beside these, under which they are tried."""
    known = {f.name for f in fields(TrainingArguments) if f.init} | set(OWN)
    problems = []
    for name in training:
        if name in owned:
            problems.append(problem(f"{name}: {training[name]}", "it belongs to the whole run", where=name,
                                    fix="give it in the recipe's own training block"))  # fmt: skip
        elif name in RESERVED:
            problems.append(
                problem(
                    f"{name}: {training[name]}",
                    "textkd sets this itself",
                    where=name,
                    fix=INSTEAD.get(name, "leave it out"),
                )
            )
        elif name not in known:
            problems.append(problem(name, "TrainingArguments has no such argument", near=(name, known), where=name,
                                    fix="a name of transformers.TrainingArguments"))  # fmt: skip
    problems += _metric_problem(training.get("metric_for_best_model"), metrics)
    known_bad = {p.where for p in problems}
    good = {name: value for name, value in training.items() if name not in known_bad}
    return problems + _refused(good, {*wrong, *known_bad, *(name for p in problems for name in p.nearest)}, base)


def _refused(training: Mapping[str, Any], wrong: Collection[str], base: Mapping[str, Any]) -> list[Problem]:
    """What TrainingArguments, or Trainer at its begin, refuses, at the values that it is about: those without which all
    is well; where there are several faults, each value that is refused beside those that are fine. wrong: what is
    told already and left out here, or perhaps meant: what is said of it follows from that. base: stands under them;
    what is wrong with it by itself is told elsewhere, and then they are tried without it."""
    if base and _error_of(base) is not None:
        base = {}
    whole = _error_of({**base, **training})
    if whole is None:
        return []
    found = list[Problem]()
    if not wrong:
        without = {name: {other: training[other] for other in training if other != name} for name in training}
        guilty = [name for name, rest in without.items() if _error_of({**base, **rest}) is None]
        found = [_at(p, name, training[name]) for name in guilty for p in whole.problems]
    if not found:
        alone = [name for name in training if _error_of({**base, name: training[name]}) is not None]
        fine = {name: value for name, value in training.items() if name not in alone}
        errors = {name: _error_of({**base, **fine, name: training[name]}) for name in alone}
        found = [_at(p, name, training[name]) for name, error in errors.items() if error for p in error.problems]
    if wrong:
        return [p for p in found if not set(wrong) & (set(re.findall(r"\w+", p.found)) - {p.where})]
    return found or list(whole.problems)


def _error_of(training: Mapping[str, Any]) -> TextkdError | None:
    """What is wrong with arguments that are made and tried, without any trace of it."""
    try:
        with kept_environment():
            try_parts(make_arguments(training, "unused"))
    except TextkdError as error:
        return error
    except Exception as error:  # of whatever library makes the part
        if is_own_defect(error):
            raise
        return _told(error)
    return None


def _told(error: Exception) -> TextkdError:
    said, fix = refusals.told(error)
    return fail("the arguments of a training", said, fix=fix)


def _at(wrong: Problem, name: str, value: Any) -> Problem:
    """A problem at the argument that it is about; of the values that it may have, the nearest."""
    asked, (said, _, listed) = f"{name}: {value!r}", wrong.found.partition("please select one of")
    known = re.findall(r"'([^']+)'", listed)
    if not known:
        return replace(wrong, asked=asked, where=name)
    return problem(asked, said.strip(" ,"), near=(str(value), known), fix=f"one of {', '.join(known)}", where=name)


def _metric_problem(name: Any, metrics: Collection[str]) -> list[Problem]:
    known = [*metrics, "loss"]
    if name is None or not metrics or str(name).removeprefix("eval_") in known:
        return []
    return [problem(f"metric_for_best_model: {name}", "the task has no such metric", near=(str(name), known),
                    where="metric_for_best_model", fix=f"one of {', '.join(known)}")]  # fmt: skip


class _Arguments(TrainingArguments):  # type: ignore[misc]
    """TrainingArguments whose pickle, which Trainer writes beside weights and pushes to the hub, holds no secret."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        plain = object.__new__(TrainingArguments)
        vars(plain).update({name: None if is_secret(name) else value for name, value in vars(self).items()})
        return plain.__reduce_ex__(1)  # later protocols refuse to pickle one class as another


def make_arguments(training: Mapping[str, Any], output_dir: str | Path, **forced: Any) -> TrainingArguments:
    """TrainingArguments with textkd's defaults under the user's `training`; `forced` wins over both."""
    given = {name: _at_home(value) for name, value in training.items() if name not in OWN}
    values = {**DEFAULTS, **given, **RESERVED, **forced, "output_dir": str(output_dir)}
    values.setdefault("dataloader_pin_memory", torch.cuda.is_available())
    values.setdefault("use_cpu", not torch.accelerator.is_available())  # bf16 on a CPU has to be asked for like this
    if values.get("bf16") == "auto":
        values["bf16"] = has_bf16()
    try:
        return _Arguments(**values)
    except (ValueError, TypeError, ImportError) as error:
        raise _told(error) from error


def _at_home(value: Any) -> Any:
    """Some arguments name files, such as `deepspeed`."""
    return str(at_home(value)) if isinstance(value, str) and value.startswith("~") else value


CPUINFO = Path("/proc/cpuinfo")


def has_bf16() -> bool:
    """Whether this machine computes bf16 faster than float32: a GPU that knows it, a CPU with AMX, ARM's bf16, or AMD's
    avx512_bf16. Intel's avx512_bf16 without AMX took twice float32's time (docs/decisions/010)."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    words = set(CPUINFO.read_text().split()) if CPUINFO.is_file() else set()
    return bool(words & {"amx_bf16", "bf16"}) or {"AuthenticAMD", "avx512_bf16"} <= words


def argument_problems(
    training: Mapping[str, Any], metrics: Collection[str] = (), owned: Collection[str] = (),
    base: Mapping[str, Any] = MappingProxyType({}),
) -> list[Problem]:  # fmt: skip
    """Every problem of a block of TrainingArguments: unknown names, wrong types, numbers out of range, and what this
    machine cannot do. metrics, owned, base: as in `check_arguments`. `where` is the name of the argument."""
    if not isinstance(training, Mapping):
        return [problem(f"training {training!r}", "not a block of arguments", fix="as {num_train_epochs: 3}")]
    bad = [p for name, value in training.items() if name not in owned
           for p in value_problems(str(name), value)]  # fmt: skip
    wrong = {p.where for p in bad}
    good = {name: value for name, value in training.items() if name not in wrong}
    return [*bad, *check_arguments(good, metrics, owned, wrong, base)]


def given_arguments(args: TrainingArguments | Mapping[str, Any] | None) -> dict[str, Any]:
    """Those arguments that somebody gave: of TrainingArguments the ones that differ from its defaults. It writes the
    loss as the best model's metric where nobody named one: that is no given argument (in a dict it is). Its default
    `save_strategy: steps` is given where something else that is given goes with it, for textkd's is another."""
    if args is None or isinstance(args, Mapping):
        return dict(args or {})
    plain = TrainingArguments(output_dir=args.output_dir)
    names = [f.name for f in fields(TrainingArguments) if f.init]
    if args.eval_strategy != "no":
        names.remove("do_eval")  # follows from it
    if args.metric_for_best_model == "loss" and not args.greater_is_better:
        names = [n for n in names if n not in ("metric_for_best_model", "greater_is_better")]
    elif args.greater_is_better == (not str(args.metric_for_best_model).endswith("loss")):
        names.remove("greater_is_better")  # its guess, which takes every other metric for one that rises
    found = {n: getattr(args, n) for n in names if n == "output_dir" or getattr(args, n) != getattr(plain, n)}
    chooses = args.load_best_model_at_end and args.eval_strategy == args.save_strategy
    if args.save_strategy == "steps" and ("save_steps" in found or chooses):
        found["save_strategy"] = args.save_strategy
    return found


def seed_problems(seeds: Sequence[Any]) -> list[Problem]:
    if not seeds:
        return [problem("seeds: []", "no seed, so nothing would run", fix="seeds: [1, 2, 3]", where="seeds")]
    bad = [s for s in seeds if type(s) is not int or not 0 <= s <= LARGEST_SEED]
    twice = sorted({s for s in seeds if s not in bad and list(seeds).count(s) > 1})
    problems = []
    if bad:
        what = f"{', '.join(map(repr, bad))} is not a whole number from 0 to {LARGEST_SEED}"
        problems.append(problem(f"seeds: {list(seeds)}", what, fix="seeds: [1, 2, 3]", where="seeds"))
    if twice:
        what = f"{', '.join(map(str, twice))} more than once: the same run would count twice"
        problems.append(problem(f"seeds: {list(seeds)}", what, fix="name each seed once", where="seeds"))
    return problems


# a control with other steps or another order of data would not be the student's control
STEPS = (
    "num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "seed", "data_seed",
    "train_sampling_strategy", "output_dir", "auto_find_batch_size", "dataloader_drop_last",
)  # fmt: skip


def step_problems(control: Mapping[str, Any]) -> list[Problem]:
    fix = "leave it out; a learning_rate of its own is fine"
    return [
        problem(
            f"{name}: {value}",
            "the control has the same steps and the same order of data as the student",
            fix=fix,
            where=name,
        )
        for name, value in control.items()
        if name in STEPS
    ]
