"""`Task`: the base class of every task. What a run asks of its data; what models answer is its `output`."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from textkd.errors import Problem, fail
from textkd.models.loading import load_tokenizer
from textkd.tasks.output import Output

COLUMNS = ("labels", "example_id", "length")


class Task(ABC):
    """Rows to train on and to evaluate on, how they become batches, and what a model answers about them.

    A task of one's own gives `name`, `output`, `splits`, `load`, `encode` and `collator` (docs/tasks.md has one); the
    rest has defaults.

    Attributes:
        name: for reports and messages, such as "glue/sst2".
        output: what models answer.
        default_length: the most tokens of a row, where neither recipe nor model says less.

    Example:
        >>> from textkd.tasks import outputs
        >>> class Thanks(Task):
        ...     name, splits, output = "thanks", ("train", "eval"), outputs.Classes(["no", "yes"])
        ...     def load(self, split):
        ...         return [{"text_a": "thank you", "label": "yes"}, {"text_a": "go away", "label": "no"}]
        ...     def encode(self, processor, split, model_inputs, max_length):
        ...         ...
        ...     def collator(self, processor, model=None):
        ...         ...
        >>> Thanks().eval_splits, Thanks().output.main_metric
        (('eval',), 'accuracy')
    """

    name: str
    output: Output
    default_length: int = 128

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The names of the splits: "train", "eval" and, where there are more to evaluate on, "eval_NAME"."""

    @property
    def eval_splits(self) -> tuple[str, ...]:
        """Those to evaluate on."""
        return tuple(split for split in self.splits if split != "train")

    @property
    def augments(self) -> bool:
        """Whether a train row differs from epoch to epoch, so that nothing computed of it can be kept."""
        return False

    @abstractmethod
    def load(self, split: str) -> Any:
        """The rows of a split as people read them.

        Args:
            split: one of `splits`.

        Returns:
            A sequence: row[i] is a dict with `text_a` (and `text_b`), or what else the output's `examples` shows.
        """

    @abstractmethod
    def encode(self, processor: Any, split: str, model_inputs: Collection[str], max_length: int) -> Any:
        """The rows of a split in numbers, in the order of `load`.

        Args:
            processor: the tokenizer (or processor) that `processing` gave.
            split: one of `splits`.
            model_inputs: the names of what the models' forward takes; other columns may be left out.
            max_length: tokens per row, special ones counted in.

        Returns:
            A map-style data set with columns, as a `datasets.Dataset`: rows[i] is a dict, rows["length"] a column. Its
            columns are those of the collator, `labels`, `example_id` (the row's number) and `length` (its tokens).
        """

    def encoded(self, processor: Any, split: str, model_inputs: Collection[str], max_length: int) -> Any:
        """`encode`, and a look at its columns.

        Args:
            processor: as of `encode`.
            split: as of `encode`.
            model_inputs: as of `encode`.
            max_length: as of `encode`.

        Returns:
            What `encode` gives.

        Raises:
            TextkdError: a column is missing that training, metrics or report will want.
        """
        rows = self.encode(processor, split, model_inputs, max_length)
        names = list(getattr(rows, "column_names", ()))
        if missing := [name for name in COLUMNS if name not in names]:
            asked, found = f"encoded rows of {self.name} {split}", f"the columns {', '.join(names) or '(none)'}"
            fix = "encode returns a datasets.Dataset (or what has its columns) with labels, example_id and length"
            raise fail(f"{', '.join(missing)} in the {asked}", found, fix=fix)
        return rows

    def few(
        self, processor: Any, split: str, model_inputs: Collection[str], max_length: int, count: int
    ) -> tuple[Any, int] | None:
        """The first rows of `encode`, without encoding the others: for a look before anything runs.

        Args:
            processor: as of `encode`.
            split: as of `encode`.
            model_inputs: as of `encode`.
            max_length: as of `encode`.
            count: how many rows.

        Returns:
            (the rows, how many `encode` has). None: it takes all to know these.
        """
        return None

    def short(
        self, processor: Any, split: str, model_inputs: Collection[str], max_length: int, count: int
    ) -> tuple[Any, Sequence[Any]] | None:
        """Some short rows of a split, drawn alike every time: for a look at a teacher before anything runs.

        Args:
            processor: as of `encode`.
            split: as of `encode`.
            model_inputs: as of `encode`.
            max_length: as of `encode`.
            count: how many rows.

        Returns:
            (the rows as of `encode`, the labels of all rows of the split). None (the default): nobody looks.
        """
        return None

    @abstractmethod
    def collator(self, processor: Any, model: Any = None) -> Any:
        """What makes a batch of a list of encoded rows: tensors by name, among them `labels` and `example_id`.

        Args:
            processor: as of `encode`.
            model: one of those that are trained, where batches depend on it.

        Returns:
            A function of a list of rows.
        """

    def processing(self, path: str) -> Any:
        """The tokenizer or processor of the rows, by default that in a teacher's folder.

        Args:
            path: the teacher's folder or hub id; "" where it has neither.

        Returns:
            What `encode` and `collator` get as their `processor`.

        Raises:
            TextkdError: there is none.
        """
        if not path:
            fix = "Distiller(..., tokenizer=AutoTokenizer.from_pretrained(FOLDER))"
            raise fail("the teacher's tokenizer", "it comes from no folder and no hub", fix=fix, where="teacher")
        return load_tokenizer(path)

    def suit(  # noqa: B027  (most tasks need nothing)
        self, models: Mapping[str, Any], given: Collection[str], processor: Any
    ) -> None:
        """Suits how rows are encoded to what the models that teach have learnt before. Called before `encode`.

        Args:
            models: those that teach, as they start, by name.
            given: those of them that are used as they are: what they say on the rows must be what they have learnt.
            processor: as of `encode`.

        Raises:
            TextkdError: a given model has learnt something that rows are not encoded to.
        """

    def problems(self, splits: Collection[str] | None = None) -> None:
        """Reads splits and looks for all that is wrong in them.

        Args:
            splits: which; None: all.

        Raises:
            TextkdError: with everything that is wrong.
        """
        for split in splits or self.splits:
            self.load(split)

    def warnings(self) -> list[str]:
        """What a reader of the results should know of the data."""
        return []

    def unused(self, path: str) -> list[Problem]:
        """Options that were given and have no effect, because the tokenizer (or processor) comes from a model's folder.

        Args:
            path: the folder; "" where there is none.

        Returns:
            Problems, each at the name of its option; none (the default) where all options count.
        """
        return []

    def doubts(self, processor: Any, max_length: int) -> list[str]:
        """What is lost of the rows when they are encoded, such as texts that are cut.

        Args:
            processor: as of `encode`.
            max_length: as of `encode`.

        Returns:
            Sentences; none (the default) where nothing is lost.
        """
        return []

    def fingerprint(self) -> str:
        """A hash that differs where the data or the settings of this task do: by default of all rows."""
        loaded = {split: self.load(split) for split in self.splits}
        rows = {split: [part[i] for i in range(len(part))] for split, part in loaded.items()}
        made_of = [self.name, self.output.labels, rows]
        return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()

    def with_file(self, file: str | Path) -> Task:
        """This task with one labelled file as its only split, "eval"; its classes stay.

        Args:
            file: in the format of the task's own files.

        Returns:
            Another task; this one stays as it is.

        Raises:
            TextkdError: the task reads no single files (the default).
        """
        raise fail(f"{self.name} on the file {file}", "this task reads no single files", fix="another task")

    def worded(self, rows: Any) -> list[str]:
        """The columns of encoded rows that depend on the words by which they are encoded.

        Args:
            rows: of `encode`.
        """
        return [name for name in rows.column_names if name not in ("labels", "example_id", "length")]

    def raw(self, rows: Any) -> list[Any]:
        """Encoded rows as a black box takes them, which reads what models are given encoded.

        Args:
            rows: of `encode`.

        Returns:
            One thing for each row, such as an image.

        Raises:
            TextkdError: the rows are only read encoded (the default).
        """
        raise fail(f"a black box on {self.name}", "its rows are only read encoded", fix="a teacher that is a model")
