"""results.json: all that a finished run leaves for its report. Strict: a wrong key is an error, not a missing row."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from textkd.errors import TextkdError, fail, problem, reading
from textkd.models.files import write_atomic
from textkd.models.regular import special
from textkd.report import first_edition
from textkd.report.evidence import GALLERY_LINES, Disagreements, GalleryLine, LayerMap
from textkd.report.model_result import ModelResult, Strict

FILE = "results.json"
MOST_MODELS = 24


class Compare(Strict):
    """The three models that the headline speaks of, by name.

    teacher is None where models learn from each other or from themselves; control is the student trained without that.
    """

    student: str
    teacher: str | None = None
    control: str | None = None


class Measure(Strict):
    """How speed was measured. `generation`: the settings of `generate`, where models write texts; they are the same for
    the metrics and for the speed of all models."""

    device: str
    threads: int | None
    dtype: str
    batch: dict[Literal["latency", "throughput"], int]
    repeats: int
    sequence_length: int | None
    generation: dict[str, int | float | bool | str | None] | None = None


class Hardware(Strict):
    cpu: str
    cores: int
    gpu: list[str]


class Results(Strict):
    """The whole of results.json: all that a finished run leaves for its report. A wrong key is an error.

    Attributes:
        name: of the run.
        task: the name of the task.
        main_metric: what models are compared by.
        metrics_order: the metrics in the order in which they are shown.
        greater_is_better: whether more of the main metric is better.
        falling: the metrics where less is better; of the main metric, `greater_is_better` says it.
        seeds: of the run.
        recipe: its text.
        seconds_total: seconds of the whole run.
        models: by name, in the order in which they are shown; 24 at most.
        compare: the three that the headline speaks of: student, teacher, control.
        layer_maps: which blocks learned from which.
        disagreements: examples where the student and its reference differ.
        gallery: lines with what every model read; see `gallery`.
        measure: how speed was measured.
        versions: of Python and the libraries.
        hardware: what speed was measured on.
        max_length: tokens of a row, at which texts were cut; None: not known, or the rows are no texts.
        warnings: what the report tells beside its figures.

    Raises:
        pydantic.ValidationError: a key is wrong or missing, or a model is named that is not there.

    Example:
        >>> run = {"seed": 0, "metrics": {"accuracy": 0.9}, "train_s": None, "peak_mb": None, "steps": None}
        >>> size = {"parameters": 100, "disk_mb": None, "latency_ms": 2.0, "samples_per_s": 900.0}
        >>> model = {"description": "6x384", "architecture": "BertModel", "path": None, **size, "runs": [run]}
        >>> how = {"device": "cpu", "threads": 1, "dtype": "float32", "batch": {}, "repeats": 3, "sequence_length": 8}
        >>> results = Results(
        ...     name="run", task="glue/sst2", main_metric="accuracy", metrics_order=["accuracy"], seeds=[0], recipe="",
        ...     seconds_total=1.0, models={"small": model}, compare={"student": "small"}, measure=how, versions={},
        ...     hardware={"cpu": "", "cores": 1, "gpu": []},
        ... )
        >>> results.student.mean("accuracy"), results.teacher
        (0.9, None)
    """

    name: str
    task: str
    main_metric: str
    metrics_order: list[str]
    greater_is_better: bool = True
    falling: list[str] = Field(default=[])
    seeds: list[int] = Field(min_length=1)
    recipe: str
    seconds_total: float
    models: dict[str, ModelResult] = Field(min_length=1, max_length=MOST_MODELS)
    compare: Compare
    layer_maps: list[LayerMap] = Field(default=[])
    disagreements: Disagreements | None = None
    gallery: list[GalleryLine] = Field(default=[], max_length=GALLERY_LINES)
    measure: Measure
    versions: dict[str, str]
    hardware: Hardware
    max_length: int | None = None
    warnings: list[str] = Field(default=[])

    _before = model_validator(mode="before")(first_edition.results)

    @property
    def student(self) -> ModelResult:
        return self.models[self.compare.student]

    @property
    def teacher(self) -> ModelResult | None:
        return self.models[self.compare.teacher] if self.compare.teacher is not None else None

    @property
    def control(self) -> ModelResult | None:
        return self.models[self.compare.control] if self.compare.control is not None else None

    @property
    def reference(self) -> str | None:
        """The name of the model that the others are measured by: the teacher, without one the control, without both
        the first beside the student. None where the student stands alone."""
        rest = [self.compare.teacher, self.compare.control, *self.models]
        return next((name for name in rest if name is not None and name != self.compare.student), None)

    @property
    def others(self) -> list[str]:
        """The names of the models beside the three that are compared."""
        three = {self.compare.student, self.compare.teacher, self.compare.control}
        return [name for name in self.models if name not in three]

    @property
    def shipped(self) -> list[str]:
        """The names of the models that were exported for another runtime; a teacher that only reads is none."""
        return [name for name in self.others if self.models[name].runtime is not None]

    @property
    def top_teachers(self) -> list[str]:
        """The names of the models that taught others here and were not taught themselves."""
        teaching = {name for model in self.models.values() for name in model.taught_by} | {self.compare.teacher}
        return [name for name, model in self.models.items() if name in teaching and not model.taught_by]

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
        return metric in self.falling

    @model_validator(mode="after")
    def _complete(self) -> Results:
        for role, name in self.compare.model_dump().items():
            if name is not None and name not in self.models:
                raise ValueError(f"models has no {name}, which is compared as the {role}")
        for name, model in self.models.items():
            if self.main_metric not in model.runs[0].metrics:
                raise ValueError(f"{name} has no {self.main_metric}, the main metric")
        return self

    @model_validator(mode="after")
    def _known_speakers(self) -> Results:
        examples = self.disagreements.examples if self.disagreements else []
        texts = [said for example in examples for said in (example.said, example.sure)]
        strangers = {
            name for said in [*texts, *(line.said for line in self.gallery)] for name in said if name not in self.models
        }
        if strangers:
            raise ValueError(f"examples of {sorted(strangers)}, which models does not have")
        return self


def load(run_dir: str | Path) -> Results:
    """The results of a finished run.

    Args:
        run_dir: its folder.

    Returns:
        All that the run has left for its report.

    Raises:
        TextkdError: there is no such folder, the run is not finished (no file), or the file is damaged; with every
            problem found in it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     load(folder)
        Traceback (most recent call last):
        ...
        textkd.errors.TextkdError: asked: the results of ...
          found: the run is not finished: no results.json in the folder
          fix: start the same `textkd run` again: it goes on where it stopped
    """
    path = Path(run_dir) / FILE
    asked = f"the results of {Path(run_dir)}"
    fix = f"delete {FILE} and start the same `textkd run` again"
    with reading(asked, fix=fix):
        return _load(Path(run_dir), path, asked, fix)


def _load(folder: Path, path: Path, asked: str, fix: str) -> Results:
    if not folder.is_dir():
        raise fail(asked, "there is no such folder", fix="give the folder that `textkd run` wrote")
    if kind := special(path):
        raise fail(asked, f"{path} is {kind}, no file", fix=fix)
    if not path.is_file():
        again = "start the same `textkd run` again: it goes on where it stopped"
        raise fail(asked, f"the run is not finished: no {FILE} in the folder", fix=again)
    try:
        return Results.model_validate_json(path.read_bytes())
    except ValidationError as error:
        found = [(".".join(map(str, e["loc"])) or FILE, e["msg"]) for e in error.errors(include_url=False)]
        raise TextkdError(*(problem(asked, f"damaged: {what}", where=at, fix=fix) for at, what in found)) from error


def save(run_dir: str | Path, results: Results) -> Path:
    """Writes results.json into the folder of a run, whole or not at all.

    Args:
        run_dir: the folder.
        results: what is written.

    Returns:
        The path of the file.
    """
    return write_atomic(Path(run_dir) / FILE, results.model_dump_json(indent=1, exclude_unset=True) + "\n")
