"""What is wrong with an experiment before anything is trained or written: all of it in one error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any

from torch import Tensor

from textkd.errors import Collector, Problem, TextkdError, problem
from textkd.experiment import fingerprint
from textkd.experiment.collect_results import Bound
from textkd.experiment.encodings import own_tokenizers
from textkd.experiment.made_up import made_up_batch
from textkd.experiment.plan import Arguments, ModelSpec, Training
from textkd.experiment.setup import Setup
from textkd.models import loading
from textkd.models.forward import positions
from textkd.objective.cache_limits import cache_problems, kept_problems
from textkd.objective.match import Match
from textkd.objective.match_checks import check_words, needs_teacher
from textkd.objective.pair import Pair
from textkd.tasks import Task
from textkd.teachers.cache import AUGMENTED
from textkd.teachers.generation.pseudo_labels import target_problems
from textkd.training import dry_run
from textkd.training.arguments import argument_problems, seed_problems, step_problems
from textkd.training.freezing import frozen_problems
from textkd.training.fsdp import launch_problems
from textkd.training.learners import join
from textkd.training.stages import Stage

SOME_TYPE = "single_label_classification"  # of a task that cannot be read


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
    if problems := launch_problems():
        raise TextkdError(*problems)  # at once: the models would be loaded wrongly
    if problems := setup.experiment.problems():
        raise TextkdError(*problems)
    look = _Look(setup, known)
    look.at_settings()
    look.at_task()
    look.at_caches()
    look.at_pseudo()
    look.at_teachers()
    look.at_students()
    bound = look.at_trainings()
    look.at_folder()
    look.found.raise_any()
    return bound


class _Look:
    def __init__(self, setup: Setup, known: Sequence[Problem]) -> None:
        self.setup, self.experiment, self.models = setup, setup.experiment, setup.models
        self.task: Task | None = setup.task
        self.places = {p.where for p in known}
        self.found = Collector()
        self.loaded: dict[str, Any] = {}  # by name, as far as they are there; no black boxes
        self.tokenizer: Any = None

    @property
    def metrics(self) -> tuple[str, ...]:
        return () if self.task is None else tuple(self.task.output.metric_names)

    def bad(self, room: str) -> bool:
        """Whether anything is wrong with a room of the recipe, as "task"."""
        places = [*self.places, *(p.where for p in self.found.problems)]
        return any(place == room or place.startswith((f"{room}.", f"{room}[")) for place in places)

    def bad_any(self, *rooms: str) -> bool:
        return any(map(self.bad, rooms))

    def at_settings(self) -> None:
        if self.setup.is_doubled:
            fix = "give one of the two, or put the matches into the stages"
            self.found.add(problem("matches and stages", "both are given", fix=fix, where="matches"))
        self.found.add(*seed_problems(self.experiment.seeds))
        blocks = {}
        for training in self.experiment.trainings:
            owned = ("output_dir",) if training.kept is not None else ()
            blocks[training.base.where] = (training.base, owned)
            if training.own.values:
                blocks[training.own.where] = (training.own, ())
        for where, (block, owned) in blocks.items():
            with self.found.collecting(where):
                self.found.add(*argument_problems(block.values, self.metrics, owned=owned), *_control_problems(block))

    def at_task(self) -> None:
        if self.task is not None:
            with self.found.collecting("task"):
                self.task.problems()

    def at_caches(self) -> None:
        for spec in self.experiment.models.values():
            if spec.cache is not None and self.task is not None and self.task.augments:
                self.found.add(AUGMENTED)
            if spec.cache is not None and spec.live.sharded:
                what = "the processes fill the cache each at its own pace, and shards want all of them at once"
                fix = "cache: false, or sharded: false: with a cache the teacher runs over the data once"
                self.found.add(problem("a cache of a sharded teacher", what, fix=fix, where=f"{spec.where}.sharded"))

    def at_pseudo(self) -> None:
        reader = any(spec.is_black_box for spec in self.experiment.models.values())
        if self.setup.pseudo is None:
            if reader:
                what, fix = "the teacher is a black box that only reads", "add pseudo: {}, with lines: if you like"
                self.found.add(problem("pseudo labels", what, fix=fix, where="pseudo"))
        elif self.task is not None:
            tuned = any(training.where.endswith("finetune") for training in self.experiment.trainings)
            control = bool(self.experiment.report.control)
            with self.found.collecting():
                self.found.add(*target_problems(self.setup.pseudo, self.setup.targets, self.task, control, tuned,
                                                self.bad("task")))  # fmt: skip

    def at_teachers(self) -> None:
        for name in self.setup.teachers:
            spec = self.experiment.models[name]
            if spec.is_black_box:
                with self.found.collecting(f"{spec.where}.recogniser"):
                    self.models.start(name)
            # a bad key beside the path leaves the model as it is
            elif not self.places & {spec.where, f"{spec.where}.path", f"{spec.where}.recogniser"}:
                with self.found.collecting(spec.where):
                    self._teacher(name)

    def _teacher(self, name: str) -> None:
        readable = self.task is not None and not self.bad("task")
        model = self.models.start(name) if readable else self.models.sketch(name)
        if model is not None:
            self.loaded[name] = model
        self._tokenizer(readable, model)
        if readable and self.task is not None:
            self.found.add(*self.task.output.fits(model, self._words_of(name)))
        targets = self.setup.targets
        if targets is not None and model is not None and not self.bad("pseudo"):
            targets.reader(model, self.tokenizer)

    def _tokenizer(self, readable: bool, model: Any) -> None:
        """The tokenizer of all models; without a folder of the teacher's it is the task's own, or made of its texts:
        what is wrong with it is told there."""
        if self.tokenizer is None and not self.bad("task.processor"):
            told = not readable and not getattr(model, "name_or_path", "")
            with suppress(TextkdError) if told else nullcontext():
                self.tokenizer = self.setup.rows.tokenizer

    def _words_of(self, name: str) -> Any:
        """The tokenizer of a model, which may have one of its own."""
        own = own_tokenizers(self.tokenizer, {name: self.loaded[name]})
        return own.get(name, self.tokenizer)

    def at_students(self) -> None:
        seen = set[int]()
        for name, spec in self.experiment.models.items():
            if spec.teaches or id(spec.source) in seen:  # a control begins as its student does
                continue
            seen.add(id(spec.source))
            if self.bad_any(spec.where.partition("[")[0], spec.where) or not self._can_be_made(spec):
                continue
            with self.found.collecting(spec.where):
                self._student(name, self.models.start(name))
        lengths = list(self.loaded.values())
        self.found.add(*_length_problems(self.setup.rows.max_length, lengths))

    def _can_be_made(self, spec: ModelSpec) -> bool:
        """Whether the models are there that a student is made from; beside a black box, whether the task is."""
        boxes = [one for one in self.experiment.models.values() if one.is_black_box]
        if boxes:
            return self.task is not None and not self.bad_any("task", *(one.where for one in boxes))
        made_from = [name for name in spec.source.reads if name not in self.loaded]
        return not made_from and all(name in self.loaded for name in self.setup.teachers)

    def _student(self, name: str, student: Any) -> None:
        training = self.experiment.trainer_of(name)
        others = () if training is None else training.reads
        own = getattr(self.tokenizer, "tokenizer", self.tokenizer)  # a processor has one inside
        for other in others:
            if other in self.loaded:
                wrong = loading.check_pair(self.loaded[other], student, own, loading.own_tokenizer(student))
                own_words = own_tokenizers(self.tokenizer, {other: self.loaded[other]})
                self.found.add(*(p for p in wrong if not self._is_fine(p, student, bool(own_words))))
        if any(one.is_black_box for one in self.experiment.models.values()):
            self.tokenizer = self.setup.rows.tokenizer
        known = self.task is not None and self.tokenizer is not None
        known = known and not self.bad_any("task", "teacher", "student")
        unfit = self.task.output.fits(student, self.tokenizer) if known and self.task is not None else []
        self.found.add(*unfit)
        if not unfit:
            self.loaded[name] = student

    def _is_fine(self, wrong: Problem, student: Any, own_words: bool) -> bool:
        """A student with the task's names was made for the task; that the teacher's fit the task was looked at already,
        and names of another language or case are no error there. A teacher with words of its own reads its own rows."""
        if own_words and "token" in wrong.asked:
            return True
        names = _class_names(self.task)
        is_tasks = names is not None and names == [str(name) for name in student.config.id2label.values()]
        return is_tasks and wrong.found.startswith("other names")

    def at_trainings(self) -> list[Bound]:
        """Every stage's matches, bound to the models as far as they are there."""
        bound = list[Bound]()
        teachers = [one for one in self.experiment.trainings if one.where.endswith("finetune")]
        rest = [one for one in self.experiment.trainings if one not in teachers]
        for training in [*teachers, *rest]:
            if self.experiment.report.control in training.trains:
                continue
            for i, stage in enumerate(training.stages):
                with self.found.collecting(training.place(i)):
                    self._stage_problems(training, stage)
                    path = f"{training.place(i)}.matches".lstrip(".")
                    if path in self.places or "stages" in self.places:
                        continue
                    with self.found.collecting("matches"):
                        pairs = self._bind(training, stage)
                        bound += [Bound(i + 1, pairs)] if training.reads else []
        return bound

    def _stage_problems(self, training: Training, stage: Stage) -> None:
        with self.found.collecting("training"):
            own = {k: v for k, v in stage.training.items() if k not in training.base.values or training.has_stages}
            self.found.add(*argument_problems(own, self.metrics, owned=("seed", "output_dir")))
        models = [self.loaded[name] for name in training.trains if name in self.loaded]
        if len(models) == len(training.trains):
            module = join(dict(zip(training.trains, models, strict=True)))
            self.found.add(*frozen_problems(module, stage.frozen))

    def _bind(self, training: Training, stage: Stage) -> list[Pair]:
        problem_type = None if self.task is None else self.task.output.problem_type
        specs = {name: self.experiment.models[name] for name in training.reads}
        for spec in specs.values():
            self.found.add(*cache_problems(stage.matches, spec.cache))
        read = {name: self.loaded[name] for name in specs if name in self.loaded}
        boxes = [name for name, spec in specs.items() if spec.is_black_box]
        if len(read) + len(boxes) < len(specs):
            check_words(stage.matches, problem_type)
            return []
        if boxes:
            check_words(stage.matches, problem_type)
            self.found.add(*(p for i, match in enumerate(stage.matches) if (p := _unreadable(i, match))))
        trained = {name: self.loaded[name] for name in training.trains if name in self.loaded}
        if len(trained) < len(training.trains):
            return self._with_stand_in(training, stage, read, problem_type)
        batch = self._batch(training)
        if (boxes or not read) and (not batch or self.task is None):
            check_words(stage.matches, problem_type)
            return []
        frozen_parts = stage.frozen if self._rows else ()
        arguments = training.arguments(stage)
        compiled = any(arguments.get(name) for name in dry_run.COMPILES)
        pairs = dry_run.check(trained, read, stage.matches, batch, problem_type or SOME_TYPE,
                              training.share_encoder, self._rows, frozen_parts, compiled)  # fmt: skip
        self.found.add(*dry_run.row_problems(pairs, arguments, self._rows))
        for name, spec in specs.items():
            self.found.add(*kept_problems([pair for pair in pairs if name in pair.models], spec.cache))
        return pairs

    def _with_stand_in(self, training: Training, stage: Stage, read: dict[str, Any], kind: str | None) -> list[Pair]:
        """The teacher stands for a student that cannot be made; what it lacks itself, the student may have."""
        if not read:
            check_words(stage.matches, kind)
            return []
        model = next(iter(read.values()))
        twins = {name: loading.clone(model) for name in training.trains}
        try:
            return dry_run.check(
                twins, read, stage.matches, made_up_batch(model), kind or "single_label_classification"
            )
        except TextkdError as error:
            told = [p for p in error.problems if not p.where.endswith("student")]
            if told:
                raise TextkdError(*told) from error
            return []

    @property
    def _rows(self) -> int:
        """Rows of the training data; 0 where they are not known, as something is wrong already."""
        return 0 if self.found.problems or self.places or self.task is None else len(self.setup.rows.data.train)

    def _batch(self, training: Training) -> dict[str, Tensor]:
        if not self.found.problems and not self.places and self.task is not None:
            with self.found.collecting():
                rows = self.setup.rows
                data = rows.data if training.targets is not None else rows.of(training)[0]
                # where the teacher has yet to write all targets, no row of training is there
                return (data if len(data.train) else replace(data, train=data.eval)).sample()
        teachers = [self.loaded[name] for name in (*training.reads, *training.trains) if name in self.loaded]
        boxes = any(self.experiment.models[name].is_black_box for name in training.reads)
        return made_up_batch(teachers[0]) if teachers and not boxes else {}

    def at_folder(self) -> None:
        folder = self.setup.folder
        with self.found.collecting():
            if folder.path.exists() and not folder.path.is_dir():
                fix = "training.output_dir=<a new folder>"
                what = "a file"
                self.found.add(problem(f"run folder {folder.path}", what, fix=fix, where="training.output_dir"))
            elif not (folder.path / "run.json").is_file():
                folder.check("")
            elif not self.found.problems and not self.places:  # else the folder may well be this recipe's, once mended
                folder.check(fingerprint.fingerprint(self.setup), fingerprint.inputs(self.setup))


