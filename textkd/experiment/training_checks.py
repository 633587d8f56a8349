"""Whether the matches of every training can be compared, tried on real rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor

from textkd.errors import Problem, TextkdError, problem, reading
from textkd.experiment.collect_results import Bound
from textkd.experiment.encodings import own_tokenizers
from textkd.experiment.forecast import steps_of
from textkd.experiment.look import Look
from textkd.experiment.made_up import made_up_batch
from textkd.experiment.plan import Training
from textkd.models import loading
from textkd.models.forward import own_columns, positions
from textkd.models.students.vocabulary import is_cut_alike, kept_of
from textkd.objective.cache_limits import cache_problems, kept_problems
from textkd.objective.match import Match
from textkd.objective.match_checks import check_words, needs_teacher
from textkd.objective.pair import Pair
from textkd.objective.tap_pairs import written_ends
from textkd.training import dry_run, fsdp, several
from textkd.training.arguments import argument_problems
from textkd.training.freezing import frozen_problems
from textkd.training.learners import join
from textkd.training.stages import Stage
from textkd.training.trainer import IN_TURN
from textkd.training.wiring import Reading

OF_ROWS = ("logits", "pooled")  # kinds of taps that have no tokens
FEW = 10  # steps; a training of fewer is a trial of a recipe, whose schedules are for a longer one
SOME_LOSS = "cross_entropy"  # of a task that cannot be read


def trainings(look: Look) -> list[Bound]:
    """Every stage's matches, bound to the models as far as they are there."""
    bound = list[Bound]()
    teachers = [one for one in look.experiment.trainings if one.where.endswith("finetune")]
    rest = [one for one in look.experiment.trainings if one not in teachers]
    for training in [*teachers, *rest]:
        if look.experiment.report.control in training.trains:
            _control_problems(look, training)
            continue
        for i, stage in enumerate(training.stages):
            with look.found.collecting(training.place(i)):
                _stage_problems(look, training, stage)
                path = f"{training.place(i)}.matches".lstrip(".")
                if path in look.places or "stages" in look.places:
                    continue
                with _placed(look, training):
                    pairs = _bind(look, training, stage)
                    bound += [Bound(i + 1, pairs)] if any(pair.targets for pair in pairs) else []
    look.found.add(*(replace(one, where=one.where or "task") for one in look.late.problems))
    return bound


@contextmanager
def _placed(look: Look, training: Training) -> Iterator[None]:
    """Inside, problems get the place of the matches; where a block has none written, that of the block."""
    before = len(look.found.problems)
    with look.found.collecting("matches" if training.has_matches else ""):
        try:
            yield
        finally:
            if not training.has_matches:
                look.found.problems[before:] = [replace(one, where="") for one in look.found.problems[before:]]


def _control_problems(look: Look, training: Training) -> None:
    """Of a control only what it freezes is its own; the rest is that of its student, in whose place it is tried."""
    student = look.loaded.get(look.experiment.report.student)
    with look.found.collecting("control"):
        look.found.add(*frozen_problems(student, training.stages[0].frozen))


def _stage_problems(look: Look, training: Training, stage: Stage) -> None:
    with look.found.collecting("training"):
        owned, base = ("seed", "output_dir"), training.base.values
        look.found.add(*argument_problems(stage.training, look.metrics, owned, base))
    look.found.add(*_several_problems(training, stage))
    models = [look.loaded[name] for name in training.trains if name in look.loaded]
    if len(models) == len(training.trains):
        module = join(dict(zip(training.trains, models, strict=True)))
        look.found.add(*frozen_problems(module, stage.frozen))


def _several_problems(training: Training, stage: Stage) -> list[Problem]:
    """What several models that learn together cannot do."""
    if len(training.trains) == 1:
        return []
    arguments = training.arguments(stage)
    accumulated, compiled = arguments.get("gradient_accumulation_steps", 1), arguments.get("torch_compile", False)
    gradient = any(match.target_gradient for match in stage.matches)
    in_shards = fsdp.asked(arguments.get("fsdp"))
    return several.problems(training.update == IN_TURN, accumulated, in_shards, gradient, compiled)


