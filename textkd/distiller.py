"""Distiller: check, train teacher, student and control, measure, report. What a Python user calls."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import set_seed
from torch import Tensor, nn
from transformers import TrainingArguments

from textkd import pretrained, report
from textkd.checkpoints import write_json
from textkd.errors import Collector, TextkdError, fail
from textkd.runs import RunFolder, locked
from textkd.matches import Match, Pair
from textkd.methods import wiring
from textkd.methods.stages import Data, Stage, frozen_problem, run_stages
from textkd.predict import predict
from textkd.results import RECORD, Finished, gather, labels_of
from textkd.taps import anatomy
from textkd.teachers import forward_inputs
from textkd.trainer import check_arguments

log = logging.getLogger("textkd")
LABELS_ONLY = (Match("labels"),)


@dataclass(frozen=True)
class Finetune:
    """How a teacher is made: `training` arguments, and the folder that keeps it, named by everything it depends on.
    A seed among the arguments makes one teacher for all seeds of the run; else every seed has its own."""

    training: Mapping[str, Any]
    keep: Path
    key: str

    def seed(self, seed: int) -> int:
        return int(self.training.get("seed", seed))

    def folder(self, seed: int) -> Path:
        return self.keep / f"{self.key}-seed{self.seed(seed)}"


@dataclass(frozen=True)
class Result:
    """What a run ends in. metrics: means over seeds by model. student: the first seed's student folder."""

    metrics: dict[str, dict[str, float]]
    report: Path
    student: Path
    summary: dict[str, Any]


