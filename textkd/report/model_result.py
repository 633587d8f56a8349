"""One row of the comparison: a model, its runs over seeds, and the log of each run's training."""

from __future__ import annotations

import math
import statistics

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Strict(BaseModel):
    """A wrong key is an error, not a missing row."""

    # Not-a-number stays readable: a run that diverged is the one whose report is needed most.
    model_config = ConfigDict(strict=True, extra="forbid", ser_json_inf_nan="constants")


class HistoryRow(Strict):
    """One line of a training's log. `eval` holds metrics where the model was evaluated at this step."""

    step: int = Field(ge=0)
    epoch: float | None = None
    stage: int = 1
    loss: float | None = None
    parts: dict[str, float] = {}
    eval: dict[str, float] | None = None


class Run(Strict):
    """One seed of one model. train_s (seconds) and steps are None where nothing was trained here; MB = 1e6 bytes."""

    seed: int | None
    metrics: dict[str, float]
    train_s: float | None
    peak_mb: float | None
    steps: int | None
    history: list[HistoryRow] = []


class ModelResult(Strict):
    """One model of the comparison; size and speed are those of its first seed. Sizes may be unknown (None)."""

    description: str
    architecture: str
    path: str | None
    # The models that it learned from, by name; none of a given model and of one that learned without a teacher.
    taught_by: list[str] = []
    # What runs it where that is not PyTorch, e.g. "onnxruntime 1.20": its speed is the runtime's too.
    runtime: str | None = None
    # What its folder loads with where that is not plain transformers: "textkd".
    loads_with: str | None = None
    parameters: int | None = Field(ge=0)
    disk_mb: float | None
    latency_ms: float
    samples_per_s: float
    # Of models that write texts: the encoder's part of the latency, and how many tokens were written for the input of
    # the latency and, on average, in the batch of the throughput.
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
