"""What a model's head decides of its card: which class loads it, the hub's name of its task, how its use is shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Head:
    """loads: the class of transformers. task: the hub's name. card: the template with the macros `use` and `limits`.
    tags, metrics: what the front matter has beside what every card has."""

    loads: str
    task: str
    card: str = "_card_text.md.j2"
    tags: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()


_HEADS = {
    "ForSequenceClassification": Head("AutoModelForSequenceClassification", "text-classification"),
    "ForTokenClassification": Head("AutoModelForTokenClassification", "token-classification"),
    "ForQuestionAnswering": Head("AutoModelForQuestionAnswering", "question-answering"),
    "ForMaskedLM": Head("AutoModelForMaskedLM", "fill-mask"),
    "VisionEncoderDecoderModel": Head(
        "VisionEncoderDecoderModel", "image-to-text", "_card_lines.md.j2", tags=("ocr",), metrics=("cer", "wer")
    ),
}
_OTHER = Head("AutoModel", "feature-extraction")


def head_of(architecture: str) -> Head:
    """The head that a `ModelResult.architecture` names."""
    return next((head for name, head in _HEADS.items() if name in architecture), _OTHER)
