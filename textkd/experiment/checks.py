"""What is wrong with an experiment before anything is trained or written: all of it in one error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textkd.deploy.to_onnx import refuse
from textkd.errors import Problem, TextkdError, problem
from textkd.experiment import (
    fingerprint,
    grid_checks,
    idle_arguments,
    int8_checks,
    model_checks,
    padding,
    training_checks,
    unread,
)
from textkd.experiment.collect_results import Bound
from textkd.experiment.look import Look
from textkd.experiment.plan import Arguments
from textkd.experiment.setup import Setup
from textkd.models import processes
from textkd.models.files import place_problems
from textkd.teachers.cache import AUGMENTED
from textkd.teachers.generation import words
from textkd.teachers.generation.pseudo_labels import target_problems
from textkd.training.arguments import argument_problems, seed_problems, step_problems
from textkd.training.fsdp import launch_problems


def check(setup: Setup, known: Sequence[Problem] = ()) -> list[Bound]:
    """Looks at all parts of an experiment.

    Args:
        known: problems found before; what they concern is not looked at again. Where a part is bad, the others are
            looked at without it (matches by their words, or on made-up rows).

    Returns:
        The pairs of every stage of the trainings that compare models.

    Raises:
        TextkdError: everything that is wrong, at once.
    """
    if problems := [*processes.launch_problems(), *launch_problems()]:
        raise TextkdError(*problems)  # at once: the models would be loaded wrongly
    if problems := setup.experiment.problems():
        raise TextkdError(*problems)
    look = Look(setup, known)
    models = (model_checks.teachers, model_checks.students, padding.check, grid_checks.check)
    for part in (_settings, _task, _caches, _pseudo, *models, _artifacts):
        part(look)
    bound = training_checks.trainings(look)
    int8_checks.check(look, bound)
    look.found.add(*unread.problems(look, bound), *idle_arguments.problems(look))
    _folder(look)
    look.found.raise_any()
    return bound


def _settings(look: Look) -> None:
    if look.setup.is_doubled:
        fix = "give one of the two, or put the matches into the stages"
        look.found.add(problem("matches and stages", "both are given", fix=fix, where="matches"))
    look.found.add(*seed_problems(look.experiment.seeds))
    blocks = dict[str, tuple[Arguments, tuple[str, ...], list[dict[str, Any]]]]()
    for training in look.experiment.trainings:
        blocks[training.base.where] = (training.base, ("output_dir",) if training.kept is not None else (), [{}])
        if training.own.values:  # of the control both are told with its steps
            of_run = () if training.own.where == "control" else ("seed", "output_dir")
            under = [{**training.base.values, **stage.training} for stage in training.stages]
            blocks[training.own.where] = (training.own, of_run, under)
    for where, (block, owned, under) in blocks.items():
        with look.found.collecting(where):
            told = (argument_problems(block.values, look.metrics, owned, base) for base in under)
            look.found.add(*next(filter(None, told), []), *_control_problems(block))


def _task(look: Look) -> None:
    if look.task is not None:
        with look.found.collecting("task"):
            look.task.problems()


def _caches(look: Look) -> None:
    for spec in look.experiment.models.values():
        if spec.cache is not None and look.task is not None and look.task.augments:
            look.found.add(AUGMENTED)
        if spec.cache is not None and spec.live.sharded:
            what = "the processes fill the cache each at its own pace, and shards want all of them at once"
            fix = "cache: false, or sharded: false: with a cache the teacher runs over the data once"
            look.found.add(problem("a cache of a sharded teacher", what, fix=fix, where=f"{spec.where}.sharded"))


def _artifacts(look: Look) -> None:
    """Whether what is to be shipped can be exported: it would be seen after the training else."""
    for number, one in enumerate(look.experiment.artifacts):
        if one.of in look.loaded and look.tokenizer is not None:
            with look.found.collecting(f"artifacts[{number}]"):
                refuse(look.loaded[one.of], look.tokenizer, f"{one.of} as {one.format}")


def _pseudo(look: Look) -> None:
    readers = [spec for spec in look.experiment.models.values() if spec.is_black_box]
    if readers and look.task is not None and not look.task.output.writes:
        what = f"the answers of the task {look.task.name} are no texts, and it gives nothing else"
        look.found.add(problem("a black box as teacher", what, fix="a teacher that is a model: path: FOLDER",
                               where=readers[0].where))  # fmt: skip
        readers = []
    if look.setup.pseudo is None:
        if readers:
            look.found.add(words.missing())
    elif look.task is not None:
        tuned = any(training.where.endswith("finetune") for training in look.experiment.trainings)
        control = bool(look.experiment.report.control)
        with look.found.collecting():
            look.found.add(*target_problems(look.setup.pseudo, look.setup.targets, look.task, control, tuned,
                                            look.bad("task")))  # fmt: skip


def _folder(look: Look) -> None:
    folder = look.setup.folder
    if wrong := place_problems(folder.path, "training.output_dir"):
        look.found.add(*wrong)
    else:
        _kept(look)
        with look.found.collecting():
            if not (folder.path / "run.json").is_file():
                folder.check("")
            elif not look.found.problems and not look.places:  # else it may well be this recipe's, once mended
                made, told = fingerprint.fingerprint(look.setup), fingerprint.told(look.setup)
                folder.check(made, fingerprint.inputs(look.setup), look.experiment.name, told)


def _kept(look: Look) -> None:
    """Where teachers and caches are kept beside the run folder; places that the recipe names are told with their
    block."""
    first = look.experiment.models[look.setup.teachers[0]].where if look.setup.teachers else "teacher"
    kept = [(one.kept, one.where.removesuffix(".finetune") if one.where.endswith(".finetune") else first)
            for one in look.experiment.trainings if one.kept]  # fmt: skip
    kept += [(Path(spec.cache.folder), spec.where) for spec in look.experiment.models.values()
             if spec.cache is not None and spec.cache.folder]  # fmt: skip
    for place, where in dict(kept).items():
        if not look.bad_any(f"{where}.keep", f"{where}.cache"):
            look.found.add(*place_problems(place, f"{where}.keep"))


def _control_problems(block: Arguments) -> list[Problem]:
    """A control makes the steps of its student."""
    return step_problems(block.values) if block.where == "control" else []
