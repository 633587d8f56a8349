"""What a recipe says in a few words, as a graph: a teacher and a student, several teachers, a chain, a cohort
(pruning is in `pruned.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from textkd.errors import Problem, TextkdError, problem
from textkd.experiment import about
from textkd.experiment.finetune import Finetune, without_teacher
from textkd.experiment.names import name_problems
from textkd.experiment.plan import Arguments, Compared, Experiment, ModelSpec, Source, Training
from textkd.objective.match import Match
from textkd.tasks import Task
from textkd.teachers import CacheOptions, LiveOptions
from textkd.teachers.generation.pseudo_labels import Targets
from textkd.training.stages import Stage
from textkd.training.trainer import TOGETHER

TEACHER, STUDENT, CONTROL, COHORT = "teacher", "student", "control", "cohort"
TAKEN = {CONTROL: "the report keeps this name for the student that is trained without a teacher"}
MOST_ROUNDS = 20  # of a pruning
_ROUNDS = [f"{name}_{number}" for name in ("round", CONTROL) for number in range(MOST_ROUNDS + 1)]
# names that no teacher can have
TAKEN_OF = {
    STUDENT: {**TAKEN, STUDENT: "the report keeps this name for the student"},
    "chain": TAKEN,
    "prune": {**TAKEN, **dict.fromkeys((STUDENT, *_ROUNDS), "a round of the pruning is called so")},
    COHORT: {**TAKEN, COHORT: "the training of the cohort is called so"},
}


@dataclass(frozen=True)
class Teacher:
    """A teacher of a recipe: where it comes from, how it is trained first, how it is read."""

    source: Source
    finetune: Finetune | None = None
    is_black_box: bool = False
    cache: CacheOptions | None = None
    live: LiveOptions = field(default_factory=LiveOptions)
    where: str = TEACHER


@dataclass(frozen=True)
class Common:
    """What all shorthands take.

    Args:
        name: of the experiment.
        task: what is learnt; None where it is wrong, which is told elsewhere.
        training: arguments of all trainings of this run but those of teachers.
        stages: the matches of the student.
        has_stages: the recipe writes stages, not matches.
        control: also train the same student without a teacher; a mapping gives it arguments of its own.
        seeds: one run each.
        recipe: the text that all is made of, "" without one.
    """

    name: str
    task: Task | None
    training: Mapping[str, Any]
    stages: tuple[Stage, ...]
    has_stages: bool = False
    control: bool | Mapping[str, Any] = True
    seeds: tuple[int, ...] = (42,)
    recipe: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Link:
    """One student of a chain; `stages` None: the recipe's."""

    name: str
    source: Callable[[str], Source]  # of the name of the model that it is made from
    stages: tuple[Stage, ...] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    has_stages: bool = False  # they are written as stages, not as matches


def classic(
    common: Common,
    teachers: Mapping[str, Teacher],
    student: Source,
    *,
    targets: Targets | None = None,
    share_encoder: bool = False,
) -> Experiment:
    """One student of one teacher, or of several; beside it the same student without a teacher.

    Args:
        teachers: by name, the first of them is the one that the report compares with.
        student: where the student and its control come from.
        targets: what a teacher writes in place of the task's own labels.
        share_encoder: the student's encoder is the teacher's, and frozen.

    Raises:
        TextkdError: a teacher named as the student or the control.
    """
    refuse(teacher_problems(teachers, STUDENT))
    models, trainings = with_teachers(teachers, None if targets is None else targets.pseudo.change)
    first = next(iter(teachers))
    taught = Training(
        STUDENT, (STUDENT,), common.stages, tuple(teachers), Arguments(common.training), targets=targets,
        share_encoder=share_encoder, has_stages=common.has_stages,
    )  # fmt: skip
    models[STUDENT] = ModelSpec(STUDENT, student, about.student(taught), STUDENT)
    trainings.append(taught)
    add_control(common, taught, models, trainings)
    return experiment_of(common, models, trainings, Compared((), STUDENT, first))


