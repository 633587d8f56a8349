"""From a recipe whose keys and types are right to an experiment that can run. Every problem of its data, models,
matches and arguments is told at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from textkd.config import recipe_file
from textkd.config.artifact_block import artifacts_of
from textkd.config.match_block import match_of, stage_of
from textkd.config.quantise_block import quantised_of
from textkd.config.schema import CohortBlock, LinkBlock, Recipe, TeacherBlock
from textkd.config.student_block import FROM, from_problems, student_of
from textkd.config.task_block import kind_of, task_of
from textkd.config.teacher_block import Parts, keep_of, teacher_of, without_place
from textkd.errors import Collector, Problem, TextkdError, hidden, problem
from textkd.experiment.distiller import Run
from textkd.experiment.finetune import LABELS_ONLY
from textkd.experiment.plan import Experiment, Source
from textkd.experiment.shorthand import (
    COHORT,
    CONTROL,
    MOST_PEERS,
    STUDENT,
    Common,
    Link,
    Teacher,
    chain,
    classic,
    cohort,
    cohort_problems,
    link_problems,
    peer_problems,
    teacher_problems,
)
from textkd.experiment.storage import folder_of
from textkd.models import students
from textkd.tasks import Kind, Task, kind
from textkd.teachers.generation import words
from textkd.teachers.generation.pseudo_labels import Pseudo, Targets, targets_of
from textkd.training.argument_values import value_problems
from textkd.training.stages import Stage
from textkd.training.trainer import UPDATES


class Builder:
    """The parts of a recipe, and what is wrong with them.

    Args:
        recipe: its keys and types are right.
        values: the same, as it was written.
        name: of the experiment.
    """

    def __init__(self, recipe: Recipe, values: Mapping[str, Any], name: str) -> None:
        self.recipe, self.values, self.name = recipe, values, name
        self.found = Collector()
        self.training = dict(recipe.training)
        self.output = folder_of(None, f"runs/{name}")
        with self.found.collecting():
            self.output = folder_of(self.training.pop("output_dir", None), self.output)
        self.task: Task | None = None
        # by place: what can be judged of the blocks of students, and the blocks of which nothing can
        self.sound: dict[str, Mapping[str, Any]] = {}
        self.spoilt: list[str] = []
        # what is wrong with names of models, and what stands for these: the rest of their blocks is looked at
        self.misnamed: list[Problem] = []
        self.renamed: dict[str, str] = {}

    def build(self) -> Run:
        found = self.found
        if not self._reported("task"):
            with found.collecting("task"):
                self.task = task_of(self.recipe.task, found)
        self._check_students()
        made = self._run()
        if made is not None and found.problems:
            lost = [problem("this part", "told already", where=where) for where in self.spoilt]
            known = [*(one for one in found.problems if one not in self.misnamed), *lost]
            with found.collecting():  # what is wrong with the rest
                made.check(known)
        found.raise_any()
        assert made is not None
        return made

    def _run(self) -> Run | None:
        """The run, as far as it can be made."""
        with self.found.collecting():
            pseudo = self._pseudo()
            targets = targets_of(pseudo, self.task, keep_of(self._first, self.output))
            doubled = bool(self.recipe.matches) and bool(self.recipe.stages)
            experiment = self._experiment(targets)
            experiment, unfit = quantised_of(self.recipe.quantise, experiment)
            artifacts, wrong = artifacts_of(self.recipe.artifacts, experiment)
            self.found.add(*unfit, *wrong)
            experiment = replace(experiment, artifacts=artifacts)
            return Run(experiment, self.output, None, self.recipe.max_length, pseudo, doubled)
        return None

    # -- the graph ---------------------------------------------------------------------------------------------------

    def _experiment(self, targets: Targets | None) -> Experiment:
        recipe, common, teachers = self.recipe, self._common(), self._teachers()
        if recipe.cohort is not None:
            made = self._cohort(recipe.cohort, teachers)
            named = recipe.cohort.students or {}
            places = {name: f"cohort.students.{known}" for name, known in zip(made, named, strict=False)}
            return cohort(common, made, recipe.cohort.update, teachers, places)
        if recipe.chain is not None:
            links = [self._link(number, link, teachers) for number, link in enumerate(recipe.chain)]
            if links and (wrong := link_problems([link.name for link in links], list(teachers))):
                self.found.add(*wrong)  # the rest is looked at under names that stand for them
                links = [replace(link, name=f"link_{number}") for number, link in enumerate(links)]
            return chain(common, teachers, links, keep_of(self._first, self.output))
        block = recipe.student or {}
        student = self._student(STUDENT, next(iter(teachers)), teachers)
        return classic(common, teachers, student, targets=targets, share_encoder=bool(block.get("share_encoder")))

    def _common(self) -> Common:
        recipe = self.recipe
        matches = [match_of(block) for block in recipe.matches or ()]
        stages = [stage_of(block) for block in recipe.stages or ()]
        training = {name: value for name, value in self.training.items() if name != "seed"}
        default = LABELS_ONLY if self._first.is_black_box else ()
        made = stages or ([] if recipe.cohort is not None and not matches else [Stage(tuple(matches) or default)])
        own_seed = self.training.get("seed", 42)
        with self.found.collecting("training"):
            self.found.add(*(wrong := value_problems("seed", own_seed)))
        seeds = [42 if wrong else own_seed] if recipe.seeds is None else recipe.seeds
        return Common(
            self.name, self.task, training, tuple(made), bool(stages), recipe.control, tuple(seeds), self._identity(),
            tuple(self._warnings()),
        )  # fmt: skip

    def _identity(self) -> str:
        """The recipe as text, without what is no other run: places, what it says of itself."""
        told = {k: v for k, v in self.values.items() if k not in ("about", "artifacts")}
        if "teachers" in told and isinstance(told["teachers"], Mapping):
            told["teachers"] = {name: without_place(one) for name, one in told["teachers"].items()}
        if "teacher" in told:
            told["teacher"] = without_place(told["teacher"])
        told["training"] = {k: v for k, v in {**self.recipe.training}.items() if k != "output_dir"}
        return recipe_file.dump(hidden(told))

    def _warnings(self) -> list[str]:
        boxes = self._first.is_black_box
        found = [students.random_init_warning(block) for block in self._student_blocks().values()]
        return list(dict.fromkeys(words.NEW_STUDENT if boxes else warning for warning in found if warning))

    # -- teachers ----------------------------------------------------------------------------------------------------

    @property
    def _first(self) -> TeacherBlock:
        """The first teacher, or an empty block where there is none."""
        blocks = list((self.recipe.teachers or {}).values())
        return self.recipe.teacher or (blocks[0] if blocks else TeacherBlock())

    def _teachers(self) -> dict[str, Teacher]:
        recipe = self.recipe
        parts = Parts(self.task, self._kind, self._auto_class, self.output, recipe.max_length, self.found)
        tokens = any("path" in block for block in self._student_blocks().values())
        if recipe.teachers:
            made = {name: teacher_of(block, parts, f"teachers.{name}", tokens)
                    for name, block in recipe.teachers.items()}  # fmt: skip
            shape = COHORT if recipe.cohort is not None else "chain" if recipe.chain is not None else STUDENT
            return self._renamed(made, "teachers", teacher_problems(made, shape))
        if recipe.teacher is None and recipe.cohort is not None:
            return {}
        return {"teacher": teacher_of(self._first, parts, "teacher", tokens)}

    @property
    def _kind(self) -> Kind | None:
        return kind_of(self.recipe.task)

    @property
    def _auto_class(self) -> Any:
        return (self._kind or kind("text")).auto_class if self.task is None else self.task.output.auto_class

    def _pseudo(self) -> Pseudo | None:
        block = self.recipe.pseudo
        return None if block is None else Pseudo(**dict(block), keep=keep_of(self._first, self.output))

    # -- students ----------------------------------------------------------------------------------------------------

    def _student_blocks(self) -> dict[str, Mapping[str, Any]]:
        """The blocks of all students, by their places in the recipe."""
        recipe = self.recipe
        found: dict[str, Mapping[str, Any]] = {} if recipe.student is None else {"student": recipe.student}
        found |= {f"chain[{i}].student": link.student for i, link in enumerate(recipe.chain or ())}
        named = {} if recipe.cohort is None else recipe.cohort.students or {}
        return found | {f"cohort.students.{name}": block for name, block in named.items()}

    def _names(self) -> set[str]:
        """The names of all models that this run trains beside its teachers."""
        block, links = self.recipe.cohort, {link.name for link in self.recipe.chain or ()}
        size = 0 if block is None else min(block.size or 2, MOST_PEERS)
        named = None if block is None else block.students
        return links | set(named or (f"peer_{i}" for i in range(1, size + 1))) | {STUDENT, CONTROL}

    def _check_students(self) -> None:
        """Tells what is wrong with the blocks of students; the rest is looked at with what is sound of them."""
        names = self._names() - set(self.recipe.teachers or ())
        for where, block in self._student_blocks().items():
            self.sound[where] = block
            if self._reported(where) or not (wrong := self._student_problems(block, names)):
                continue
            with self.found.collecting(where):
                self.found.add(*wrong)
            part = students.sound_part(block)
            if part is None or self._student_problems(part, names):
                self.spoilt.append(where)
            else:
                self.sound[where] = part

    def _student_problems(self, block: Mapping[str, Any], names: Collection[str]) -> list[Problem]:
        found = Collector()
        with found.collecting():
            found.add(*from_problems(block, names))
            students.check_spec({key: value for key, value in block.items() if key != FROM})
            if self._first.is_black_box:
                found.add(*self._new_problems(block))
        return found.problems

    def _new_problems(self, spec: Mapping[str, Any]) -> list[Problem]:
        """What only a student of a model can be."""
        fix = "config: {encoder: {num_hidden_layers: 4}, decoder: {decoder_layers: 2}}, or path: FOLDER"
        what = "the teacher is a black box: it has no blocks to take"
        found = Collector()
        found.add(*(problem(f"student {key}: {spec[key]!r}", what, fix=fix, where=key)
                    for key in ("shrink", "recurrent", *students.MORE, "share_encoder") if spec.get(key)))  # fmt: skip
        if spec.get("config") and self._kind is not None:
            with found.collecting():
                self._kind.new_model(spec["config"])
        return found.problems

    def _student(self, where: str, made_from: str, teachers: Mapping[str, Teacher]) -> Source:
        new = self._new_model if self._first.is_black_box else None
        block = dict(self.sound.get(where, {}))
        if isinstance(asked := block.get(FROM), str) and asked in self.renamed:
            block[FROM] = self.renamed[asked]
        length = self.recipe.max_length
        return student_of(block, self.task, self._auto_class, made_from, list(teachers), new, length)

    def _new_model(self, config: Mapping[str, Any]) -> Any:
        assert self._kind is not None  # there is a task
        return self._kind.new_model(config, self.task)

    def _link(self, number: int, link: LinkBlock, teachers: Mapping[str, Teacher]) -> Link:
        stages = [stage_of(block) for block in link.stages or ()]
        if link.matches is not None:
            stages = [Stage(tuple(match_of(match) for match in link.matches))]
        return Link(
            link.name,
            lambda before: self._student(f"chain[{number}].student", before, teachers),
            tuple(stages) or None,
            link.training,
            bool(link.stages) and link.matches is None,
        )

    def _cohort(self, block: CohortBlock, teachers: Mapping[str, Teacher]) -> dict[str, Source]:
        """The students of a cohort by name."""
        if block.update not in UPDATES:
            fix = f"one of {', '.join(UPDATES)}"
            self.found.add(problem(f"update: {block.update}", "no such update", near=(block.update, UPDATES), fix=fix,
                                   where="cohort.update"))  # fmt: skip
        first = next(iter(teachers), "")
        lost = [where for where, one in self._student_blocks().items()
                if not first and "path" not in one and FROM not in one]  # fmt: skip
        if lost:
            fix = "add from: FOLDER_OR_HUB_ID to it, or a teacher, of whose blocks it is made"
            what = "it has no model to start from"
            raise TextkdError(*(problem("a student of a cohort", what, fix=fix, where=where) for where in lost))
        if block.students and block.size is not None:
            what = "both are given"
            self.found.add(problem("cohort.size and cohort.students", what, fix="keep one", where="cohort.size"))
        if block.students:
            made = {name: self._student(f"cohort.students.{name}", first, teachers) for name in block.students}
            return self._renamed(made, "cohort.students", peer_problems(list(made), list(teachers)))
        size = 2 if block.size is None else block.size
        self.found.add(*cohort_problems(size))
        return {
            f"peer_{i}": self._student(STUDENT, first, teachers) for i in range(1, min(max(size, 2), MOST_PEERS) + 1)
        }

    def _renamed(self, models: Mapping[str, Any], where: str, wrong: Collection[Problem]) -> dict[str, Any]:
        """Models, those with a wrong name under one that stands for it, so that the rest can be looked at; but matches,
        which call them by their names."""
        self.found.add(*wrong)
        self.misnamed += wrong
        self.spoilt += ["matches", "stages"] if wrong else []
        bad = {p.where for p in wrong}
        new = {name: f"misnamed_{where.rpartition('.')[2]}_{number}" for number, name in enumerate(models, 1)
               if f"{where}.{name}" in bad}  # fmt: skip
        self.renamed |= new
        return {new.get(name, name): one for name, one in models.items()}

    def _reported(self, *rooms: str) -> bool:
        return any(p.where in rooms for p in self.found.problems)
