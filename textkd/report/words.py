"""How numbers and names are written in the report."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

NOTHING = "–"  # noqa: RUF001  an en dash is how a table shows that there is no value
MINUTE, HOUR = 60, 3600
_NAMES = {"cer": "CER", "wer": "WER", "exact": "exact lines"}
# How words of a model's name are written, and which names are nouns: "the student", but "peer 1".
_WORDS = {"onnx": "ONNX", "ema": "EMA"}
_NOUNS = ("teacher", "student", "control", "assistant", "ensemble")

LOADS_WITH = (
    "This folder loads with textkd (`textkd.load`), not with plain transformers, which has no class for it and "
    "refuses it; exported as ONNX (`textkd export --format onnx`) it runs with `textkd.deploy.load`, without torch."
)


def number(value: float | None, digits: int = 4) -> str:
    """0.91284 -> "0.9128"; None -> a dash; not a number stays visible."""
    if value is None:
        return NOTHING
    return f"{value:.{digits}f}" if math.isfinite(value) else "not a number"


def amount(value: float | None, unit: str = "") -> str:
    """Three significant digits at least, thousands separated: 1234.5 -> "1,234", 12.345 -> "12.3"."""
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return "not a number"
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.095 or size == 0 else 4
    return f"{value:,.{digits}f}{unit and ' ' + unit}"


def whole(value: int | None) -> str:
    """1234567 -> "1,234,567"; None -> a dash."""
    return NOTHING if value is None else f"{value:,}"


def duration(seconds: float | None) -> str:
    """3723.4 -> "1 h 2 min"; 12.34 -> "12 s"."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 2 * MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"


def percent(share: float | None, digits: int = 1) -> str:
    return NOTHING if share is None else f"{100 * share:.{digits}f}%"


def times(ratio: float) -> str:
    return f"{ratio:.2f}×" if ratio < 10 else f"{ratio:.0f}×"  # noqa: RUF001


def name_of(metric: str) -> str:
    """A metric's name as words: matthews_correlation -> "matthews correlation", wer -> "WER", that of a further
    evaluation mismatched_accuracy -> "mismatched accuracy"."""
    *front, last = metric.split("_")
    return " ".join([*front, _NAMES.get(last, last)])


def label(model: str) -> str:
    """A model's name as words: peer_1 -> "peer 1", student_onnx -> "student ONNX"."""
    return " ".join(_WORDS.get(word, word) for word in model.split("_") if word) or model


def title(model: str) -> str:
    """peer_1 -> "Peer 1", the head of a column."""
    return sentence(label(model))


def spoken(model: str) -> str:
    """A model's name in the middle of a sentence: "the student", "peer 1"."""
    return f"the {model}" if model in _NOUNS else label(model)


def humps(name: str) -> list[str]:
    """BertForMaskedLM -> ["Bert", "For", "Masked", "LM"]: where a long name may go on in the next line."""
    return re.split(r"(?<=[a-z])(?=[A-Z])", name)


def listed(words: Sequence[str]) -> str:
    """["a", "b", "c"] -> "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def sentence(text: str) -> str:
    """With a capital first letter, the others as they are: "WER" stays."""
    return text[:1].upper() + text[1:]


def difference(value: float | None) -> str:
    """0.012 -> "+0.0120": with its sign."""
    if value is None:
        return NOTHING
    return f"{value:+.4f}" if math.isfinite(value) else "not a number"


def settings(values: Mapping[str, object]) -> str:
    """{"num_beams": 4} -> "num_beams 4"; in their order."""
    return ", ".join(f"{name} {value}" for name, value in values.items())


def answer(value: object) -> str:
    """A label or prediction as text; several labels are joined, none of them is said in words."""
    if value is None:
        return NOTHING
    if isinstance(value, list):
        return ", ".join(answer(item) for item in value) or "(none)"
    return amount_of_label(value) if isinstance(value, float) else str(value)


def amount_of_label(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if math.isfinite(value) else "not a number"


def probability(value: float | Sequence[float] | None) -> str:
    if value is None:
        return ""
    if isinstance(value, (int, float)):
        return f"{value:.2f}"
    return ", ".join(f"{item:.2f}" for item in value)


def plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