def chain(common: Common, teachers: Mapping[str, Teacher], links: Sequence[Link], keep: Path) -> Experiment:
    """Teacher assistants: each link is taught by the one before, and made from it (Mirzadeh et al. 2019,
    arXiv:1902.03393). All links but the last are kept for other runs.

    Raises:
        TextkdError: no link, a name twice, a link named as a teacher.
    """
    refuse([*teacher_problems(teachers, "chain"), *link_problems([link.name for link in links], list(teachers))])
    models, trainings = with_teachers(teachers)
    before = next(iter(teachers))
    first = before
    for number, link in enumerate(links):
        is_last = number == len(links) - 1
        stages = common.stages if link.stages is None else link.stages
        where = "" if link.stages is None else f"chain[{number}]"
        made = Training(
            link.name, (link.name,), stages, (before,), Arguments(common.training),
            Arguments(link.training, f"chain[{number}].training"), kept=None if is_last else keep,
            where=where, has_stages=common.has_stages if link.stages is None else link.has_stages,
        )  # fmt: skip
        models[link.name] = ModelSpec(link.name, link.source(before), about.link(before), f"chain[{number}].student")
        trainings.append(made)
        before = link.name
    add_control(common, trainings[-1], models, trainings)
    return experiment_of(common, models, trainings, Compared((), before, first))


def cohort(
    common: Common,
    students: Mapping[str, Source],
    update: str = TOGETHER,
    teachers: Mapping[str, Teacher] | None = None,
    places: Mapping[str, str] = MappingProxyType({}),
) -> Experiment:
    """Deep mutual learning: students that learn from the labels and from each other (Zhang et al. 2018,
    arXiv:1706.00384). Where the recipe has no matches, each learns the labels, and the mean of
    KL(other's answers || own answers) over the others, at temperature 1.

    Args:
        students: at least two, by name.
        update: "together" or "in_turn".
        teachers: models that students are made from, or further teachers.
        places: of students with a block of their own in the recipe, by name, for messages.

    Raises:
        TextkdError: a cohort of one, a name that another model has.
    """
    teachers = teachers or {}
    wrong = [*teacher_problems(teachers, COHORT), *peer_problems(list(students), list(teachers))]
    refuse([*cohort_problems(len(students)), *wrong])
    models, trainings = with_teachers(teachers)
    names = tuple(students)
    stages = common.stages or (Stage(mutual(names)),)
    asked = [name for stage in stages for match in stage.matches for name in _named(match)]
    read = tuple(name for name in models if name in asked)
    together = Training(
        COHORT, names, stages, read, Arguments(common.training), update=update, has_stages=common.has_stages
    )
    for name, source in students.items():
        models[name] = ModelSpec(name, source, about.peer(names), places.get(name, STUDENT))
    trainings.append(together)
    add_control(common, replace(together, trains=names[:1]), models, trainings)
    shown = tuple(name for name in models if name not in (teachers or {}) or name in read)
    return experiment_of(common, models, trainings, Compared(shown, names[0]))


def mutual(names: Sequence[str]) -> list[Match]:
    """The matches of deep mutual learning: labels for all, and each one's answers beside those of every other."""
    share = 1 / (len(names) - 1)
    pairs = [(one, other) for one in names for other in names if one != other]
    peers = [Match(student=f"{one}/logits", teacher=f"{other}/logits", loss="kl", weight=share) for one, other in pairs]
    return [Match("labels"), *peers]


def _named(match: Match) -> list[str]:
    taps = [match.teacher] if isinstance(match.teacher, str) else list(match.teacher)
    return [*match.teachers, *(tap.partition("/")[0] for tap in taps if "/" in tap)]


def with_teachers(
    teachers: Mapping[str, Teacher], change: str | None = None
) -> tuple[dict[str, ModelSpec], list[Training]]:
    models, trainings = dict[str, ModelSpec](), list[Training]()
    for name, one in teachers.items():
        say = about.teacher(one.finetune is not None, change)
        models[name] = ModelSpec(name, one.source, say, one.where, True, one.is_black_box, one.cache, one.live)
        if one.finetune is not None:
            trainings.append(_finetuning(name, one.finetune, one.where))
    return models, trainings


