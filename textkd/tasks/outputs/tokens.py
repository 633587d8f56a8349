"""`Tokens`: a tag for each word (entities, slots)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForTokenClassification

from textkd.models.conventions import IGNORED
from textkd.models.forward import evaluating, inputs_of
from textkd.models.tagged_words import spans
from textkd.tasks import metrics
from textkd.tasks.output import EXAMPLES, Examples
from textkd.tasks.outputs.counts import agreement, counted, rows_lost
from textkd.tasks.outputs.few_rows import none_found
from textkd.tasks.outputs.named import Named, is_close

Array = np.ndarray[Any, Any]


class Tokens(Named):
    """A tag for each word, in BIO (IOB2): logits [B, T, C], labels [B, T] with -100 wherever no word begins.

    Args:
        names: the tags in the order of their ids, as ["O", "B-person", "I-person"]; or a function that gives them,
            where they are only known once the data is read.
        name: of the task, for messages.

    Example:
        >>> answers = Tokens(["O", "B-person", "I-person"])
        >>> answers.tags([[[0, 0, 0], [1, 3, 0], [2, 0, 1]]], [[-100, 1, 0]])  # of one sentence of three positions
        ([['B-person', 'O']], [['B-person', 'O']])
    """

    auto_class = AutoModelForTokenClassification
    metric_names = ("f1", "precision", "recall", "accuracy")
    per_token = True

    def predict(self, model: Any, rows: Any, collator: Any, batch_size: int = 64) -> list[Array]:
        """The logits of the labelled positions, in float32 and eval mode.

        Args:
            model: a token classifier.
            rows: of `TokensTask.encode`.
            collator: of `TokensTask.collator`.
            batch_size: rows that run together.

        Returns:
            For each row [W, C], of its W labelled positions.
        """
        order = np.argsort([-length for length in rows["length"]], kind="stable")
        found: dict[int, Array] = {}
        with evaluating(model), torch.inference_mode():
            for start in range(0, len(order), batch_size):
                chosen = [int(i) for i in order[start : start + batch_size]]
                batch = collator([rows[i] for i in chosen])
                logits = model(**inputs_of(model, batch))["logits"].float().cpu()
                found.update(zip(chosen, map(_counted, logits.numpy(), batch["labels"].numpy()), strict=True))
        return [found[i] for i in range(len(order))]

    def references(self, rows: Any) -> list[list[int]]:
        """The tags' ids of the labelled positions of each row."""
        return [[tag for tag in row if tag != IGNORED] for row in rows["labels"]]

    def tags(self, predictions: Any, references: Any) -> tuple[list[list[str]], list[list[str]]]:
        """(said, true): tags by name.

        Args:
            predictions: logits, [N, T, C] or N of [T, C].
            references: ids, [N, T] or N of [T]; positions labelled -100 are left out.

        Raises:
            TextkdError: NaN, no rows, different numbers of rows.
        """
        self.refuse_other_number(len(predictions), len(references))
        logits = [_counted(np.asarray(one), np.asarray(ids)) for one, ids in zip(predictions, references, strict=True)]
        self.refuse_nan(logits[0], sum(bool(np.isnan(one).any()) for one in logits), len(logits))
        names = np.asarray(self.names, dtype=object)
        true = [names[ids[ids != IGNORED]].tolist() for ids in map(np.asarray, references)]
        return [names[one.argmax(-1)].tolist() for one in logits], true

    def compute_metrics(self, predictions: Any, references: Any) -> dict[str, float]:
        """Entity f1, precision and recall, and the accuracy of tags (see the module `entities`), from what `tags`
        takes."""
        said, true = self.tags(predictions, references)
        values = metrics.load("entities").compute(predictions=said, references=true)
        return {name: float(values[name]) for name in self.metric_names}

    def doubts(self, predictions: Any, references: Any) -> list[str]:
        """No entity among the answers, or none that could be found."""
        said, true = self.tags(predictions, references)
        found = []
        if not any(map(spans, said)):
            found.append(f"no entity was found in {len(said)} sentences")
        if not any(map(spans, true)):
            found.append(f"there is no entity in {len(true)} sentences: precision, recall and f1 are counted as 0")
        return found

    def poor(self, predictions: Any, references: Any, every: Any) -> str:
        """Hardly a sentence in which a word of an entity is tagged as it should be."""
        pairs = zip(*self.tags(predictions, references), strict=True)
        right = [[one == tag for one, tag in zip(said, true, strict=True) if tag != "O"] for said, true in pairs]
        rows, found = sum(map(bool, right)), sum(map(any, right))
        return f"a word of an entity tagged right in {found} of {rows}" if none_found(found, rows) else ""

    def same(self, before: Any, after: Any) -> float | None:
        """The share of words with the same tag."""
        pairs = [(a.argmax(-1), b.argmax(-1)) for a, b in zip(before, after, strict=True)]
        return float(np.concatenate([one == other for one, other in pairs]).mean()) if pairs else None

    def lost(self, before: Any, after: Any, references: Any) -> str:
        """How many words of entities were tagged right and are not, and of which tags most."""
        was, true = self.tags(before, references)
        now, _ = self.tags(after, references)
        words = [(tag, one == tag, other == tag) for row in zip(true, was, now, strict=True)
                 for tag, one, other in zip(*row, strict=True) if tag != "O"]  # fmt: skip
        return rows_lost([tag for tag, one, other in words if one and not other], sum(one for _, one, _ in words))

    def differ(self, folder: str, shown: Sequence[Any], rows: Sequence[Any], said: Sequence[Any], device: Any) -> str:
        """Logits of the words' first pieces, in the words joined by spaces as the folder's own tokenizer cuts them, one
        sentence at a time."""
        if not all("words" in row for row in shown):
            return ""
        tokenizer, model = self.plain(folder, device)
        texts = [" ".join(row["words"]) for row in shown]
        far = 0
        for text, row, other in zip(texts, rows, said, strict=True):
            with torch.inference_mode():
                one = model(**tokenizer([text], truncation=True, return_tensors="pt").to(device)).logits[0]
            real, labels = one.float().cpu().numpy(), np.asarray(row["labels"])
            far += len(real) != len(labels) or not is_close(real[labels != IGNORED], np.asarray(other))
        return counted(far, len(rows), "other logits") or self.other_names(model)

    def examples(self, shown: Any, rows: Any, said: Mapping[str, Any], between: tuple[str, str]) -> Examples:
        """The sentences that two models tag differently, the surest first, with the entities that each found.

        Args:
            shown: rows with `words`.
            rows: the same, encoded. rows["places"], where there is such a column: the words that are labelled, by
                number.
            said: the predictions of each model, by its name.
            between: the two models, by name.

        Returns:
            The sentences, and how many of them each of the two has all right.
        """
        every, true = {}, list[list[str]]()
        for model, logits in said.items():
            every[model], true = self.tags(logits, self.references(rows))
        right = {model: np.array([a == b for a, b in zip(tags, true, strict=True)]) for model, tags in every.items()}
        first, second = between
        reference, student = every[first], every[second]
        apart = {i: np.flatnonzero([a != b for a, b in zip(reference[i], student[i], strict=True)])
                 for i in range(len(true)) if reference[i] != student[i]}  # fmt: skip
        sure = {i: {model: _certainty(logits[i], places) for model, logits in said.items()}
                for i, places in apart.items()}  # fmt: skip
        examples = []
        for i in sorted(sure, key=lambda i: -(sure[i][first] + sure[i][second]))[:EXAMPLES]:
            words = list(shown[i]["words"])
            kept = [words[place] for place in rows["places"][i]] if "places" in rows.column_names else words
            entities = {model: _entities(kept, tags[i]) for model, tags in every.items()}
            examples.append({"text_a": " ".join(words), "label": _entities(kept, true[i]), "said": entities,
                             "sure": dict(sure[i])})  # fmt: skip
        return Examples({"counts": agreement(right[first], right[second]), "examples": examples})


def _counted(logits: Array, labels: Array) -> Array:
    """The rows of `logits` [T, C] that are labelled; all, where `labels` hold no others."""
    counted: Array = logits[: len(labels)][labels != IGNORED]
    return counted


def _certainty(logits: Array, places: Array) -> float:
    """The mean probability of the tags that were said at `places`."""
    return float(torch.as_tensor(logits[places]).softmax(-1).amax(-1).mean())


def _entities(words: Sequence[str], tags: Sequence[str]) -> list[str]:
    """Each entity as "type: words"."""
    return [f"{kind}: {' '.join(words[first : last + 1])}" for kind, first, last in spans(tags)]
