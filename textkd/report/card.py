"""README.md of an exported model, for the person who will load it: what it is, how good, how to use it, its limits."""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from textkd.errors import fail
from textkd.report import table, words
from textkd.report.headline import headline
from textkd.report.heads import Head, head_of
from textkd.report.results import Results
from textkd.report.templates import environment


def model_card(results: Results, which: str | None = None) -> str:
    """One model's card, README.md: Markdown with YAML front matter.

    Args:
        results: of the run.
        which: the model, by name; None: the student.

    Returns:
        The text of the file.

    Raises:
        TextkdError: the run has no such model.
    """
    name = results.compare.student if which is None else which
    if name not in results.models:
        raise fail(f"a model card of {name!r}", f"the run has {', '.join(results.models)}", near=(name, results.models))
    model, spoken = results.models[name], words.spoken(name)
    others = {other: results.models[other] for other in model.taught_by if other in results.models}
    head = head_of(model.architecture)
    templates = environment(autoescape=False, finalize=_harmless)
    templates.filters |= {"cell": _cell, "as_it_is": _AsItIs}
    return templates.get_template("card.md.j2").render(
        front=yaml.safe_dump(_front_matter(results, name, head), sort_keys=False, allow_unicode=True),
        results=results,
        name=name,
        model=model,
        who=spoken if spoken.startswith("the ") else f"the model {spoken}",
        teachers=[other for other in others.values() if name not in other.taught_by],
        peers=[words.spoken(other) for other, one in others.items() if name in one.taught_by],
        rows=table.comparison(results),
        headline=headline(results),
        head=head,
        settings=results.measure.generation or {},
        pair=_has_pairs(results),
        fence=_fence(results.recipe),
        words=words,
    )


def _front_matter(results: Results, name: str, head: Head) -> dict[str, Any]:
    model = results.models[name]
    means = {metric: model.mean(metric) for metric in results.metrics_order}
    metrics = [
        {"type": metric, "name": words.name_of(metric), "value": round(value, 6)}
        for metric, value in means.items()
        if value is not None and math.isfinite(value)
    ]
    kind, _, config = results.task.partition("/")
    dataset = {"name": results.task, "type": kind, **({"config": config} if config else {})}
    tags = ["textkd", *(["distillation"] if model.taught_by else []), *head.tags]
    entry = {"task": {"type": head.task}, "dataset": dataset, "metrics": metrics}
    return {
        "library_name": model.loads_with or ("transformers" if model.runtime is None else "onnx"),
        "pipeline_tag": head.task,
        "tags": sorted(tags),
        **({"metrics": [metric for metric in head.metrics if metric in means]} if head.metrics else {}),
        "model-index": [{"name": f"{results.name}-{name}", "results": [entry]}],
    }


def _has_pairs(results: Results) -> bool:
    examples = results.disagreements.examples if results.disagreements else []
    return any(example.text_b is not None for example in examples)


class _AsItIs(str):
    """Text that is put into a card as it is: what stands in a code fence, and what textkd wrote itself."""


def _harmless(value: Any) -> Any:
    """Text of a recipe, of data or models in the middle of Markdown: one line, with neither HTML, which the hub shows,
    nor links and images. Twice is as good as once."""
    if not isinstance(value, str) or isinstance(value, _AsItIs):
        return value
    line = " ".join(value.splitlines()).replace("<", "&lt;")
    return line.replace("](", "]&#40;").replace("][", "]&#91;").replace("]:", "]&#58;")


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _fence(text: str) -> str:
    """A code fence longer than any run of backticks inside the text."""
    return "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
