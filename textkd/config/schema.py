"""The keys of a recipe and their types."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from textkd.teachers.generation.recipe_keys import BlackBox, PseudoBlock


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class MatchBlock(_Block):
    """One line of ``matches:``; the fields of `textkd.Match`, where they are explained.

    tap: the address on both sides, or student and teacher: one each, or a list of addresses. loss, weight, schedule,
    temperature, layers, projection ("auto", "none" or a kind), options (the loss's own), fused (logits of a large
    vocabulary are never whole). from: the teacher, or several with combine and perhaps weights. target_gradient.
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
    from_: str | list[str] = Field(default="", alias="from")
    combine: str | None = None
    weights: list[int | float] | None = None
    target_gradient: bool = False


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


class TeacherBlock(_Block, BlackBox):
    """The teacher.

    recogniser: a black box that only reads (`BlackBox`); nothing else is given then. Else path: a folder, a hub id, or
    package:NAME/FOLDER inside an installed Python package. config: in its place, a new model with random weights, for
    kinds of task that have one (ocr: `textkd.new_ocr_model`), which finetune trains. finetune: `FinetuneBlock`, trains
    it on the task first, once. keep: the folder for fine-tuned teachers (default: ``teachers`` beside the run folder).
    sha256: of the weights file, checked before it is loaded. allow_pickle: also load pickle weights, which can run
    code.
    cache: the teacher's taps are kept on disk and computed once; a block holds the options of
    `textkd.teachers.CacheOptions`, as {precision: int8, logits: {top_k: 64}, max_gb: 20}. precision: auto (bf16 where
    the training is in bf16 and the hardware computes it fast), bf16 or float32. device: one of its own, as cuda:1.
    sharded: several processes share its weights out among them. runtime: torch, or int8: it computes in int8 through
    onnxruntime.
    """

    path: str = ""
    config: dict[str, Any] | None = None
    finetune: FinetuneBlock | None = None
    keep: str | None = None
    sha256: str | None = None
    allow_pickle: bool = False
    cache: bool | dict[str, Any] = False
    precision: str = "auto"
    device: str | None = None
    sharded: bool = False
    runtime: str = "torch"


class LinkBlock(_Block):
    """A student of a chain: name, student (a block as the recipe's own), training (arguments of its own), matches or
    stages in place of the recipe's."""

    name: str
    student: dict[str, Any]
    training: dict[str, Any] = Field(default_factory=dict)
    matches: list[MatchBlock] | None = None
    stages: list[StageBlock] | None = None


class CohortBlock(_Block):
    """Students that learn from each other. size: how many of the recipe's `student`; or students: a block each, by
    name. update: together, or in_turn."""

    size: int | None = None
    students: dict[str, dict[str, Any]] | None = None
    update: str = "together"


class ArtifactBlock(_Block):
    """What is shipped of a model: format (onnx), int8 (dynamic or static; default: float32), rows (training rows for
    the ranges of static), keep (the share of the model's main metric that it has to reach, else it is not written), of
    (the model; default: the student), name (of its row and folder)."""

    format: str
    int8: str = ""
    rows: int | None = None
    keep: int | float | None = None
    of: str = ""
    name: str = ""


class SearchBlock(_Block):
    """A search under a budget: budget ({latency_ms: 5, size_mb: 10, threads: 1}), over (values for keys of the recipe,
    by their dotted paths), trials (candidates at most), steps (of the shortest training)."""

    budget: dict[str, int | float]
    over: dict[str, list[Any]]
    trials: int = 12
    steps: int = 200


class QuantiseBlock(_Block):
    """The student learns on the int8 grid of `artifacts: [{format: onnx, int8: dynamic}]` (Apprentice, Mishra & Marr
    2018, arXiv:1711.05852). weights, activations: bits, 8. scheme: a (it learns together with its teacher: a cohort,
    whose first student is on the grid), b (the teacher is fixed; all stages are on the grid), c (the last stage is);
    default: a for a cohort, else b."""

    weights: int = 8
    activations: int = 8
    scheme: str = ""


class PruneBlock(_Block):
    """The student is pruned in rounds, and the teacher brings it back after each. target: {parameters: 0.5} (a share of
    the unpruned student's, or a count), {macs: 0.5} or {milliseconds: 2.5} (or 50%), these two of a row of `length`
    tokens. kind: a list of heads, ffn, hidden (default: ffn and heads). schedule: cubic, linear or one_shot. rounds:
    prunings (4). recover: epochs after each but the last (1). by, rows: how importance is measured, as of `shrink`."""

    target: dict[str, int | float | str]
    kind: str | list[str] | None = None
    schedule: str = "cubic"
    rounds: int | None = None
    recover: int | float | None = None
    by: str | None = None
    rows: int | None = None


class Recipe(_Block):
    """A whole recipe.

    about: a sentence on what it does and how long it takes, shown first. task: {name: glue, subset: sst2, path: DIR},
    or {name: text, train: FILE, ...} with the options of `textkd.tasks.text`. teacher: `TeacherBlock`; or teachers:
    several of them by name. student: one of
    {shrink: {layers: [2, 4, 6], heads: 8, ffn: 768}}, {path: FOLDER_OR_HUB_ID}, {config: {hidden_size: 128}}, {grow:
    {wider: {ffn: 2048}}}, {recurrent: {kind: bilstm}}, and from: the teacher (or a folder) that it is made of. chain: a
    list of `LinkBlock` in place of student: each teaches the next. cohort: `CohortBlock`: students that teach each
    other. prune: `PruneBlock`: the student, or without one the teacher's own blocks, is pruned in rounds. training:
    transformers' TrainingArguments. matches: a list of `MatchBlock`, or stages: a list of `StageBlock`, or preset: a
    name of `textkd ls presets` that stands for these, or {name: hinton, matches.1.weight: 0.5}. control: also train the
    student without a teacher; {learning_rate: 5.0e-5} gives it arguments of its own, all but those that change its
    steps, and frozen, names of modules. seeds: one run each (default: training.seed, or 42). max_length: tokens per row
    (default: 128, or fewer where a model has fewer positions). pseudo: `PseudoBlock`, for lines of text. artifacts: a
    list of `ArtifactBlock`: what is shipped beside plain folders. quantise: `QuantiseBlock`. search: `SearchBlock`: the
    student is searched for under a budget.
    """

    about: str = ""
    task: dict[str, Any]
    teacher: TeacherBlock | None = None
    teachers: dict[str, TeacherBlock] | None = None
    student: dict[str, Any] | None = None
    chain: list[LinkBlock] | None = None
    cohort: CohortBlock | None = None
    prune: PruneBlock | None = None
    training: dict[str, Any] = Field(default_factory=dict)
    matches: list[MatchBlock] | None = None
    stages: list[StageBlock] | None = None
    preset: str | dict[str, Any] | None = None
    control: bool | dict[str, Any] = True
    seeds: list[int] | None = None
    max_length: int | None = None
    pseudo: PseudoBlock | None = None
    artifacts: list[ArtifactBlock] = Field(default_factory=list)
    search: SearchBlock | None = None
    quantise: QuantiseBlock | None = None
