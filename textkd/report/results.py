"""results.json: all that a finished run leaves for its report. Strict: a wrong key is an error, not a missing row."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from textkd.errors import TextkdError, fail, problem
from textkd.models.files import write_atomic
from textkd.tasks.metrics.directions import falls

FILE = "results.json"
Role = Literal["teacher", "student", "control"]
ROLES: tuple[Role, ...] = ("teacher", "student", "control")
# The page stays one file under 2 MB: images of at most 40,000 characters each (the address, not the picture's bytes).
IMAGE_CHARACTERS = 40_000
GALLERY_LINES = 24


class _Strict(BaseModel):
    # Not-a-number stays readable: a run that diverged is the one whose report is needed most.
    model_config = ConfigDict(strict=True, extra="forbid", ser_json_inf_nan="constants")


class HistoryRow(_Strict):
    """One line of a training's log. `eval` holds metrics where the model was evaluated at this step."""

    step: int = Field(ge=0)
    epoch: float | None = None
    stage: int = 1
    loss: float | None = None
    parts: dict[str, float] = {}
    eval: dict[str, float] | None = None


class Run(_Strict):
    """One seed of one model. train_s (seconds) and steps are None where nothing was trained here; MB = 1e6 bytes."""

    seed: int | None
    metrics: dict[str, float]
    train_s: float | None
    peak_mb: float | None
    steps: int | None
    history: list[HistoryRow] = []


class ModelResult(_Strict):
    """One model of the comparison; size and speed are those of its first seed. The sizes of a black box may be unknown
    (None)."""

    description: str
    architecture: str
    path: str | None
    parameters: int | None = Field(ge=0)
    disk_mb: float | None
    latency_ms: float
    samples_per_s: float
    # Of models that write a text from an image: the encoder's part of the latency, and how many tokens were written
    # for the image of the latency and, on average, in the batch of the throughput.
    encoder_share: float | None = Field(default=None, ge=0, le=1)
    latency_tokens: float | None = None
    tokens_per_sample: float | None = None
    runs: list[Run] = Field(min_length=1)

    def values(self, metric: str) -> list[float]:
        """The metric of every run that has it, in the order of the runs."""
        return [run.metrics[metric] for run in self.runs if metric in run.metrics]

    def mean(self, metric: str) -> float | None:
        values = self.values(metric)
        return statistics.fmean(values) if values else None

    def spread(self, metric: str) -> float:
        """Sample standard deviation over the runs, 0.0 with fewer than two."""
        values = self.values(metric)
        # statistics.stdev meets not-a-number with an AttributeError.
        if not all(math.isfinite(value) for value in values):
            return math.nan
        return statistics.stdev(values) if len(values) > 1 else 0.0

    @property
    def one_by_one_per_s(self) -> float | None:
        """Samples per second in batches of one."""
        return 1e3 / self.latency_ms if self.latency_ms > 0 else None

    @property
    def train_s(self) -> float | None:
        """Mean seconds of training over the runs that were trained here."""
        seconds = [run.train_s for run in self.runs if run.train_s is not None]
        return statistics.fmean(seconds) if seconds else None

    @property
    def peak_mb(self) -> float | None:
        return max((run.peak_mb for run in self.runs if run.peak_mb is not None), default=None)

    @model_validator(mode="after")
    def _same_metrics(self) -> ModelResult:
        names = set(self.runs[0].metrics)
        if any(set(run.metrics) != names for run in self.runs):
            raise ValueError("the runs do not all have the same metrics")
        return self


class LayerMap(_Strict):
    """Which student block learnt from which teacher block: `pairs` of (student, teacher); block 0 is the embeddings."""

    stage: int
    tap: str
    loss: str
    pairs: list[Annotated[tuple[int, int], Field(strict=False)]]
    student_blocks: int = Field(ge=0)
    teacher_blocks: int = Field(ge=0)

    @model_validator(mode="after")
    def _inside(self) -> LayerMap:
        for student, teacher in self.pairs:
            if not (0 <= student <= self.student_blocks and 0 <= teacher <= self.teacher_blocks):
                raise ValueError(f"pair ({student}, {teacher}) names a block that does not exist")
        return self


class Counts(_Strict):
    """Evaluated examples by who was right."""

    both_right: int = Field(ge=0)
    only_teacher: int = Field(ge=0)
    only_student: int = Field(ge=0)
    both_wrong: int = Field(ge=0)


Answer = str | int | float | list[str] | list[int] | list[float]
Probability = float | list[float]