def _bind(look: Look, training: Training, stage: Stage) -> list[Pair]:
    label_loss = None if look.task is None else look.task.output.label_loss
    specs = {name: look.experiment.models[name] for name in training.reads}
    for spec in specs.values():
        look.found.add(*cache_problems(stage.matches, spec.cache))
    # one teacher's labels are those of a student made of it, but several would be told once more as classes that differ
    unfit = [name for name, spec in specs.items() if len(specs) > 1 and look.bad(spec.where)]
    read = {name: look.loaded[name] for name in specs if name in look.loaded and name not in unfit}
    trained = {name: look.loaded[name] for name in training.trains if name in look.loaded}
    look.found.add(*_word_problems(look, read, trained, stage.matches))
    boxes = [name for name, spec in specs.items() if spec.is_black_box]
    if len(read) + len(boxes) < len(specs):
        check_words(stage.matches, label_loss, (training.trains, tuple(specs)))
        return []
    if boxes:
        check_words(stage.matches, label_loss)
        look.found.add(*(p for i, match in enumerate(stage.matches) if (p := _unreadable(i, match))))
    if len(trained) < len(training.trains):
        return _with_stand_in(look, training, stage, read, label_loss)
    batch = _batch(look, training)
    if (boxes or not read) and (not batch or look.task is None):
        check_words(stage.matches, label_loss)
        return []
    if look.rows and look.task is not None:
        for name, model in {**read, **trained}.items():
            with _step():
                look.found.add(*look.task.output.tried(model, own_columns(batch, name)))
        if look.found.problems:
            return []
    frozen_parts = stage.frozen if look.rows else ()
    arguments = training.arguments(stage)
    compiled = any(arguments.get(name) for name in dry_run.COMPILES)
    with _step(), dry_run.recomputing(trained, arguments):
        fewer = any(kept_of(one) is not None for one in trained.values())
        how = {name: Reading(pieces=look.setup.rows.pieces(training, name)) for name in read if fewer}
        pairs = dry_run.check(trained, read, stage.matches, batch, label_loss or SOME_LOSS,
                              training.share_encoder, look.rows, frozen_parts, compiled, how)  # fmt: skip
    look.found.add(*dry_run.row_problems(pairs, arguments, look.rows))
    look.found.add(*_never(look, training, pairs, arguments))
    for name, spec in specs.items():
        look.found.add(*kept_problems([pair for pair in pairs if name in pair.models], spec.cache))
    return pairs


def _never(look: Look, training: Training, pairs: Sequence[Pair], arguments: Mapping[str, Any]) -> list[Problem]:
    """Schedules that are 0 in every step that is made, though not at every time."""
    if not look.rows or training.targets is not None or look.found.problems:
        return []  # the rows are not known, or the arguments are bad
    if (steps := steps_of(look.rows, arguments)) < FEW:
        return []
    moments = {*range(0, steps, max(1, steps // 1000)), steps - 1}
    asleep = {pair.place: pair for pair in pairs if not any(pair.schedule(step / steps) for step in moments)}
    what = f"it is 0 in each of the {steps} steps of this training: the match would teach nothing"
    fix = "let it begin earlier, or train longer"
    return [problem(f"the schedule of {pair.name}", what, fix=fix, where=place) for place, pair in asleep.items()]


def _step() -> AbstractContextManager[None]:
    """Around what models and losses do with a few rows."""
    return reading("a step on the first rows", fix="look at the config of the models and at the options of the matches")


def _word_problems(
    look: Look, read: dict[str, Any], trained: dict[str, Any], matches: Sequence[Match]
) -> list[Problem]:
    """What a teacher with a vocabulary of its own says of its tokens, which are not the student's."""
    foreign, found = set(own_tokenizers(look.tokenizer, read)), list[Problem]()
    trimmed = [one for one in trained.values() if kept_of(one) is not None]
    if not all(map(is_cut_alike, trimmed)):
        foreign = set(read)
    for number, match in enumerate(matches if foreign else ()):
        for tap in written_ends(match)[1] if needs_teacher(match) else ():
            whose = [name for name in ([tap.model] if tap.model else match.teachers or read) if name in foreign]
            if whose and tap.address.kind not in OF_ROWS:
                what = "it has another vocabulary than the student: their tokens are not the same"
                other = "keep more pieces: student.vocabulary" if trimmed else "take a teacher of the same words"
                fix = f"compare what it says of whole rows ({' or '.join(OF_ROWS)}), or {other}"
                asked = f"{tap.address} of the teacher {whose[0]}"
                found.append(problem(asked, what, fix=fix, where=f"[{number}]"))
    return found


def _with_stand_in(look: Look, training: Training, stage: Stage, read: dict[str, Any], kind: str | None) -> list[Pair]:
    """The teacher stands for a student that cannot be made; what it lacks itself, the student may have."""
    if not read:
        check_words(stage.matches, kind)
        return []
    model = next(iter(read.values()))
    twins = {name: loading.clone(model) for name in training.trains}
    batch = made_up_batch(model, _per_token(look), positions(model))
    try:
        with _step():
            return dry_run.check(twins, read, stage.matches, batch, kind or SOME_LOSS)
    except TextkdError as error:
        told = [p for p in error.problems if not p.where.endswith("student")]
        if told:
            raise TextkdError(*told) from error
        return []


def _batch(look: Look, training: Training) -> dict[str, Tensor]:
    if not look.found.problems and not look.late.problems and not look.places and look.task is not None:
        with look.late.collecting():  # the place of a match would be that of the rows, too
            return look.setup.rows.sample(training)
    teachers = [look.loaded[name] for name in (*training.reads, *training.trains) if name in look.loaded]
    boxes = any(look.experiment.models[name].is_black_box for name in training.reads)
    most = min(map(positions, teachers), default=0)
    return made_up_batch(teachers[0], _per_token(look), most) if teachers and not boxes else {}


def _per_token(look: Look) -> bool:
    return look.task is not None and look.task.output.per_token


def _unreadable(number: int, match: Match) -> Problem | None:
    """A match that needs more of the teacher than its texts."""
    tap, where = (match.tap, "tap") if match.tap else (match.teacher, "teacher")
    if not needs_teacher(match):
        return None
    what = "the teacher is a black box: it gives texts, and nothing inside it can be read"
    return problem(f"the teacher's {tap}", what, fix="keep {tap: labels}: its texts are the labels",
                   where=f"[{number}].{where}")  # fmt: skip
