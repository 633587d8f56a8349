"""What a run will do, and what its models are, in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING

from torch import nn

from textkd.errors import hidden
from textkd.experiment.collect_results import RECORD
from textkd.models.processes import processes
from textkd.models.taps import anatomy

if TYPE_CHECKING:
    from textkd.experiment.distiller import Distiller


def plan(distiller: Distiller) -> list[str]:
    """What `run` will do, a line each."""
    d = distiller
    *teachers, student = (anatomy(model).num_blocks for model in d.models())
    seeds = f"seeds {', '.join(map(str, d.seeds))}" if len(d.seeds) > 1 else f"seed {d.seeds[0]}"
    examples = f"{len(d.data.train)} training and {len(d.data.eval)} evaluation examples"
    lines = [f"{d.name}: {d.task.name}, {examples}, {seeds}"]
    if d.finetune is not None:
        made = [d.finetune.folder(seed) for seed in d.seeds]
        done = all((folder / RECORD).is_file() for folder in made)
        state = "is there already" if done else "is fine-tuned first and kept"
        lines.append(f"teacher: {teachers[0]} blocks, {state}: {made[0].parent}")
    if d.cache is not None:
        lines.append(f"teacher cache: its taps of the training rows are computed once and kept in {d.cache.folder}")
    if d.targets is not None:
        table, who = d.targets.table, f"a {_name(d.teacher)}" if d.is_black_box else "the teacher"
        lines.append(f"pseudo labels: {who} reads {len(table)} lines of {table.source}, kept in {d.targets.keep}")
    what = "student and control (the same without a teacher)" if d.control else "student"
    stages = f"{len(d.stages)} stages" if len(d.stages) > 1 else "1 stage"
    lines.append(f"{what}: {student} blocks, {stages}; report in {d.folder.path}")
    return lines


def describe(distiller: Distiller, role: str) -> str:
    """One line on what a model of the report is."""
    return {"teacher": _teacher, "student": _student, "control": _control}[role](distiller)


def _teacher(d: Distiller) -> str:
    if not d.is_black_box:
        what = "fine-tuned on the task by this run" if d.finetune else "as given"
        # the last part alone: a report that travels need not tell where files lie
        known = PurePath(str(getattr(d.teacher, "name_or_path", "") or "")).name
        return f"{known}, {what}" if known else what if d.finetune is None else "trained on the task by this run"
    change = f", its texts in {d.targets.pseudo.change} case" if d.targets and d.targets.pseudo.change else ""
    timed = "" if hasattr(d.teacher, "prepared") else "; its times hold the preparation of images"
    where = "" if processes().device.type == "cpu" else ", on the CPU"
    return f"a black box that only reads ({_name(d.teacher)}{where}){change}{timed}"


def _student(d: Distiller) -> str:
    if d.targets is None:
        return "distilled from the teacher"
    if d.targets.pseudo.lines is None:
        return "trained on texts that the teacher read in the train lines" + _also(d)
    own = f"the {len(d.targets.own):,} transcribed train lines and on " if d.targets.own else ""
    return f"trained on {own}texts that the teacher read in {d.targets.source}" + _also(d)


def _also(d: Distiller) -> str:
    """Whether the student learns from more than texts."""
    taps = [match.tap or match.teacher for stage in d.stages for match in stage.matches]
    return ", and distilled from it" if any(tap != "labels" for tap in taps) else ""


def _control(d: Distiller) -> str:
    own = hidden(d.control) if isinstance(d.control, Mapping) else {}
    more = "".join(f", {name} {value}" for name, value in own.items())
    if d.targets is None:
        return f"the same student, start, data order and steps, without a teacher{more}"
    count = f"{len(d.targets.own):,} transcribed train lines"
    return f"the same student and start, without a teacher: on the {count} alone, for as many optimizer steps{more}"


def _name(teacher: object) -> str:
    """What a black box is called."""
    assert not isinstance(teacher, nn.Module)
    file = getattr(getattr(teacher, "path", None), "name", "")
    return f"{type(teacher).__name__} {file}".strip()