def _control_problems(block: Arguments) -> list[Problem]:
    """A control makes the steps of its student."""
    return step_problems(block.values) if block.where == "control" else []


def _unreadable(number: int, match: Match) -> Problem | None:
    """A match that needs more of the teacher than its texts."""
    tap, where = (match.tap, "tap") if match.tap else (match.teacher, "teacher")
    if not needs_teacher(match):
        return None
    what = "the teacher is a black box: it gives texts, and nothing inside it can be read"
    return problem(f"the teacher's {tap}", what, fix="keep {tap: labels}: its texts are the labels",
                   where=f"[{number}].{where}")  # fmt: skip


def _class_names(task: Task | None) -> list[str] | None:
    """The names of the task's classes; None where it has none, or they cannot be read."""
    names = _or_none(lambda: None if task is None else task.output.labels)
    return None if names is None else [str(name) for name in names]


def _or_none(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except TextkdError:
        return None


def _length_problems(max_length: int | None, models: Sequence[Any]) -> list[Problem]:
    if max_length is None:
        return []
    most = min((positions(model) for model in models), default=math.inf)
    if type(max_length) is int and 4 <= max_length <= most:
        return []
    what = f"the models have {most} positions" if most < math.inf else "a row holds special tokens and text"
    fix = f"4 to {most}" if most < math.inf else "give 128, say"
    return [problem(f"max_length: {max_length}", what, fix=f"max_length: {fix}", where="max_length")]