class Distiller:
    """Distils `teacher` into `student` on `task` and reports honestly.

    teacher: a PreTrainedModel, or a function that makes one. student: a PreTrainedModel or ``f(teacher, seed)``. task:
    of `textkd.tasks`. matches: what is compared (`Match`), or stages: a list of `Stage`. args: TrainingArguments (those
    that differ from transformers' defaults count) or a dict of them; ``output_dir`` is the run folder. control: also
    train the same student, same init, data order and steps, without the teacher. seeds: one run each; mean and spread
    are reported. tokenizer: the student's and teacher's; by default the teacher's own folder has it.

    Raises `TextkdError` with every problem of the input before anything is trained or written.
    """

    def __init__(
        self,
        teacher: nn.Module | Callable[[], nn.Module],
        student: nn.Module | Callable[[nn.Module, int], nn.Module],
        task: Any,
        matches: Sequence[Match] = (),
        args: TrainingArguments | Mapping[str, Any] | None = None,
        *,
        stages: Sequence[Stage] = (),
        control: bool = True,
        seeds: Sequence[int] | None = None,
        tokenizer: Any = None,
        max_length: int = 128,
        finetune: Finetune | None = None,
        name: str = "",
        recipe: str = "",
    ) -> None:
        self.training = _arguments(args)
        self.folder = RunFolder(Path(self.training.pop("output_dir", None) or f"runs/{name or 'distil'}"))
        self.seeds = list(seeds) if seeds else [int(self.training.get("seed", 42))]
        self.training.pop("seed", None)
        self.stages = list(stages) or [Stage(tuple(matches))]
        self.task, self.control, self.max_length, self.finetune = task, control, max_length, finetune
        self.name, self.recipe = name or self.folder.path.name, recipe
        self._teacher, self._student, self._tokenizer = teacher, student, tokenizer
        self._both = bool(matches) and bool(stages)
        self.pairs: list[list[Pair]] = []
        self.warnings: list[str] = []

    # -- what the run is made of -------------------------------------------------------------------------------------

    @cached_property
    def teacher(self) -> nn.Module:
        """The teacher as given, before any fine-tuning."""
        return self._teacher if isinstance(self._teacher, nn.Module) else self._teacher()

    def build_student(self, teacher: nn.Module, seed: int) -> nn.Module:
        """The student of `seed` before training: the same for the distilled student and its control."""
        set_seed(seed)
        if isinstance(self._student, nn.Module):
            return pretrained.clone(self._student)
        return self._student(teacher, seed)

    @cached_property
    def tokenizer(self) -> Any:
        return self._tokenizer or getattr(self.task, "tokenizer", None) or pretrained.load_tokenizer(self.teacher.name_or_path)

    @cached_property
    def data(self) -> Data:
        """The encoded task; its columns are the union of what teacher and student take."""
        inputs = forward_inputs(self.teacher) | forward_inputs(self.build_student(self.teacher, self.seeds[0]))
        encoded = {split: self.task.encode(self.tokenizer, split, inputs, self.max_length) for split in ("train", "eval")}
        return Data(
            **encoded, collator=self.task.collator(self.tokenizer), compute_metrics=self.task.compute_metrics,
            problem_type=self.task.problem_type, main_metric=self.task.main_metric, processing_class=self.tokenizer,
        )  # fmt: skip

    # -- before anything runs ----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises one `TextkdError` with every problem of data, models, matches and arguments. Writes nothing."""
        found = Collector()
        if self._both:
            found.add(*fail("matches and stages", "both given", fix="put the matches into the stages").problems)
        with found.collecting("training"):
            found.add(*check_arguments(self.training))
        if self.finetune is not None:
            with found.collecting("teacher.finetune"):
                found.add(*check_arguments(self.finetune.training))
        with found.collecting("task"):
            self.task.problems()
        with found.collecting("student"):
            found.add(*pretrained.check_pair(self.teacher, self.build_student(self.teacher, self.seeds[0])))
        if not found.problems:
            self.folder.check(self.fingerprint)
        self.pairs = self._check_stages(found)
        found.raise_any()

    def _check_stages(self, found: Collector) -> list[list[Pair]]:
        """Every stage's matches, bound to the models and tried on real rows (made-up ones where the data is bad)."""
        student, stages = self.build_student(self.teacher, self.seeds[0]), []
        bad_data = any(p.where.startswith("task") for p in found.problems)
        batch = made_up_batch(self.teacher) if bad_data else self.data.sample()
        for i, stage in enumerate(self.stages):
            where = f"stages[{i}]" if len(self.stages) > 1 else ""
            with found.collecting(where):
                found.add(*check_arguments(stage.training))
                found.add(*(p for name in stage.frozen if (p := frozen_problem(student, name))))
                with found.collecting("matches"):
                    stages.append(wiring.check(student, self.teacher, stage.matches, batch, self.task.problem_type))
        return stages

    @cached_property
    def fingerprint(self) -> str:
        """What makes this run this run; a folder of another one is refused."""
        return self.recipe or repr((self.task.fingerprint(), self.stages, self.training, self.seeds, self.control))

    def plan(self) -> list[str]:
        """What `run` will do, a line each."""
        blocks = [anatomy(m).num_blocks for m in (self.teacher, self.build_student(self.teacher, self.seeds[0]))]
        seeds = f"seeds {', '.join(map(str, self.seeds))}" if len(self.seeds) > 1 else f"seed {self.seeds[0]}"
        examples = f"{len(self.data.train)} training and {len(self.data.eval)} evaluation examples"
        lines = [f"{self.name}: {self.task.name}, {examples}, {seeds}"]
        if self.finetune is not None:
            made = [self.finetune.folder(seed) for seed in self.seeds]
            done = all((folder / RECORD).is_file() for folder in made)
            lines.append(f"teacher: {blocks[0]} blocks, {'is there already' if done else 'is fine-tuned first and kept'}: {made[0].parent}")
        what = "student and control (the same without a teacher)" if self.control else "student"
        lines.append(f"{what}: {blocks[1]} blocks, {len(self.stages)} stage{'s' * (len(self.stages) > 1)}; report in {self.folder.path}")
        return lines

    def describe(self, role: str) -> str:
        """One line on what a model of the report is."""
        return {
            "teacher": "the teacher" + (", fine-tuned on the task by this run" if self.finetune else ", as given"),
            "student": "distilled from the teacher",
            "control": "the same student, start, data order and steps, without a teacher",
        }[role]

    # -- the run -----------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Trains what is not trained yet, measures, writes the report. Resumes a killed run; a finished one is read."""
        self.check()
        started = time.monotonic()
        with pretrained.quiet(), locked(self.folder.path):
            self.folder.claim(self.fingerprint, self.name)
            if not self.folder.is_finished:
                finished = [self._seed(seed) for seed in self.seeds]
                if PartialState().is_main_process:
                    gather(self, finished, time.monotonic() - started, self.pairs)
                PartialState().wait_for_everyone()
            return self.result()

    def result(self) -> Result:
        page = report.build(self.folder.path)
        summary = json.loads((self.folder.path / "report.json").read_text())
        metrics = {who: summary[who]["metrics"] for who in ("teacher", "student", "control") if who in summary}
        return Result(metrics, page, self.folder.model("student", self.seeds[0]), summary)

    def _seed(self, seed: int) -> dict[str, Finished]:
        teacher = self._finished_teacher(seed)
        done = {"teacher": teacher}
        done["student"] = self._train(self.folder.model("student", seed), teacher.load, self.stages, seed, "student")
        if self.control:
            # the same stages, so the same steps and learning rates, but labels alone teach and nothing is frozen
            stages = [Stage(LABELS_ONLY, stage.training, name=stage.name) for stage in self.stages]
            done["control"] = self._train(self.folder.model("control", seed), teacher.load, stages, seed, "control")
        return done

    def _finished_teacher(self, seed: int) -> Finished:
        if self.finetune is None:
            return Finished.given(self.teacher, self.data, self.task)
        folder = self.finetune.folder(seed)
        with locked(folder, wait=True):
            known = Finished.read(folder, self.task)
            if known is not None:
                log.info("teacher: %s is there already, from an earlier run", folder)
                return known
            stage = Stage(LABELS_ONLY, dict(self.finetune.training))
            return self._train(folder, None, [stage], self.finetune.seed(seed), "teacher")

    def _train(
        self, folder: Path, teacher: Callable[[], nn.Module] | None, stages: Sequence[Stage], seed: int, role: str
    ) -> Finished:
        """One model from its start to its folder; a folder that is there already is read."""
        known = Finished.read(folder, self.task)
        if known is not None:
            return known
        work = folder.with_name(f"{folder.name}.work")
        tutor = None if teacher is None else teacher()
        model = pretrained.clone(self.teacher) if tutor is None else self.build_student(tutor, seed)
        label = f"{role}, seed {seed}" if len(self.seeds) > 1 else role
        training = {} if role == "teacher" else self.training
        with report.PeakMemory() as memory:
            trained = run_stages(work, model, tutor if role == "student" else None, stages, self.data, training, seed, label)
        record = {**vars(trained), "peak_mb": memory.mb, "seed": seed}
        if PartialState().is_main_process:
            self._publish(folder, model, record)
            shutil.rmtree(work, ignore_errors=True)
        PartialState().wait_for_everyone()
        done = Finished.read(folder, self.task)
        assert done is not None
        return done

    def _publish(self, folder: Path, model: nn.Module, record: dict[str, Any]) -> None:
        """A plain Hugging Face folder with textkd.json beside; the metrics are those of the reloaded weights."""
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        model.save_pretrained(part)
        self.tokenizer.save_pretrained(part)
        reloaded = pretrained.load_model(str(part), self.task.auto_class).to(next(model.parameters()).device)
        logits = predict(reloaded, self.data.eval, self.data.collator)
        record["metrics"] = self.task.compute_metrics(logits, labels_of(self.data.eval))
        write_json(part / RECORD, record)
        os.replace(part, folder)


def made_up_batch(model: nn.Module) -> dict[str, Tensor]:
    """Two short rows of arbitrary tokens, to try taps on where the data cannot be read."""
    ids = torch.arange(2 * 8).reshape(2, 8) % getattr(model.config, "vocab_size", 16)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.zeros(2, dtype=torch.long)}


def _arguments(args: TrainingArguments | Mapping[str, Any] | None) -> dict[str, Any]:
    if args is None or isinstance(args, Mapping):
        return dict(args or {})
    plain = TrainingArguments(output_dir=args.output_dir)
    names = [f.name for f in fields(TrainingArguments) if f.init]
    return {n: getattr(args, n) for n in names if n == "output_dir" or getattr(args, n) != getattr(plain, n)}
