"""In which form a reader learnt its labels: what it reads by itself must agree with what it says under those it is
given.

Labels are a text and eos. A TrOCR that was trained with ``<s> text </s>`` behind `decoder_start_token_id` = ``<s>``, as
a well-known tutorial does, writes a ``<s>`` before each text: under labels without one it is a place behind, and most
of what it would teach is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import torch

from textkd.errors import Collector, problem
from textkd.models.conventions import IGNORED
from textkd.models.forward import evaluating, inputs_of, positions
from textkd.tasks.ocr.fitting import size_problems, token_problems
from textkd.tasks.ocr.generate import Generation, cut_at, generator
from textkd.tasks.ocr.linetable import LineTable
from textkd.tasks.ocr.processor import decode_texts, encode_texts, lead_of
from textkd.tasks.ocr.rows import LineCollator

LINES = 4  # that are tried
ROOM = 2  # places that a lead may take
READS = 0.5  # share of a text that is right where a model can be said to read
APART = 0.3  # how far the share of right tokens may lie below it
BLIND = 0.9  # CER from which a model does not read at all: an empty text for each line has 1


@dataclass(frozen=True)
class Form:
    """lead: the ids in front of each text in the labels. read: the share of the lines' characters that the model reads
    right by itself. told, bare: the share of tokens that it says right under labels in that form, and without a
    lead. cer: of what it reads by itself; lines: how many were tried."""

    lead: tuple[int, ...] = ()
    read: float = 0.0
    told: float = 0.0
    bare: float = 0.0
    cer: float = 0.0
    lines: int = 0

    @property
    def agrees(self) -> bool:
        """Whether what it reads agrees with what it says; nothing is known of a model that does not read."""
        return self.read < READS or self.told >= self.read - APART


def form_of(model: Any, collator: LineCollator, images: Sequence[Any], texts: Sequence[str]) -> Form:
    """The form of labels that a model was trained with, tried on some lines.

    Args:
        model: a `VisionEncoderDecoderModel`.
        collator: of its processor and its start token.
        images: of the lines, PIL RGB.
        texts: their transcriptions.

    Returns:
        Without a lead where the model does not read, or reads best so.
    """
    tokenizer = collator.processor.tokenizer
    labels = encode_texts(tokenizer, texts)
    features = [{"image": image, "labels": ids, "example_id": i}
                for i, (image, ids) in enumerate(zip(images, labels, strict=True))]  # fmt: skip
    batch = collator(features)
    longest = max(map(len, labels), default=0)
    with evaluating(model), torch.inference_mode():
        written = generator(collator, Generation(), longest)(model, inputs_of(model, batch)).tolist()
        said = cut_at(written, tokenizer.eos_token_id)
        own = decode_texts(tokenizer, said)
        read = _likeness(own, texts)
        if read < READS:
            return Form(read=read, cer=_cer(own, texts), lines=len(texts))
        lead = Counter(lead_of(tokenizer, row) for row in said).most_common(1)[0][0]
        bare = _right(model, collator, features, ())
        told = _right(model, collator, features, lead) if lead else bare
    return Form(lead, read, told, bare) if told > bare else Form((), read, bare, bare)


def suited(
    table: LineTable, models: Mapping[str, Any], given: Collection[str], collator: Callable[[Any], LineCollator]
) -> tuple[tuple[int, ...], list[str]]:
    """The lead of labels that suits all teachers.

    Args:
        table: transcribed lines, of which some are tried.
        models: the teachers, by name.
        given: those of them that are not trained here.
        collator: of a model.

    Returns:
        (the lead, sentences for the reader of the results).

    Raises:
        TextkdError: a given teacher reads well, and says other things under labels; or two have learnt two forms.
    """
    found, blind, wrong = dict[str, Form](), list[str](), Collector()
    for name, model in models.items():
        own = collator(model)
        tokenizer, most = own.processor.tokenizer, positions(model) - ROOM
        texts = [(i, text) for i, text in enumerate(table.texts) if text]
        fit = [(i, text) for i, text in texts if len(encode_texts(tokenizer, [text])[0]) <= most][:LINES]
        if not fit or size_problems(own.processor, model) or token_problems(own.processor, model):
            continue  # told elsewhere
        form = form_of(model, own, [table.image(i) for i, _ in fit], [text for _, text in fit])
        if name in given and not form.agrees:
            what = (
                f"by itself it reads {form.read:.0%} right; under labels it says {form.told:.0%} of their tokens right"
            )
            fix = "train it on labels of a text and eos behind its decoder_start_token_id, as with finetune: here"
            wrong.add(problem(f"what the teacher {name} says under labels", what, fix=fix))
        elif form.read >= READS:
            found[name] = form
        elif name in given and form.cer >= BLIND:
            blind.append(f"{name}: it reads next to nothing: CER {form.cer:.2f} on {form.lines} lines that were tried "
                         "before the run, which judges it on all; an empty text for each line has 1")  # fmt: skip
    leads = {form.lead: name for name, form in found.items() if name in given} or {f.lead: n for n, f in found.items()}
    if len(leads) > 1:
        what = "their labels begin with other tokens: each would be a place behind under those of another"
        wrong.add(problem(f"the teachers {' and '.join(leads.values())}", what, fix="one of them, or finetune both"))
    wrong.raise_any()
    lead = next(iter(leads), ())
    return lead, blind + [_sentence(name, form) for name, form in found.items() if form.lead and form.lead == lead]


def _sentence(name: str, form: Form) -> str:
    with_it, without = f"{form.told:.0%}", f"{form.bare:.0%}"
    return (f"{name}: it was trained with {len(form.lead)} more token before each text (it says {with_it} of "
            f"the tokens right under such labels, {without} without): labels are made so for all models")  # fmt: skip


def _likeness(said: Sequence[str], texts: Sequence[str]) -> float:
    """The share of characters that two lists of texts have in common, in their order."""
    shares = [SequenceMatcher(None, one, other, autojunk=False).ratio() for one, other in zip(said, texts, strict=True)]
    return sum(shares) / max(len(shares), 1)


def _cer(said: Sequence[str], texts: Sequence[str]) -> float:
    """The edits of all lines divided by the characters of all texts, as jiwer counts, which is slow to import."""
    edits = 0
    for one, other in zip(said, texts, strict=True):
        row = list(range(len(other) + 1))
        for i, mark in enumerate(one, 1):
            before, row[0] = row[0], i
            for j, wanted in enumerate(other, 1):
                before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (mark != wanted))
        edits += row[-1]
    return edits / max(sum(map(len, texts)), 1)


def _right(model: Any, collator: LineCollator, features: Sequence[dict[str, Any]], lead: Sequence[int]) -> float:
    """The share of a text's tokens that a model says right, each behind the right ones."""
    batch = collator([{**row, "labels": [*lead, *row["labels"]]} for row in features])
    logits = model(**inputs_of(model, batch))["logits"].argmax(-1).cpu()[:, len(lead) :]
    labels = batch["labels"][:, len(lead) :]
    return float((logits == labels)[labels != IGNORED].float().mean())
