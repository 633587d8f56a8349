"""From the `teacher:` block of a recipe, or one of `teachers:`, to a teacher of the experiment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from textkd.config.match_block import stage_of
from textkd.config.schema import StageBlock, TeacherBlock
from textkd.config.task_block import labels_of_task
from textkd.errors import Collector, TextkdError, fail, problem, without_secrets
from textkd.experiment.finetune import Finetune
from textkd.experiment.own_code import own_code
from textkd.experiment.plan import Source
from textkd.experiment.shorthand import Teacher
from textkd.models import loading
from textkd.models.files import at_home, place_problems
from textkd.models.randomness import random_from
from textkd.tasks import Kind, Task
from textkd.teachers import CacheOptions, LiveOptions


@dataclass(frozen=True)
class Parts:
    """What a teacher of a recipe needs beside its own block.

    Args:
        task: what is learnt; None where it is wrong.
        kind: of the task, also where that is wrong; None where there is no such kind.
        auto_class: what loads its models.
        output: the run folder.
        max_length: the recipe's.
        found: where problems are collected.
    """

    task: Task | None
    kind: Kind | None
    auto_class: Any
    output: Path
    max_length: int | None
    found: Collector


def keep_of(block: TeacherBlock, output: Path) -> Path:
    """The folder for what teachers are and say."""
    return at_home(block.keep) if block.keep and block.keep.strip() else output.parent / "teachers"


def teacher_of(block: TeacherBlock, parts: Parts, where: str, student_has_tokens: bool) -> Teacher:
    """A teacher of a recipe.

    Args:
        where: its place in the recipe.
        student_has_tokens: the student comes from a folder, with words of its own.
    """
    loader = _Loader(block, parts, student_has_tokens)
    if block.keep is not None:
        with parts.found.collecting(f"{where}.keep"):
            kept = at_home(block.keep)
            parts.found.add(*(replace(one, where="") for one in place_problems(kept, f"{where}.keep")))
    kind = "a black box" if block.is_black_box else "made new" if block.config is not None else ""
    kind = kind or f"loaded from {block.path}"
    source = Source(loader, sketch=loader.sketch, kind=kind)
    cached, live = _cache(block, parts, where), _live(block, parts.found, where)
    return Teacher(source, _finetune(block, parts, where), block.is_black_box, cached, live, where)


class _Loader:
    """Loads a teacher, with a head that fits the task where it is fine-tuned on it; or a black box."""

    def __init__(self, block: TeacherBlock, parts: Parts, student_has_tokens: bool) -> None:
        self.block, self.task, self.kind, self.auto_class = block, parts.task, parts.kind, parts.auto_class
        self.student_has_tokens = student_has_tokens

    def sketch(self) -> Any:
        """The teacher for checks beside a task that cannot be read. A new one writes made-up tokens where the task's
        cannot be known; None where there is a student with tokens of its own to be compared with."""
        if self.block.config is None:
            return self({}, 0)
        if self.task is not None:
            with suppress(TextkdError):
                return self({}, 0)
        if self.kind is None:
            return None
        with random_from(0):
            made = self.kind.new_model(self.block.config)
        return None if self.student_has_tokens else made

    def __call__(self, models: Mapping[str, Any], seed: int) -> Any:
        block = self.block
        if block.is_black_box:
            return block.black_box()
        if block.config is not None:
            if self.kind is None or self.task is None:
                raise fail(
                    "a teacher with random weights", "the task it is for is not known", fix="mend the task first"
                )
            with random_from(0):  # the same weights every time
                return self.kind.new_model(block.config, self.task)
        labels = labels_of_task(self.task) if block.finetune is not None else {}
        if labels:  # a head for other labels, as of a teacher that learnt another task before, starts anew
            labels["ignore_mismatched_sizes"] = True
        model, missing = loading.load_model_info(
            block.path, self.auto_class, allow_pickle=block.allow_pickle, expect_sha256=block.sha256, **labels
        )
        if missing and block.finetune is None:
            fix = "teacher.finetune: {num_train_epochs: 3, ...} trains it on the task first"
            raise fail(f"teacher {block.path}", "it has no trained head for this task", fix=fix)
        return model


def without_place(teacher: Any) -> Any:
    """A teacher's block without where it is (device, sharded), where its cache is and how large it may become: another
    place is no other run."""
    if not isinstance(teacher, Mapping):
        return teacher
    kept = {k: v for k, v in teacher.items() if k not in ("device", "sharded")}
    if not isinstance(kept.get("cache"), Mapping):
        return kept
    return {**kept, "cache": {k: v for k, v in kept["cache"].items() if k not in ("folder", "max_gb")}}


def _cache(block: TeacherBlock, parts: Parts, where: str) -> CacheOptions | None:
    """The options of the teacher's cache, which is where teachers are kept."""
    if not block.cache:
        return None
    options = dict(block.cache) if isinstance(block.cache, dict) else {}
    made = None
    with parts.found.collecting(f"{where}.cache"):
        made = CacheOptions.of({"folder": str(keep_of(block, parts.output) / "taps"), **options})
    if made is not None and made.folder and options.get("folder") is not None:
        parts.found.add(*place_problems(Path(made.folder), f"{where}.cache.folder"))
    return made


def _live(block: TeacherBlock, found: Collector, where: str) -> LiveOptions:
    """How the teacher is run."""
    with found.collecting(where):
        return LiveOptions(block.precision, block.device, block.sharded, block.runtime)
    return LiveOptions()


def _finetune(block: TeacherBlock, parts: Parts, where: str) -> Finetune | None:
    if block.finetune is None:
        return None
    one = [] if block.finetune.matches is None else [StageBlock(matches=block.finetune.matches)]
    if one and block.finetune.stages:
        fix, place = "put the matches into the stages", f"{where}.finetune.matches"
        parts.found.add(problem("matches and stages", "both are given", fix=fix, where=place))
    stages = [stage_of(stage) for stage in block.finetune.stages or one]
    name = "none" if parts.task is None else parts.task.name.replace("/", "-")
    key = cache(lambda: f"{name}-{_key(block, parts, stages)}")
    keep, frozen = keep_of(block, parts.output), block.finetune.frozen
    return Finetune(block.finetune.training, keep, key, stages, frozen, bool(block.finetune.stages))


def _key(block: TeacherBlock, parts: Parts, stages: Sequence[Any] = ()) -> str:
    """A hash of all that a fine-tuned teacher depends on: its weights, the data, the arguments."""
    given = {} if block.finetune is None else without_secrets(block.finetune.dumped())
    arguments = sorted((k, v) for k, v in given.items() if k != "seed")
    made = json.dumps(block.config, sort_keys=True)
    weights = loading.fingerprint(block.path) if block.config is None else made
    assert parts.task is not None
    told = [weights, parts.task.fingerprint(), arguments, parts.max_length or parts.task.default_length]
    if code := own_code([parts.task, parts.task.output, stages]):
        told.append(code)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:10]
