"""`Output`: what models of a task answer, and all that a run must know of it. The base class of every output."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from textkd.errors import Problem, problem
from textkd.models.forward import inputs_of, try_rows

EXAMPLES = 12
FORWARD = 'a forward that gives {"logits": ...} (return_dict: true in its config)'


class Evaluation(NamedTuple):
    """How a model is evaluated while it trains.

    compute_metrics: ``f(predictions, labels) -> {name: value}`` of arrays that Trainer collected, padded with -100.
    generate: ``f(model, batch) -> ids [B, T]``, whose ids are then the predictions; None: the logits are.
    """

    compute_metrics: Callable[[Any, Any], dict[str, float]]
    generate: Callable[[Any, Mapping[str, Any]], Any] | None = None


class Pictures(NamedTuple):
    """Images, the text of each, and what every model read in it, by model."""

    images: Sequence[Any]
    references: Sequence[str]
    said: Mapping[str, Sequence[str]]


class Examples(NamedTuple):
    """Real examples for a report, of one kind or the other. disagreements: as `textkd.report` reads them."""

    disagreements: dict[str, Any] | None = None
    pictures: Pictures | None = None


class Output(ABC):
    """What the models of a task answer: their head, their label loss, how answers are decided, judged, shown and timed.

    Attributes:
        name: of the task, for messages.
        auto_class: what loads a model with the head.
        problem_type: transformers' word for the head's loss; "" where it has none.
        label_loss: the loss of the family `labels` that a match ``labels`` takes by default. Its targets (ids, numbers
            or flags) are what the batches' labels are.
        metric_names: the metrics, the main one first.
        greater_is_better: whether more of the main metric is better.
        per_token: whether labels are [B, T], one for each position (-100: it does not count), and not [B].
        writes: whether answers are texts that `generate` writes; such models may be read by a black box alone, and
            teach by what they write (`textkd.Pseudo`).
        timed_rows: rows of the large batch that speed is measured on.
        takes_labels: whether the order of `labels` may be asked for, as `labels` of the task.
        packages: whose versions matter for the metrics, beside the usual ones.

    Example:
        >>> from textkd.tasks import outputs
        >>> scores = outputs.Scores()
        >>> scores.label_loss, scores.main_metric, scores.head()["num_labels"]
        ('mse', 'pearson', 1)
    """

    name: str = "task"
    auto_class: Any
    problem_type: str = ""
    label_loss: str = "cross_entropy"
    metric_names: Sequence[str]
    greater_is_better: bool = True
    per_token: bool = False
    writes: bool = False
    timed_rows: int = 32
    takes_labels: bool = False
    packages: tuple[str, ...] = ()

    @property
    def main_metric(self) -> str:
        """The first of `metric_names`: the one that models are chosen and compared by."""
        return self.metric_names[0]

    @property
    def labels(self) -> list[str] | None:
        """The names of the classes in the order of their ids; None where there are none."""
        return None

    def head(self) -> dict[str, Any]:
        """What `from_pretrained` needs for a head that fits; nothing where a model's folder says all.

        Returns:
            Keyword arguments such as num_labels, id2label, label2id.
        """
        return {}

    @abstractmethod
    def predict(self, model: Any, rows: Any, collator: Any) -> Any:
        """What a model answers on encoded rows.

        Args:
            model: with the head of this output.
            rows: of `Task.encode`.
            collator: of `Task.collator`.

        Returns:
            The answers in the rows' order, as `compute_metrics` takes them.
        """

    @abstractmethod
    def references(self, rows: Any) -> Any:
        """The right answers of encoded rows.

        Args:
            rows: of `Task.encode`.

        Returns:
            The answers in the rows' order, as `compute_metrics` takes them.
        """

    @abstractmethod
    def compute_metrics(self, predictions: Any, references: Any) -> dict[str, float]:
        """The metrics by name.

        Args:
            predictions: of `predict`.
            references: of `references`, one for each prediction.

        Returns:
            Numbers by name; the names are `metric_names`.

        Raises:
            TextkdError: no rows, or the numbers of both differ.
        """

    def doubts(self, predictions: Any, references: Any) -> list[str]:
        """What makes the metrics of these doubtful, a sentence each.

        Args:
            predictions: of `predict`.
            references: of `references`.

        Returns:
            Sentences; none where nothing is doubtful.
        """
        return []

    def poor(self, predictions: Any, references: Any, every: Sequence[Any]) -> str:
        """Why a model cannot be a good one, as far as a few rows tell it.

        Args:
            predictions: of `predict`.
            references: of `references`.
            every: the labels of all rows of the split.

        Returns:
            What was seen; "" (the default) where a good one would be seen so once in 1,000 times or more often.
        """
        return ""

    def evaluation(self, collator: Any, rows: Any) -> Evaluation:
        """How a model is evaluated on encoded rows while it trains.

        Args:
            collator: of `Task.collator`.
            rows: of `Task.encode`.

        Returns:
            How predictions are judged, and how they are generated where the logits are not them.
        """
        return Evaluation(self.compute_metrics)

    def same(self, before: Any, after: Any) -> float | None:
        """The share of answers in which two predictions agree; None (the default) where answers are not compared so.

        Args:
            before: of `predict`.
            after: of `predict`, of the same rows by another model.
        """
        return None

    def lost(self, before: Any, after: Any, references: Any) -> str:
        """What a changed model answers wrong that it answered right, in a sentence; "" (the default) where nothing is
        known of it.

        Args:
            before: of `predict`, by the model as it was.
            after: of `predict`, by the changed one.
            references: of `references`.
        """
        return ""

    def examples(self, shown: Any, rows: Any, said: Mapping[str, Any], between: tuple[str, str]) -> Examples:
        """Examples for the report.

        Args:
            shown: `Task.load` of the split.
            rows: the same, encoded.
            said: the predictions of each model on it, by the model's name.
            between: the two models whose differences are shown: a reference and the student.

        Returns:
            Nothing (the default), disagreements, or images with what was read in them.
        """
        return Examples()

    def generation(self, models: Sequence[Any], rows: Any) -> dict[str, Any] | None:
        """The settings of `generate` that speed is measured with; None: the speed is that of one forward pass.

        Args:
            models: all that are compared.
            rows: of `Task.encode`, those that are evaluated on.
        """
        return None

    def fits(self, model: Any, processor: Any) -> list[Problem]:
        """Where a model and this output (or the processor of its rows) do not fit.

        Args:
            model: before it is trained or evaluated.
            processor: of the rows.

        Returns:
            Problems, to be raised; none where all fits.
        """
        return []

    def tried(self, model: Any, batch: Mapping[str, Any]) -> list[Problem]:
        """Whether a model answers as `predict` wants it, tried before anything is trained: by default, at all.

        Args:
            model: one that `fits`.
            batch: of the task's collator, a few rows.

        Returns:
            Problems, to be raised; none where it answers.
        """
        _, failed = try_rows(model, lambda one: one(**inputs_of(one, batch)))
        asked = f"the answers of {type(model).__name__} to {self.name}"
        fix = "a model that runs on what the collator of the task gives"
        return [problem(asked, failed, fix=fix)] if failed else []

    def beside(self, model: Any, other: Any) -> list[Problem]:
        """Where two models cannot read the same batches.

        Args:
            model: that of the two which is judged.
            other: the one that batches are made for.

        Returns:
            Problems, to be raised; none where both can.
        """
        return []

    def strange(self, model: Any) -> list[Problem]:
        """Why it is not known what a model's answers mean: asked of one that is used as it is, not trained here.

        Args:
            model: one that `fits`.

        Returns:
            Problems, to be raised; none where all is known.
        """
        return []

    def on_trust(self, model: Any) -> list[str]:
        """What a model that is used as it is does not say of its answers, and what was taken for it: a sentence each.

        Args:
            model: one that `fits` and is not `strange`.

        Returns:
            Sentences for a reader of the results; none where the model says all.
        """
        return []

    def differ(self, folder: str, shown: Sequence[Any], rows: Sequence[Any], said: Sequence[Any], device: Any) -> str:
        """How a published folder answers otherwise, read by plain transformers alone, than was measured.

        Args:
            folder: with model and tokenizer (or processor).
            shown: rows of `Task.load`.
            rows: the same, encoded.
            said: what `predict` gave for each.
            device: that the model runs on.

        Returns:
            In how many rows, and what; "" where all agree, or nothing is known of it (the default).
        """
        return ""

    def configure(self, model: Any, processor: Any, rows: Any) -> None:  # noqa: B027  (some outputs need nothing)
        """Writes into the config of a model that is about to be published what it needs to answer by itself.

        Args:
            model: is changed in place.
            processor: of the rows.
            rows: of `Task.encode`, those that the model is evaluated on.
        """
