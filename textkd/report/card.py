"""README.md of an exported model, for the person who will load it: what it is, how good, how to use it, its limits."""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from textkd.errors import fail
from textkd.report import table, words
from textkd.report.headline import headline
from textkd.report.results import ROLES, ModelResult, Results, Role, ordered_roles
from textkd.report.templates import environment

RECOGNISING = "image-to-text"
# Head class -> the auto class that loads it and the hub's name of its task.
_HEADS = {
    "ForSequenceClassification": ("AutoModelForSequenceClassification", "text-classification"),
    "ForTokenClassification": ("AutoModelForTokenClassification", "token-classification"),
    "ForMaskedLM": ("AutoModelForMaskedLM", "fill-mask"),
    "VisionEncoderDecoderModel": ("VisionEncoderDecoderModel", RECOGNISING),
}


def model_card(results: Results, which: str = "student") -> str:
    """One model's card as Markdown with YAML front matter. Raises a TextkdError if the run has no such model."""
    role = next((r for r in ROLES if r == which and r in results.models), None)
    if role is None:
        raise fail(
            f"a model card of {which!r}", f"the run has {', '.join(results.models)}", near=(which, results.models)
        )
    model = results.models[role]
    auto_class, hub_task = _head(model)
    # Markdown, read by people and by the hub's own cleaner: HTML escapes would show in it.
    templates = environment(autoescape=False)
    templates.filters["cell"] = _cell
    return templates.get_template("card.md.j2").render(
        front=yaml.safe_dump(_front_matter(results, role, hub_task), sort_keys=False, allow_unicode=True),
        results=results,
        role=role,
        model=model,
        roles=ordered_roles(results.models),
        rows=table.comparison(results),
        headline=headline(results),
        auto_class=auto_class,
        recognises=hub_task == RECOGNISING,
        settings=results.measure.generation or {},
        pair=_has_pairs(results),
        fence=_fence(results.recipe),
        words=words,
    )


def _front_matter(results: Results, role: Role, hub_task: str) -> dict[str, Any]:
    model = results.models[role]
    means = {name: model.mean(name) for name in results.metrics_order}
    metrics = [
        {"type": name, "name": words.name_of(name), "value": round(value, 6)}
        for name, value in means.items()
        if value is not None and math.isfinite(value)
    ]
    kind, _, config = results.task.partition("/")
    dataset = {"name": results.task, "type": kind, **({"config": config} if config else {})}
    recognises = hub_task == RECOGNISING
    tags = ["textkd", *(["distillation"] if role == "student" else []), *(["ocr"] if recognises else [])]
    entry = {"task": {"type": hub_task}, "dataset": dataset, "metrics": metrics}
    return {
        "library_name": "transformers",
        "pipeline_tag": hub_task,
        "tags": sorted(tags),
        **({"metrics": [name for name in ("cer", "wer") if name in means]} if recognises else {}),
        "model-index": [{"name": f"{results.name}-{role}", "results": [entry]}],
    }


def _head(model: ModelResult) -> tuple[str, str]:
    for head, loads in _HEADS.items():
        if head in model.architecture:
            return loads
    return "AutoModel", "feature-extraction"


def _has_pairs(results: Results) -> bool:
    examples = results.disagreements.examples if results.disagreements else []
    return any(example.text_b is not None for example in examples)


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _fence(text: str) -> str:
    """A code fence longer than any run of backticks inside the text."""
    return "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
