"""The keys of a recipe and their types; what is wrong with a recipe's values, all at once, with the path of each."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from textkd.errors import Problem, nearest, problem


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class MatchBlock(_Block):
    """One line of ``matches:``; the fields of `textkd.Match`, where they are explained.

    tap: the address on both sides, or student and teacher: one each, or a list of addresses. loss, weight, schedule,
    temperature, layers, projection ("auto", "none" or a kind), options (the loss's own), fused (logits of a large
    vocabulary are never whole).
    """

    tap: str | list[str] = ""
    student: str | list[str] = ""
    teacher: str | list[str] = ""
    loss: str | None = None
    weight: int | float = 1.0
    schedule: str | dict[str, Any] | None = None
    temperature: int | float | dict[str, Any] | None = None
    layers: str | dict[int, int] | list[list[int]] | None = None
    projection: str | None = "auto"
    options: dict[str, Any] = Field(default_factory=dict)
    fused: bool = False


class StageBlock(_Block):
    """One stage: name (for the report), its matches, training (what differs from the recipe's), frozen (dotted names
    of the student's modules that stay as they are)."""

    name: str = ""
    matches: list[MatchBlock]
    training: dict[str, Any] = Field(default_factory=dict)
    frozen: list[str] = Field(default_factory=list)


class FinetuneBlock(BaseModel):
    """How a teacher is trained on the task first: TrainingArguments (with a seed among them: one teacher for all seeds
    of the run) and these: frozen, modules that stay as they are; matches, or stages with matches, that need no teacher
    (default: the labels)."""

    model_config = ConfigDict(extra="allow", strict=True)

    frozen: list[str] = Field(default_factory=list)
    matches: list[MatchBlock] | None = None
    stages: list[StageBlock] | None = None

    @property
    def training(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    def dumped(self) -> dict[str, Any]:
        """The block as it was written."""
        return self.model_dump(exclude_unset=True)


class TeacherBlock(_Block):
    """The teacher.

    recogniser: an .onnx file of a PP-OCR line recogniser, a black box that only reads: nothing else is given then. Else
    path: a folder, a hub id, or package:NAME/FOLDER inside an installed Python package. config: {encoder: {...},
    decoder: {...}} in its place makes a new recogniser of lines (`textkd.new_ocr_model`), which finetune
    trains. finetune: `FinetuneBlock`, trains it on the task first, once. keep: the folder for fine-tuned teachers
    (default: ``teachers`` beside the run folder). sha256: of the weights file, checked before it is loaded.
    allow_pickle: also load pickle weights, which can run code.
    cache: the teacher's taps are kept on disk and computed once; a block holds the options of
    `textkd.teachers.CacheOptions`, as {precision: int8, logits: {top_k: 64}, max_gb: 20}. precision: auto (bf16 where
    the training is in bf16 and the hardware computes it fast), bf16 or float32. device: one of its own, as cuda:1.
    sharded: several processes share its weights out among them.
    """

    recogniser: str | None = None
    path: str = ""
    config: dict[str, dict[str, Any]] | None = None
    finetune: FinetuneBlock | None = None
    keep: str | None = None
    sha256: str | None = None
    allow_pickle: bool = False
    cache: bool | dict[str, Any] = False
    precision: str = "auto"
    device: str | None = None
    sharded: bool = False


class PseudoBlock(_Block):
    """The teacher writes the targets, as `textkd.Pseudo` explains.

    lines: a source of lines, as a path, {path: ...} or a list of them, that the teacher reads (default: the task's own
    train lines). num_beams: of a teacher that is a model. mix: the share of the own train lines that take the teacher's
    text. min_confidence: of a text that is taken. max_cer: of one whose line has a transcription. change: lower or
    upper, for transcriptions of one case.
    """

    lines: str | dict[str, Any] | list[Any] | None = None
    num_beams: int = 4
    mix: int | float = 1.0
    min_confidence: int | float | None = None
    max_cer: int | float | None = None
    change: str | None = None


class Recipe(_Block):
    """A whole recipe.

    about: a sentence on what it does and how long it takes, shown first. task: {name: glue, subset: sst2, path: DIR},
    or {name: text, train: FILE, ...} with the options of `textkd.tasks.text`. teacher: `TeacherBlock`. student: one of
    {shrink: {layers: [2, 4, 6]}}, {path: FOLDER_OR_HUB_ID}, {config: {hidden_size: 128}}. training: transformers'
    TrainingArguments. matches: a list of `MatchBlock`, or stages: a list of `StageBlock`, or preset: a name of
    `textkd ls presets` that stands for these, or {name: hinton, matches.1.weight: 0.5}. control: also train the
    student without a teacher; {learning_rate: 5.0e-5} gives it arguments of its own, all but those that change its
    steps. seeds: one run each (default: training.seed, or 42). max_length: tokens per row (default: 128, or fewer where
    a model has fewer positions). pseudo: `PseudoBlock`, for lines of text.
    """

    about: str = ""
    task: dict[str, Any]
    teacher: TeacherBlock
    student: dict[str, Any]
    training: dict[str, Any] = Field(default_factory=dict)
    matches: list[MatchBlock] | None = None
    stages: list[StageBlock] | None = None
    preset: str | dict[str, Any] | None = None
    control: bool | dict[str, Any] = True
    seeds: list[int] | None = None
    max_length: int | None = None
    pseudo: PseudoBlock | None = None


BLOCKS: dict[str, type[BaseModel]] = {
    "": Recipe, "teacher": TeacherBlock, "finetune": FinetuneBlock, "stages": StageBlock, "matches": MatchBlock,
    "pseudo": PseudoBlock,
}  # fmt: skip
# what a value of a wrong type should have been; a union of types says it badly
EXPECTED = {
    "about": "a text", "task": "a block, as {name: glue, subset: sst2}", "teacher": "a block, as {path: FOLDER}",
    "student": "a block, as {shrink: {layers: [2, 4, 6]}}", "training": "a block, as {num_train_epochs: 3}",
    "matches": "a list, as [{tap: labels}, {tap: logits}]", "stages": "a list of {matches: [...]}",
    "preset": "a name of `textkd ls presets`, or {name: hinton, matches.1.weight: 0.5}",
    "control": "true, false, or a block, as {learning_rate: 5.0e-5}",
    "seeds": "a list of whole numbers, as [1, 2, 3]", "max_length": "a whole number",
    "layers": "the name of a layer map, {student: teacher}, or pairs", "weight": "a number",
    "temperature": "a number or a schedule", "schedule": "a schedule, as {kind: linear}", "options": "a block",
    "fused": "true or false",
    "projection": "auto, none, or a kind of projection", "loss": "the name of a loss",
    "tap": 'an address, as "hidden", or a list',
    "finetune": "a block, as {num_train_epochs: 3}", "allow_pickle": "true or false",
    "cache": "true, false or a block, as {precision: bf16, max_gb: 20}", "precision": "auto, bf16 or float32",
    "device": "the name of a device, as cuda:1", "sharded": "true or false",
    "frozen": "a list of module names", "recogniser": "the path of an .onnx file", "num_beams": "a whole number",
    "pseudo": "a block, as {min_confidence: 0.9}", "lines": "a path, {path: ...} or a list of these",
    "mix": "a number from 0 to 1", "min_confidence": "a number from 0 to 1", "max_cer": "a number, such as 0.2",
    "change": "lower or upper",
}  # fmt: skip
# stands for a required value that is absent or of a wrong type, so that the rest can still be looked at
_STAND_INS: dict[str, Any] = {
    "task": {},
    "teacher": {},
    "student": {},
    "stages.matches": [],
    "teacher.finetune.stages.matches": [],
}


def validate(values: Mapping[str, Any]) -> tuple[Recipe | None, list[Problem]]:
    """(recipe, problems). The recipe of bad values leaves out what is bad, so that others can look at the rest; values
    that a reported place needs and lacks are empty. None where even that cannot be."""
    values, problems = copy.deepcopy(dict(values)), dict[str, Problem]()
    for _ in range(4):  # dropping a value of a wrong type can make a required one absent
        try:
            recipe = Recipe.model_validate(values)
            if not any(place.split(".")[0] == "teacher" for place in problems):
                problems.update({p.where: p for p in _teacher_problems(recipe.teacher)})
            return recipe, list(problems.values())
        except ValidationError as error:
            for one in _without_echoes(error):
                found = _problem(one)
                problems.setdefault(found.where, found)
                if not _mend(values, one):
                    return None, list(problems.values())
    return None, list(problems.values())


def _teacher_problems(block: TeacherBlock) -> list[Problem]:
    """A teacher is loaded or made, never both; a made one has to be trained."""
    example = "path: FOLDER_OR_HUB_ID"
    if block.recogniser is not None:
        fix = "leave it out: a recogniser is one file and is used as it is"
        others = [name for name in block.model_fields_set if name not in ("recogniser", "keep")]
        return [problem(f"teacher.{name} beside teacher.recogniser", "both are given", fix=fix, where=f"teacher.{name}")
                for name in sorted(others)]  # fmt: skip
    if not block.path and block.config is None:
        return [problem("a teacher", "no path", fix=f"add {example}", where="teacher.path")]
    if block.path and block.config is not None:
        return [problem("teacher.path and teacher.config", "both are given", fix="keep one", where="teacher.config")]
    if block.config is not None and block.finetune is None:
        fix = "add finetune: {num_train_epochs: 30}"
        return [problem("teacher.config", "random weights teach nothing", fix=fix, where="teacher.config")]
    return []


def _mend(values: Any, error: Any) -> bool:
    *parents, last = error["loc"]
    if isinstance(last, int):
        return False  # without a member of a list all later ones would have other numbers
    for part in parents:
        values = values[part]
    path = ".".join(part for part in error["loc"] if isinstance(part, str))
    if path in _STAND_INS:
        values[last] = copy.deepcopy(_STAND_INS[path])
    else:
        values.pop(last, None)
    return True


LISTS, ENDS = ("layers", "seeds", "frozen"), ("tap", "student", "teacher")  # of which a part can be wrong


def _without_echoes(error: ValidationError) -> list[Any]:
    """One error per place: a union reports every alternative that failed."""
    first: dict[tuple[Any, ...], Any] = {}
    for one in error.errors():
        place = tuple(part for part in one["loc"] if not _is_alternative(part))
        inside = next((i for i, part in enumerate(place) if part in LISTS or (i and part in ENDS)), len(place))
        first.setdefault(place[: inside + 1], {**one, "loc": place[: inside + 1]})
    return list(first.values())


def _is_alternative(part: Any) -> bool:
    return isinstance(part, str) and ("[" in part or part in ("int", "float", "str", "bool"))


def _problem(error: Any) -> Problem:
    loc = error["loc"]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")
    name = next((str(part) for part in reversed(loc) if isinstance(part, str)), "")
    if error["type"] == "extra_forbidden":
        owner = [part for part in loc[:-1] if isinstance(part, str)]
        known = BLOCKS[owner[-1] if owner else ""].model_fields
        fix = f"one of {', '.join(known)}"
        return Problem(f"{name}: {error['input']!r}", "unknown key", nearest(name, known), fix, where)
    if error["type"] == "missing":
        return Problem(f"{where}", "not given", (), f"add {name}: {EXPECTED.get(name, '...')}", where)
    expected = EXPECTED["tap"] if "matches" in loc and name in ("student", "teacher") else EXPECTED.get(name, "")
    fix = f"give {expected}" if expected else ""
    return Problem(f"{name}: {error['input']!r}", f"{error['msg'][:1].lower()}{error['msg'][1:]}", (), fix, where)