def _finetuning(name: str, how: Finetune, where: str) -> Training:
    own_seed = how.training.get("seed")
    own_seed = own_seed if type(own_seed) is int else None  # what is no number is told with the arguments
    return Training(
        name, (name,), tuple(how.stages), base=Arguments(how.training, f"{where}.finetune"), seed=own_seed,
        kept=how.keep, key=lambda seed: how.folder(seed).name, where=f"{where}.finetune",
        has_stages=how.has_stages or len(how.given) > 1, has_matches=bool(how.given),
    )  # fmt: skip


def add_control(
    common: Common, taught: Training, models: dict[str, ModelSpec], trainings: list[Training], name: str = CONTROL,
    source: Source | None = None, say: Callable[[Training, Mapping[str, Any]], about.About] = about.control,
) -> None:  # fmt: skip
    """The student of `taught` once more: the same start (or a `source` of its own), stages and steps, but no teacher.
    What its stages freeze is the student's affair; the control freezes what its own block says."""
    if common.control is False:
        return
    own = dict(common.control) if isinstance(common.control, Mapping) else {}
    said, frozen = say(taught, dict(own)), own.pop("frozen", ())
    fused = any(match.fused for stage in taught.stages for match in stage.matches)
    bare = (replace(stage, matches=without_teacher(stage.matches, fused)) for stage in taught.stages)
    first = taught.trains[0]
    stages = tuple(replace(one, frozen=frozen, quantised=(name,) if first in one.quantised else ()) for one in bare)
    control = replace(
        taught, name=name, trains=(name,), stages=stages, reads=(), own=_over(taught.own, own),
        targets=None, steps_of="" if taught.targets is None else taught.name, update=TOGETHER, kept=None,
        is_control=True,
    )  # fmt: skip
    twin = models[first]
    models[name] = replace(twin, name=name, about=said, source=source or twin.source)
    trainings.append(control)


def _over(block: Arguments, more: Mapping[str, Any]) -> Arguments:
    return Arguments({**block.values, **more}, CONTROL if more else block.where)


def experiment_of(
    common: Common, models: dict[str, ModelSpec], trainings: list[Training], compared: Compared
) -> Experiment:
    control = CONTROL if CONTROL in models else ""
    return Experiment(
        common.name, {} if common.task is None else {"task": common.task}, models, tuple(trainings),
        replace(compared, rows=compared.rows or tuple(models), control=control), common.seeds, recipe=common.recipe,
        warnings=common.warnings,
    )  # fmt: skip


def link_problems(names: Sequence[str], teachers: Sequence[str]) -> list[Problem]:
    """What is wrong with the names of a chain's links."""
    if not names:
        return [
            problem(
                "a chain",
                "no link: a link is a student that learns from the model before it",
                fix="chain: [{name: student, student: {...}}]",
                where="chain",
            )
        ]
    back = "the teacher of the chain has this name: the chain would end where it began"
    named = [(name, f"chain[{number}].name") for number, name in enumerate(names)]
    return name_problems("a link", named, {**TAKEN, **dict.fromkeys(teachers, back)})


MOST_PEERS = 20


def cohort_problems(size: int) -> list[Problem]:
    """What is wrong with the size of a cohort."""
    fix = "cohort: {size: 2}, or a teacher in place of a cohort"
    if size > MOST_PEERS:
        fix = f"cohort: {{size: 2}}, at most {MOST_PEERS}"
        return [problem(f"a cohort of {size}", "more models than a report shows", fix=fix, where="cohort")]
    return [] if size > 1 else [problem(f"a cohort of {size}", "nobody to learn from", fix=fix, where="cohort")]


def teacher_problems(teachers: Mapping[str, Teacher], shape: str) -> list[Problem]:
    """What is wrong with the names of teachers. shape: of the graph, as in `TAKEN_OF`."""
    return name_problems("a teacher", [(name, one.where) for name, one in teachers.items()], TAKEN_OF[shape])


def peer_problems(names: Sequence[str], teachers: Sequence[str]) -> list[Problem]:
    """What is wrong with the names of a cohort's students."""
    taken = {**TAKEN, **dict.fromkeys(teachers, "that is the name of a teacher")}
    return name_problems("a student", [(name, f"cohort.students.{name}") for name in names], taken)


def refuse(problems: Sequence[Problem]) -> None:
    if problems:
        raise TextkdError(*problems)
