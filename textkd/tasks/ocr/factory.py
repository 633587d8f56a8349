"""`ocr`: a task on lines of text from options, all of them checked before any data is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textkd.errors import Collector, problem
from textkd.tasks.data.holdout import holdout_of
from textkd.tasks.data.sources import extra_splits
from textkd.tasks.ocr.generate import Generation
from textkd.tasks.ocr.options import check_whole
from textkd.tasks.ocr.processor import check_shape
from textkd.tasks.ocr.sources import KINDS, PART, Spec
from textkd.tasks.ocr.task import USUAL, OcrTask

# options of the lines of a split, and where they stand
OF_LINES = {
    key: f"inside train and eval, beside where the lines are: train: {{path: FILE, {key}: ...}}"
    for key in dict.fromkeys([*(key for keys in KINDS.values() for key in keys), *PART, *KINDS])
    if key != "seed"
}

# options on which no line depends
APART = (
    "processor", "height", "width", "tokenizer", "vocab_size", "characters", "augment", "generation", "extra_evals",
    "seed", "skip_unwritable", "skip_long",
)  # fmt: skip


def ocr(
    train: Spec | None = None,
    eval: Spec | None = None,
    processor: Any = None,
    height: int | None = None,
    width: int | None = None,
    tokenizer: str | None = None,
    vocab_size: int | None = None,
    characters: str = "",
    augment: bool | float = True,
    generation: Mapping[str, Any] | None = None,
    *,
    extra_evals: Mapping[str, Spec] | None = None,
    seed: int = 0,
    skip_unwritable: bool = False,
    skip_long: bool = False,
    name: str = "ocr",
) -> OcrTask:
    """A task on images of lines and their transcriptions. Data is read on first use (see `OcrTask.problems`).

    Args:
        train: what `textkd.tasks.ocr.sources.lines` takes: a parquet, csv or jsonl file, an image folder, {dataset: hub
            id}, {rendered: {...}}, {digits: {...}}, or a list of these. None where a model is only evaluated.
        eval: the same, or {"fraction": 0.1, "seed": 0}: that part of the train lines, equal texts on one side.
        processor: a folder, a hub id or a `TrOCRProcessor`. None: `line_processor` trains a sentencepiece tokenizer on
            the train texts, for images of `height` x `width`.
        height: of images in pixels, 32 by default; like the next four only without `processor`, and without a folder
            of a teacher's, which has its own.
        width: of images in pixels, 1024 by default.
        tokenizer: "char" (as by default), or "unigram" with `vocab_size`.
        vocab_size: word pieces of "unigram".
        characters: what the tokenizer must write beyond what stands in the train texts; it matters where few lines are
            transcribed.
        augment: whether, or how strongly (1.0; from 0 to 3), train images are degraded (never those of evaluation).
        generation: num_beams, max_new_tokens, length_penalty, ... (see `Generation`); greedy by default.
        extra_evals: {name: lines}: finished models are measured on these too, as "eval_NAME".
        seed: of the degrading.
        skip_unwritable: train lines with characters that the tokenizer lacks are left out; otherwise they are an error.
        skip_long: so are those with more tokens than the decoder has positions (or `max_length`).
        name: for reports and messages.

    Returns:
        A task with the error rates of characters (cer) and words (wer), and the share of exact lines.

    Raises:
        TextkdError: with all options that cannot work.

    Example:
        >>> task = ocr(train="lines.parquet", eval={"fraction": 0.1}, generation={"num_beams": 4})
        >>> task.splits, task.output.main_metric
        (('train', 'eval'), 'cer')
    """
    collector = Collector()
    shape: dict[str, Any] = {"height": height, "width": width, "kind": tokenizer, "vocab_size": vocab_size}
    shape = {key: value for key, value in shape.items() if value is not None}
    if characters != "":
        shape["characters"] = characters
    if processor is None:
        collector.add(*check_shape(**{**USUAL, **shape}))
    elif shape:
        found = "the processor has its own size and tokenizer"
        fix = "leave height, width, tokenizer, vocab_size and characters out, or the processor"
        asked = "processor: with height, width, tokenizer, vocab_size or characters"
        collector.add(problem(asked, found, fix=fix, where="processor"))
    strength = float(augment) if isinstance(augment, bool | int | float) else -1.0
    if not 0 <= strength <= 3:
        fix = "true, false, or a strength from 0 to 3"
        what = "not true, false or a number from 0 to 3"
        collector.add(problem(f"augment: {augment!r}", what, fix=fix, where="augment"))
    check_whole(collector, seed=(seed, 0))
    if seed != 0 and strength == 0:
        collector.add(problem(f"seed: {seed!r}", "it is that of the degrading, and augment: false", where="seed",
                              fix="leave it out; training.seed is that of the training"))  # fmt: skip
    sources: dict[str, Spec] = {}
    holdout, settings = None, Generation()
    with collector.collecting():
        settings = Generation.of(generation)
    with collector.collecting():
        sources, holdout = _sources(train, eval, extra_evals or {})
    collector.raise_any()
    return OcrTask(
        sources, processor=processor, shape=shape, strength=strength, generation=settings, holdout=holdout, seed=seed,
        skip_unwritable=skip_unwritable, skip_long=skip_long, name=name,
    )  # fmt: skip


def ocr_of_model(
    model: Any, folder: str, file: str | Path, image: str | None = None, text: str | None = None,
    num_beams: int | None = None, delimiter: str | None = None, encoding: str | None = None,
    processor: str | None = None,
) -> OcrTask:  # fmt: skip
    """The lines of one file for the model whose processor lies in `folder`. image, text: columns; num_beams: of the
    search for a line's text, 1 (greedy) by default; delimiter, encoding: of the file; processor: another folder."""
    given = {"image": image, "text": text, "delimiter": delimiter, "encoding": encoding}
    columns = {name: value for name, value in given.items() if value is not None}
    beams = {} if num_beams is None else {"num_beams": num_beams}
    return ocr(eval={"path": str(file), **columns}, processor=processor or folder, generation=beams)


def _sources(
    train: Spec | None, eval: Spec | None, extra: Mapping[str, Spec]
) -> tuple[dict[str, Spec], tuple[float, int] | None]:
    collector, sources, holdout = Collector(), dict[str, Spec](), None
    if isinstance(eval, Mapping) and "fraction" in eval:
        with collector.collecting("eval"):
            holdout = holdout_of(eval)
        if train is None:
            asked, fix = "eval: a part of the train lines", "give train:"
            collector.add(problem(asked, "no train lines", fix=fix, where="train"))
    elif eval is None:
        fix = "give eval:, such as a parquet file, or eval: {fraction: 0.1, seed: 0}"
        collector.add(problem("lines to evaluate on", "none", fix=fix, where="eval"))
    if train is not None:
        sources["train"] = train
    if eval is not None and holdout is None:
        sources["eval"] = eval
    sources |= {split: spec for split, (_, spec) in extra_splits(collector, extra).items()}
    collector.raise_any()
    return sources, holdout
