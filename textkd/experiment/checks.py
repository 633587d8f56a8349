"""What is wrong with the parts of a `Distiller`, before anything is trained or written: all of it in one error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from textkd.errors import Collector, Problem, TextkdError, problem
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
from textkd.training.stages import Stage

if TYPE_CHECKING:
    from textkd.experiment.distiller import Distiller


def check(distiller: Distiller, known: Sequence[Problem] = ()) -> list[list[Pair]]:
    """The pairs of every stage, bound to the models and tried on real rows. known: problems found before; what they
    concern is not looked at again. Where a part is bad, the others are looked at without it (matches by their words, or
    on made-up rows). Raises one `TextkdError`."""
    if problems := launch_problems():
        raise TextkdError(*problems)  # at once: the models would be loaded wrongly
    look = _Look(distiller, known)
    look.at_settings()
    look.at_task()
    look.at_cache()
    look.at_pseudo()
    look.at_models()
    look.at_finetune()
    pairs = look.at_stages()
    look.at_folder()
    look.found.raise_any()
    return pairs


class _Look:
    def __init__(self, distiller: Distiller, known: Sequence[Problem]) -> None:
        self.distiller = distiller
        self.task: Task = distiller.task
        self.places = {p.where for p in known}
        self.found = Collector()
        self.teacher: Any = None
        self.student: Any = None

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
        d, found = self.distiller, self.found
        if d.is_doubled:
            fix = "give one of the two, or put the matches into the stages"
            found.add(problem("matches and stages", "both are given", fix=fix, where="matches"))
        found.add(*seed_problems(d.seeds))
        with found.collecting("training"):
            found.add(*argument_problems(d.training, self.metrics))
        if isinstance(d.control, Mapping):
            with found.collecting("control"):
                found.add(*argument_problems(d.control, self.metrics), *step_problems(d.control))
        if d.finetune is not None:
            with found.collecting("teacher.finetune"):
                found.add(*argument_problems(d.finetune.training, self.metrics, owned=("output_dir",)))

    def at_task(self) -> None:
        if self.task is not None:
            with self.found.collecting("task"):
                self.task.problems()

    def at_cache(self) -> None:
        if self.distiller.cache is not None and self.task is not None and self.task.augments:
            self.found.add(AUGMENTED)
        if self.distiller.cache is not None and self.distiller.live.sharded:
            what = "the processes fill the cache each at its own pace, and shards want all of them at once"
            fix = "cache: false, or sharded: false: with a cache the teacher runs over the data once"
            self.found.add(problem("a cache of a sharded teacher", what, fix=fix, where="teacher.sharded"))

    def at_pseudo(self) -> None:
        d, found = self.distiller, self.found
        if d.pseudo is None:
            if d.is_black_box:
                what, fix = "the teacher is a black box that only reads", "add pseudo: {}, with lines: if you like"
                found.add(problem("pseudo labels", what, fix=fix, where="pseudo"))
        elif self.task is not None:
            given = d.pseudo, d.targets, self.task, bool(d.control), d.finetune is not None, self.bad("task")
            with found.collecting():
                found.add(*target_problems(*given))

    def at_models(self) -> None:
        d, found, tokenizer = self.distiller, self.found, None
        if d.is_black_box:
            self._at_reader()
        # a bad key beside the path leaves the model as it is
        elif not self.places & {"teacher", "teacher.path", "teacher.recogniser"}:
            with found.collecting("teacher"):
                readable = self.task is not None and not self.bad("task")
                self.teacher = d.teacher if readable else d.sketched_teacher()
                # without a folder of the teacher's it is the task's own, or made of its texts: told there
                told = not readable and not getattr(self.teacher, "name_or_path", "")
                if not self.bad("task.processor"):
                    with suppress(TextkdError) if told else nullcontext():
                        tokenizer = d.tokenizer
                if readable:
                    found.add(*self.task.output.fits(self.teacher, tokenizer))
                if d.finetune is not None and self.teacher is not None:
                    with found.collecting("finetune"):
                        found.add(*frozen_problems(self.teacher, d.finetune.frozen))
                if d.targets is not None and self.teacher is not None and not self.bad("pseudo"):
                    d.targets.reader(self.teacher, tokenizer)
        if self.teacher is not None and not self.bad("student"):
            with found.collecting("student"):
                student = d.build_student(self.teacher, 42 if self.bad("seeds") else d.seeds[0])
                own = getattr(tokenizer, "tokenizer", tokenizer)  # a processor has one inside
                problems = loading.check_pair(self.teacher, student, own, loading.own_tokenizer(student))
                found.add(*(p for p in problems if not self._is_told_by_task(p, student)))
                known = None not in (self.task, tokenizer) and not self.bad_any("task", "teacher", "student")
                unfit = self.task.output.fits(student, tokenizer) if known else []
                found.add(*unfit)
                self.student = None if unfit else student
        found.add(*_length_problems(d.given_max_length, [m for m in (self.teacher, self.student) if m is not None]))

    def _at_reader(self) -> None:
        """A teacher that only reads; the student then stands alone, and its processor is the task's or its own."""
        d, found = self.distiller, self.found
        with found.collecting("teacher.recogniser"):
            _ = d.teacher
        if self.task is not None and not self.bad_any("student", "task", "teacher"):
            with found.collecting("student"):
                student = d.build_student(d.teacher, 42 if self.bad("seeds") else d.seeds[0])
                found.add(*self.task.output.fits(student, d.tokenizer))
                self.student = student

    def _is_told_by_task(self, wrong: Problem, student: Any) -> bool:
        """A student with the task's names was made for the task; that the teacher's fit the task was looked at already,
        and names of another language or case are no error there."""
        names = _class_names(self.task)
        is_tasks = names is not None and names == [str(name) for name in student.config.id2label.values()]
        return is_tasks and wrong.found.startswith("other names")

    def at_stages(self) -> list[list[Pair]]:
        """Every stage's matches, bound to the models as far as they are there."""
        d, pairs, batch = self.distiller, list[list[Pair]](), self._batch()
        for i, stage in enumerate(d.stages):
            where = f"stages[{i}]" if d.has_stages else ""
            with self.found.collecting(where):
                self.found.add(*self._stage_problems(stage))
                path = f"{where}.matches".lstrip(".")
                if path in self.places or "stages" in self.places:
                    continue
                with self.found.collecting("matches"):
                    pairs.append(self._bind(stage, batch))
        return pairs

    def at_folder(self) -> None:
        d, path = self.distiller, self.distiller.folder.path
        with self.found.collecting():
            if path.exists() and not path.is_dir():
                fix = "training.output_dir=<a new folder>"
                what = "a file"
                self.found.add(problem(f"run folder {path}", what, fix=fix, where="training.output_dir"))
            elif not (path / "run.json").is_file():
                d.folder.check("")
            elif not self.found.problems and not self.places:  # else the folder may well be this recipe's, once mended
                d.folder.check(d.fingerprint, d.inputs)

    def at_finetune(self) -> None:
        """The matches of a teacher that is trained first, bound to it and tried; none may ask for a teacher of its."""
        stages = [] if self.distiller.finetune is None else self.distiller.finetune.given
        for i, stage in enumerate(stages):
            where = f"teacher.finetune.stages[{i}]" if len(stages) > 1 else "teacher.finetune"
            with self.found.collecting(where):
                with self.found.collecting("training"):
                    self.found.add(*argument_problems(stage.training, self.metrics, owned=("seed", "output_dir")))
                if self.teacher is not None:
                    self.found.add(*frozen_problems(self.teacher, stage.frozen))
                with self.found.collecting("matches"):
                    if self.teacher is None or self.task is None:
                        check_words(stage.matches, None if self.task is None else self.task.output.problem_type)
                    else:
                        dry_run.check(self.teacher, None, stage.matches, self._batch(), self.task.output.problem_type,
                                     rows=self._rows, frozen_names=stage.frozen)  # fmt: skip

    def _stage_problems(self, stage: Stage) -> list[Problem]:
        found = Collector()
        with found.collecting("training"):
            found.add(*argument_problems(stage.training, self.metrics, owned=("seed", "output_dir")))
        if self.student is not None:
            found.add(*frozen_problems(self.student, stage.frozen))
        return found.problems

    def _bind(self, stage: Stage, batch: dict[str, Tensor]) -> list[Pair]:
        problem_type = None if self.task is None else self.task.output.problem_type
        self.found.add(*cache_problems(stage.matches, self.distiller.cache))
        if self.teacher is None:
            check_words(stage.matches, problem_type)
            if not self.distiller.is_black_box:
                return []
            self.found.add(*(p for i, match in enumerate(stage.matches) if (p := _unreadable(i, match))))
            if self.student is None or self.found.problems or not batch:
                return []
        rest = stage.matches, batch, problem_type or "single_label_classification"
        if self.student is not None:
            share, asleep = self.distiller.share_encoder, stage.frozen if self._rows else ()
            training = {**self.distiller.training, **stage.training}
            compiled = any(training.get(name) for name in dry_run.COMPILES)
            pairs = dry_run.check(self.student, self.teacher, *rest, share, self._rows, asleep, compiled)
            self.found.add(*dry_run.row_problems(pairs, training, self._rows))
            self.found.add(*kept_problems(pairs, self.distiller.cache))
            return pairs
        try:  # the teacher stands for a student that cannot be made; what it lacks itself, the student may have
            twin = loading.clone(self.teacher)
            return dry_run.check(twin, self.teacher, *rest)
        except TextkdError as error:
            raise_from = [p for p in error.problems if not p.where.endswith("student")]
            if raise_from:
                raise TextkdError(*raise_from) from error
            return []

    @property
    def _rows(self) -> int:
        """Rows of the training data; 0 where they are not known, as something is wrong already."""
        return 0 if self.found.problems or self.places or self.task is None else len(self.distiller.data.train)

    def _batch(self) -> dict[str, Tensor]:
        if self.teacher is None and self.student is None:
            return {}
        if self.student is not None and not self.found.problems and not self.places:
            with self.found.collecting():
                data = self.distiller.data
                # where the teacher has yet to write all targets, no row of training is there
                return (data if len(data.train) else replace(data, train=data.eval)).sample()
        tokens = self.task is not None and self.task.output.per_token
        return {} if self.teacher is None else made_up_batch(self.teacher, tokens)


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
    with suppress(TextkdError):
        return None if task is None else task.output.labels
    return None


