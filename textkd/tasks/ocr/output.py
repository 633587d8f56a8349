"""`LineTexts`: a text for each image of a line, written by `generate` and judged by its characters and words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import TrOCRProcessor, VisionEncoderDecoderModel

from textkd.errors import Problem, fail, problem
from textkd.models.forward import inputs_of, try_rows
from textkd.models.no_code import from_pretrained
from textkd.tasks import metrics
from textkd.tasks.ocr.fitting import model_token, settle_tokens, size_problems, token_problems
from textkd.tasks.ocr.generate import Generation, Reading, cut_at, first_tokens, generator, settle_settings, transcribe
from textkd.tasks.ocr.processor import decode_texts, one_spaced
from textkd.tasks.ocr.rows import LineCollator, LineRows, texts_of
from textkd.tasks.output import FORWARD, Evaluation, Examples, Output, Pictures
from textkd.tasks.outputs.counts import counted


class LineTexts(Output):
    """The text of a line. `settings` say how it is generated; every model is judged and timed with the same."""

    auto_class = VisionEncoderDecoderModel
    problem_type = "sequence_to_sequence"
    metric_names = ("cer", "wer", "exact")
    greater_is_better = False
    per_token = True
    writes = True
    timed_rows = 16
    packages = ("jiwer", "pillow", "sentencepiece")

    def __init__(self, name: str = "ocr", settings: Generation | None = None) -> None:
        self.name, self.settings = name, settings or Generation()

    def predict(self, model: Any, rows: LineRows, collator: LineCollator, batch_size: int = 16) -> list[str]:
        """The texts that `model` generates for the rows, in their order, by `settings`."""
        return [one.text for one in transcribe(model, rows, collator, batch_size, self.settings, scores=False)]

    def transcribe(self, model: Any, rows: LineRows, collator: LineCollator, batch_size: int = 16) -> list[Reading]:
        """`predict` with confidences: text, mean_log_prob, min_prob, tokens, finished of each row."""
        return transcribe(model, rows, collator, batch_size, self.settings)

    def references(self, rows: LineRows) -> list[str]:
        """The transcriptions of encoded rows, whole. Raises `TextkdError` where some have none."""
        texts = rows["text"]
        if bare := sum(text is None for text in texts):
            raise fail(f"metrics of {self.name}", f"{bare:,} of {len(texts):,} lines have no transcription")
        return list(texts)

    def compute_metrics(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        """Texts and transcriptions -> cer, wer, exact (see the modules `cer` and `wer`): of the corpus, nothing
        normalised. Raises `TextkdError` for no rows and where the numbers differ."""
        said, truth = list(predictions), list(references)
        if len(said) != len(truth) or not truth:
            asked = f"one prediction for each reference of {self.name}"
            raise fail(asked, f"{len(said)} predictions, {len(truth)} references")
        rates = metrics.load("cer").compute(predictions=said, references=truth)
        rates |= metrics.load("wer").compute(predictions=said, references=truth)
        return {name: float(rates[name]) for name in self.metric_names}

    def doubts(self, predictions: Sequence[str], references: Sequence[str]) -> list[str]:
        """Texts that are no better than empty ones."""
        cer = self.compute_metrics(predictions, references)["cer"]
        return [f"cer {cer:.3f} is no better than that of an empty text for each line: 1"] if cer >= 1 else []

    def evaluation(self, collator: LineCollator, rows: LineRows) -> Evaluation:
        """Texts are generated, so that what is judged in training is what the finished model is judged by."""

        def judge(ids: Any, labels: Any) -> dict[str, float]:
            return self.judge_ids(collator, ids, labels, rows)

        return Evaluation(judge, self.generate(collator, rows))

    def generate(self, collator: LineCollator, rows: LineRows) -> Callable[[Any, Mapping[str, Any]], Any]:
        """``f(model, batch) -> ids [B, T]``: what `predict` decodes, without the start token, for `judge_ids`."""
        return generator(collator, self.settings, max(rows["length"], default=0))

    def judge_ids(self, collator: LineCollator, ids: Any, labels: Any, rows: LineRows) -> dict[str, float]:
        """`compute_metrics` of generated ids against the transcriptions of `rows`, in whatever order these were
        evaluated. ids, labels: [N, T], padded with -100 or anything behind their eos; labels are those of the rows,
        which may be cut or lack characters, so they only tell which row it is."""
        tokenizer = collator.processor.tokenizer
        said, known = ([row[row >= 0].tolist() for row in part] for part in (ids, labels))
        texts = decode_texts(tokenizer, cut_at(said, tokenizer.eos_token_id))
        return self.compute_metrics(texts, texts_of(known, rows["labels"], self.references(rows)))

    def same(self, before: Sequence[str], after: Sequence[str]) -> float | None:
        """The share of lines with the same text."""
        pairs = list(zip(before, after, strict=True))
        return sum(one == other for one, other in pairs) / len(pairs) if pairs else None

    def lost(self, before: Sequence[str], after: Sequence[str], references: Sequence[str]) -> str:
        """How many lines were read without a fault and are not any more, and one of them."""
        right = [(text, now) for was, now, text in zip(before, after, references, strict=True) if was == text]
        gone = [f"{text!r} became {now!r}" for text, now in right if now != text]
        return f"{len(gone)} of {len(right)} exact lines are lost, as {gone[0]}" if gone else ""

    def examples(self, shown: Any, rows: LineRows, said: Mapping[str, Any], between: tuple[str, str]) -> Examples:
        """Every line with what the models read in it."""
        return Examples(pictures=Pictures(_Images(rows), self.references(rows), said))

    def generation(self, models: Sequence[Any], rows: LineRows) -> dict[str, Any]:
        """num_beams, max_new_tokens and so on, the same for all models: with fewer positions, fewer tokens."""
        each = [self.settings.settings(model, max(rows["length"], default=0)) for model in models]
        return min(each, key=lambda one: int(one["max_new_tokens"]))

    def fits(self, model: Any, processor: Any) -> list[Problem]:
        """Where a model and a processor do not fit: the size of images, the ids of tokens."""
        return [*size_problems(processor, model), *token_problems(processor, model)]

    def tried(self, model: Any, batch: Mapping[str, Any]) -> list[Problem]:
        """Whether its forward gives a tensor of `logits` for the tokens, and whether it writes by the settings."""
        asked = f"the answers of {type(model).__name__} to {self.name}"
        logits, failed = try_rows(model, lambda one: one(**inputs_of(one, batch))["logits"])
        if not failed and logits.shape[:-1] != batch["labels"].shape:
            failed = f"logits of shape {list(logits.shape)} for labels of {list(batch['labels'].shape)}"
        if failed:
            return [problem(asked, failed, fix=FORWARD)]
        _, failed = try_rows(model, lambda one: first_tokens(one, batch, self.settings))
        fix = "a model whose generate(pixel_values) writes texts, under the options of task.generation"
        return [problem(f"texts of {type(model).__name__} for {self.name}", failed, fix=fix)] if failed else []

    def beside(self, model: Any, other: Any) -> list[Problem]:
        """Texts that begin with another token: one of the two would be trained and measured with a foreign one."""
        own, theirs = (model_token(one, "decoder_start_token_id") for one in (model, other))
        if own == theirs:
            return []
        found = f"texts begin with token {own} in this model, with {theirs} in the one that batches are made for"
        fix = f"decoder_start_token_id: {theirs} in its config.json and generation_config.json: it learns that here"
        return [problem("models that read the same batches", found, fix=fix)]

    def differ(self, folder: str, shown: Sequence[Any], rows: Sequence[Any], said: Sequence[str], device: Any) -> str:
        """The texts that a plain ``generate(pixel_values)`` writes."""
        processor = from_pretrained(TrOCRProcessor, folder)
        model = from_pretrained(VisionEncoderDecoderModel, folder).eval().to(device)
        images = processor(images=[row["image"] for row in shown], return_tensors="pt").pixel_values.to(device)
        with torch.inference_mode():
            texts = processor.batch_decode(model.generate(images), skip_special_tokens=True)
        far = [i for i in range(len(texts)) if one_spaced(texts[i]) != one_spaced(said[i])]
        return counted(len(far), len(rows), f"{texts[far[0]]!r} where {said[far[0]]!r} was read" if far else "")

    def configure(self, model: Any, processor: Any, rows: LineRows) -> None:
        """Makes a plain ``model.generate(pixel_values)`` read as it is read here: the ids of tokens, the settings."""
        settle_tokens(model, processor)
        settle_settings(model, self.settings, max(rows["length"], default=0))


class _Images(Sequence[Any]):
    """The images of encoded rows, decoded when asked for."""

    def __init__(self, rows: LineRows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: Any) -> Any:
        return self.rows[i]["image"]
