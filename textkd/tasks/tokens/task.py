"""`TokensTask`: sentences of tagged words, and how they become batches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from textkd.errors import Collector, fail
from textkd.tasks.data.damaged import note_damaged
from textkd.tasks.data.formats import Table
from textkd.tasks.outputs.few_rows import drawn
from textkd.tasks.outputs.tokens import Tokens
from textkd.tasks.table_task import TableTask
from textkd.tasks.text import tokenized
from textkd.tasks.text.labels import twins
from textkd.tasks.tokens.bio import tags_of, types_in
from textkd.tasks.tokens.encode import TokenCollator, encode_words
from textkd.tasks.tokens.files import TagFiles, tag_files
from textkd.tasks.tokens.rows import Sentences, clean
from textkd.tasks.tokens.schemes import ids_in, named, without_names


class TokensTask(TableTask):
    """A tag for each word, in BIO: entities, slots. Data is read on first use and kept in memory.

    `textkd.tasks.tokens` makes one.

    Args:
        sources: the files of each split.
        labels: every tag in the order of its id; None: O, then B-x and I-x of every type in the train data.
        holdout: (fraction, seed) of the train sentences that become the eval split.
        limit: (sentences, seed) of those that are left to train on.
        skip_damaged: sentences with ragged columns are left out, with a note, instead of an error.
        name: for reports and messages.

    Example:
        >>> task = TokensTask({}, labels=["O", "B-person", "I-person"])
        >>> task.output.main_metric, task.output.head()["num_labels"]
        ('f1', 3)
    """

    def __init__(
        self, sources: Mapping[str, TagFiles], *, labels: Sequence[str] | None = None,
        holdout: tuple[float, int] | None = None, limit: tuple[int, int] | None = None, skip_damaged: bool = False,
        name: str = "tokens",
    ) -> None:  # fmt: skip
        super().__init__(name, sources, holdout, limit)
        self.skip_damaged = skip_damaged
        self._given = self._labels = None if labels is None else tuple(labels)
        self.names_ids = labels is not None  # each tag in the order of its id
        self.output = Tokens(lambda: self.labels, name)
        self._parts_read: dict[str, list[tuple[str, Table]]] = {}
        self._lost: dict[str, str] = {}

    @property
    def labels(self) -> tuple[str, ...]:
        """Every tag in the order of its id. Raises `TextkdError` where the train data cannot be read."""
        if self._labels is None:
            train = self.tables("train")
            self._whole(train)
            types = types_in(tag for _, table in train for _, tags in table.rows for tag in tags)
            if not any(table.rows for _, table in train):
                raise fail(f"sentences in {self.sources['train']}", "there are none")
            if not types:
                found, fix = "no B- or I- tag", "check tag:, the column of tags, or give labels: [...]"
                raise fail(f"entities in {self.sources['train']}", found, fix=fix)
            self._labels = tags_of(types)
        return self._labels

    def _whole(self, train: Sequence[tuple[str, Table]]) -> None:
        """Raises for train files that are damaged or whose tags have no names: tags of what is left would make every
        other one a wrong one."""
        found = Collector()
        for shown, table in train:
            rows = Sentences()
            note_damaged(rows, table, shown, self.skip_damaged)
            found.add(*rows.problems, *table.problems)
            if ids_in(table):
                found.add(without_names(table, shown))
        found.raise_any()

    def tables(self, origin: str) -> list[tuple[str, Table]]:
        """(name, words and tags) of every file of a split."""
        if origin not in self._parts_read:
            found, read = Collector(), list[tuple[str, Table]]()
            for part in self.sources[origin].parts:
                with found.collecting():
                    read.append((str(part), part.read()))
            found.raise_any()
            self._parts_read[origin] = read
        return self._parts_read[origin]

    def read(self, origin: str) -> Sentences:
        found, rows, known = Collector(), Sentences(), None
        with found.collecting():
            known = self.labels
        with found.collecting():
            for shown, table in self.tables(origin):
                rows.add(self._judged(table, shown, known))
        rows.problems = list(dict.fromkeys([*found.problems, *rows.problems]))
        return rows

    def _judged(self, table: Table, shown: str, known: Sequence[str] | None) -> Sentences:
        """The sentences of a file; its tags are judged by those that are known, if they are."""
        if not ids_in(table):
            return clean(table, shown, known, self.skip_damaged)
        if self.names_ids:
            return clean(named(table, known or ()), shown, known, self.skip_damaged)
        rows = clean(named(table, ()), shown, None, self.skip_damaged)
        rows.problems += [] if known is None else [without_names(table, shown)]
        return rows

    def settings(self) -> dict[str, Any]:
        return {
            "name": self.name, "labels": self._given, "holdout": self.holdout, "limit": self.limit,
            "skip_damaged": self.skip_damaged,
            "columns": {split: [(p.word, p.tag) for p in files.parts] for split, files in self.sources.items()},
        }  # fmt: skip

    def load(self, split: str) -> Dataset:
        """The split as words, tags (both lists of strings) and example_id (the number of the sentence).

        Args:
            split: one of `splits`.

        Raises:
            TextkdError: with all that is wrong in it.
        """
        rows = self.rows(split)
        return Dataset.from_dict({"words": rows.words, "tags": rows.label, "example_id": list(range(len(rows.words)))})

    def encode(self, processor: Any, split: str, model_inputs: Collection[str], max_length: int = 128) -> Dataset:
        """The split as `encode_words` gives it; `warnings` tells of words that have no label.

        Args:
            processor: the tokenizer.
            split: one of `splits`.
            model_inputs: the names of what the models' forward takes.
            max_length: tokens per row.

        Raises:
            TextkdError: with all that is wrong in the split, and from `encode_words`.
        """
        rows, ids = self.rows(split), {tag: i for i, tag in enumerate(self.labels)}
        labels = [[ids[tag] for tag in tags] for tags in rows.label]
        encoded = encode_words(processor, rows.words, labels, max_length, model_inputs)
        self._lost[split] = self._told(split, rows, encoded, max_length)
        return encoded

    def short(
        self, processor: Any, split: str, model_inputs: Collection[str], max_length: int, count: int
    ) -> tuple[Dataset, Sequence[Any]] | None:
        """As of `Task`, of the sentences that hold an entity."""
        rows, ids = self.rows(split), {tag: i for i, tag in enumerate(self.labels)}
        told = [i for i, tags in enumerate(rows.label) if types_in(tags)]
        some = rows.take([told[i] for i in drawn([len(" ".join(rows.words[i])) for i in told], count)])
        if type(self).encode is not TokensTask.encode or not told:
            return None
        labels = [[ids[tag] for tag in tags] for tags in some.label]
        return encode_words(processor, some.words, labels, max_length, model_inputs), rows.label

    def _told(self, split: str, rows: Sentences, encoded: Dataset, max_length: int) -> str:
        """A note on the words without a label, if any."""
        cut = bare = 0
        for words, places, length in zip(rows.words, encoded["places"], encoded["length"], strict=True):
            behind = len(words) - 1 - (places[-1] if places else -1) if length == max_length else 0
            cut += behind
            bare += len(words) - behind - len(places)
        reasons = {f"stand behind max_length {max_length}": cut, "become no token": bare}
        told = ", ".join(f"{count:,} {why}" for why, count in reasons.items() if count)
        every = sum(map(len, rows.words))
        return f"{self.name} {split}: of {every:,} words, {told}: they are neither learnt nor counted" if told else ""

    def collator(self, processor: Any, model: Any = None) -> TokenCollator:
        """See `TokenCollator`."""
        return TokenCollator(processor)

    def with_file(self, file: str | Path) -> TokensTask:
        """This task with one file as its only split, "eval": columns as in its own files, tags as they are."""
        own = next(iter(self.sources.values())).parts[0]
        files = tag_files(file, own.word, own.tag)
        return TokensTask({"eval": files}, labels=self.labels, skip_damaged=self.skip_damaged, name=self.name)

    def doubts(self, processor: Any, max_length: int) -> list[str]:
        """Sentences that are cut at `max_length`, words that the tokenizer does not know."""
        return [doubt for split in self.splits for doubt in tokenized.doubts(
            processor, [" ".join(words) for words in self.rows(split).words], max_length, f"{self.name} {split}")
        ]  # fmt: skip

    def warnings(self) -> list[str]:
        """What a reader of the results should know: repaired tags, sentences left out, words without a label (of what
        was encoded), eval sentences that stand in train too, types that train never shows or that look alike, eval
        data without an entity. Reads all splits."""
        rows: dict[str, Sentences] = {split: self.rows(split) for split in self.splits}
        found = [note for part in rows.values() for note in part.notes] + [note for note in self._lost.values() if note]
        for split in self.eval_splits:
            if not types_in(tag for tags in rows[split].label for tag in tags):
                found.append(f"{self.name} {split}: no entity at all: precision, recall and f1 are 0 for every model")
        if "train" in rows:
            known = set(map(tuple, rows["train"].words))
            for split in self.eval_splits:
                leaked = sum(tuple(words) in known for words in rows[split].words)
                if leaked:
                    found.append(f"{self.name} {split}: {leaked} of {len(rows[split].words)} sentences also stand in "
                                 "train (leak)")  # fmt: skip
            shown = types_in(tag for tags in rows["train"].label for tag in tags)
            if absent := [kind for kind in types_in(self.labels) if kind not in shown]:
                found.append(f"{self.name} train: no entity of type {', '.join(absent)}")
        found += [f"{self.name}: types {kinds} differ in nothing but case, blanks or encoding; they stay apart"
                  for kinds in twins(types_in(self.labels))]  # fmt: skip
        return list(dict.fromkeys(found))