def made_up_batch(model: nn.Module, per_token: bool = False) -> dict[str, Tensor]:
    """Two short rows of arbitrary tokens (blank images, where the model reads those), where the data cannot be read."""
    config = getattr(model, "config", None)
    encoder, size = getattr(config, "encoder", None), getattr(getattr(config, "decoder", config), "vocab_size", 16)
    ids = torch.arange(2 * 4).reshape(2, 4) % size
    if encoder is None or not hasattr(encoder, "image_size"):
        labels = torch.zeros_like(ids if per_token else ids[:, 0])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    side = encoder.image_size
    height, width = (side, side) if isinstance(side, int) else side
    images = torch.zeros(2, getattr(encoder, "num_channels", 3), height, width)
    return {"pixel_values": images, "labels": ids, "decoder_input_ids": ids}


def _length_problems(max_length: int | None, models: Sequence[Any]) -> list[Problem]:
    if max_length is None:
        return []
    most = min((positions(model) for model in models), default=math.inf)
    if type(max_length) is int and 4 <= max_length <= most:
        return []
    what = f"the models have {most} positions" if most < math.inf else "a row holds special tokens and text"
    fix = f"4 to {most}" if most < math.inf else "give 128, say"
    return [problem(f"max_length: {max_length}", what, fix=f"max_length: {fix}", where="max_length")]