class Example(_Strict):
    """One text with its label, what each model said, and the probability of what it said."""

    text_a: str
    text_b: str | None = None
    label: Answer
    teacher: Answer
    student: Answer
    control: Answer | None = None
    teacher_p: Probability | None = None
    student_p: Probability | None = None
    control_p: Probability | None = None


class Disagreements(_Strict):
    """Where teacher and student differ; `counts` is None for regression, where nobody is right or wrong."""

    counts: Counts | None = None
    examples: list[Example] = []


class GalleryLine(_Strict):
    """One image with its reference and what every model read. `rank` of `lines`: its place by the student's CER."""

    image: str = Field(pattern=r"^data:image/png;base64,[A-Za-z0-9+/]+=*$", max_length=IMAGE_CHARACTERS)
    reference: str
    teacher: str | None = None
    student: str
    control: str | None = None
    cer: dict[Role, float]
    chosen: Literal["good", "median", "worst"]
    rank: int = Field(ge=1)
    lines: int = Field(ge=1)

    def said(self, role: Role) -> str | None:
        return {"teacher": self.teacher, "student": self.student, "control": self.control}[role]


class Measure(_Strict):
    """How speed was measured. `generation`: the settings of `generate`, where models write texts; they are the same for
    the metrics and for the speed of all models."""

    device: str
    threads: int | None
    dtype: str
    batch: dict[Literal["latency", "throughput"], int]
    repeats: int
    sequence_length: int | None
    generation: dict[str, int | float | bool | str | None] | None = None


class Hardware(_Strict):
    cpu: str
    cores: int
    gpu: list[str]


class Results(_Strict):
    """The whole of results.json."""

    name: str
    task: str
    main_metric: str
    metrics_order: list[str]
    greater_is_better: bool = True
    seeds: list[int] = Field(min_length=1)
    recipe: str
    seconds_total: float
    models: dict[Role, ModelResult]
    layer_maps: list[LayerMap] = []
    disagreements: Disagreements | None = None
    gallery: list[GalleryLine] = Field(default=[], max_length=GALLERY_LINES)
    measure: Measure
    versions: dict[str, str]
    hardware: Hardware
    warnings: list[str] = []

    @property
    def metric_names(self) -> list[str]:
        """The asked order first, then whatever else a model was measured in."""
        found = [name for model in self.models.values() for name in model.runs[0].metrics]
        return list(dict.fromkeys([*self.metrics_order, *found]))

    @property
    def writes(self) -> bool:
        """Whether the models write texts (`generate`) rather than give labels."""
        return self.measure.generation is not None

    def lower_is_better(self, metric: str) -> bool:
        if metric == self.main_metric:
            return not self.greater_is_better
        return falls(metric)

    @model_validator(mode="after")
    def _complete(self) -> Results:
        for role in ("teacher", "student"):
            if role not in self.models:
                raise ValueError(f"models has no {role}")
        for role, model in self.models.items():
            if self.main_metric not in model.runs[0].metrics:
                raise ValueError(f"the {role} has no {self.main_metric}, the main metric")
        return self


def load(run_dir: str | Path) -> Results:
    """The results of a finished run.

    Raises a TextkdError that tells an unfinished run (no file) from a damaged file, with every problem found in it.
    """
    path = Path(run_dir) / FILE
    asked = f"the results of {Path(run_dir)}"
    if not Path(run_dir).is_dir():
        raise fail(asked, "there is no such folder", fix="give the folder that `textkd run` wrote")
    if not path.is_file():
        fix = "start the same `textkd run` again: it goes on where it stopped"
        raise fail(asked, f"the run is not finished: no {FILE} in the folder", fix=fix)
    try:
        return Results.model_validate_json(path.read_bytes())
    except ValidationError as error:
        found = [(".".join(map(str, e["loc"])) or FILE, e["msg"]) for e in error.errors(include_url=False)]
        fix = f"delete {FILE} and start the same `textkd run` again"
        raise TextkdError(*(problem(asked, f"damaged: {what}", where=at, fix=fix) for at, what in found)) from error


def save(run_dir: str | Path, results: Results) -> Path:
    """Writes results.json into the run's folder, whole or not at all."""
    return write_atomic(Path(run_dir) / FILE, results.model_dump_json(indent=1, exclude_unset=True) + "\n")


def ordered_roles(roles: Iterable[Role]) -> list[Role]:
    """Teacher, student, control: as many of them as there are."""
    present = set(roles)
    return [role for role in ROLES if role in present]
