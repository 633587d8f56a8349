"""The fields of a config that a recipe overrides: their names, what follows them, and sizes that cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import transformers

from textkd.errors import Collector, Problem, fail, nearest, problem
from textkd.models.model_files import oversized

# What no recipe sets: identity of the config, and what the teacher decides.
NOT_FIELDS = ("architectures", "transformers_version", "model_type", "_name_or_path", "is_encoder_decoder", "label2id")
WIDTH_OF_FFN = ("intermediate_size", "hidden_dim", "decoder_ffn_dim")


def config_class_of(model_type: str) -> Any:
    """The config class of a model_type. Raises `TextkdError` with the nearest types."""
    known = transformers.CONFIG_MAPPING
    if model_type not in known:
        fix = "use a model_type of transformers, such as bert, distilbert or modernbert"
        raise fail(f"model_type {model_type!r}", "not known to transformers", near=(str(model_type), known), fix=fix)
    return known[model_type]


def override(
    config_class: Any, values: Mapping[str, Any], overrides: Mapping[str, Any], what: str = "student config"
) -> dict[str, Any]:
    """A config's `values` with `overrides`, and with what hangs on them (feed-forward and pooler width, lists of
    blocks). The standard names hidden_size, intermediate_size, num_hidden_layers and num_attention_heads always work.
    what: how errors call it. Raises `TextkdError` with every unknown field and every impossible size."""
    wrong = Collector()
    given = _under_own_names(config_class, values, overrides, what, wrong)
    values = dict(values)
    _follow(config_class, values, given)
    values.update(given)
    wrong.add(*_impossible(config_class, values, what, bool(wrong.problems)))
    if found := oversized(given):
        wrong.add(problem(f"{what} {found.partition(';')[0]}", f"larger than any model{found[found.index(';'):]}",
                          fix="give a smaller size"))  # fmt: skip
    wrong.raise_any()
    return values


def _under_own_names(
    config_class: Any, values: Mapping[str, Any], overrides: Mapping[str, Any], what: str, wrong: Collector
) -> dict[str, Any]:
    """The overrides under the config's own names; every name that it does not have goes to `wrong`."""
    renamed = {**config_class.attribute_map}
    own_ffn = next((name for name in WIDTH_OF_FFN if name in values), None)
    if own_ffn is not None and own_ffn != "intermediate_size":
        renamed["intermediate_size"] = own_ffn
    fields = [name for name in {**values, **renamed} if name not in NOT_FIELDS]
    for name in (str(name) for name in overrides if name not in fields):
        fix = f"use a field of {config_class.__name__}" if nearest(name, fields) else f"fields: {', '.join(fields)}"
        found = f"{config_class.__name__} has no such field"
        wrong.add(problem(f"{what} {name}", found, near=(name, fields), fix=fix))
    return {renamed.get(name, name): value for name, value in overrides.items() if name in fields}


def _follow(config_class: Any, values: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Lets what hangs on a changed size follow it: widths beside hidden_size, and lists with one entry per block."""
    width = config_class.attribute_map.get("hidden_size", "hidden_size")
    depth = config_class.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    if isinstance(given.get(width), int) and given[width] != values[width]:
        for ffn in WIDTH_OF_FFN:
            if ffn in values and ffn not in given:
                values[ffn] = given[width] * values[ffn] // values[width]
        if values.get("pooler_output_size") == values[width]:
            values["pooler_output_size"] = given[width]
    if given.get(depth, values[depth]) != values[depth]:
        values.pop("layer_types", None)  # the config makes its usual pattern for the new depth


def _impossible(config_class: Any, values: Mapping[str, Any], what: str, is_part: bool) -> Iterator[Problem]:
    """Sizes that cannot be, each by itself and beside the others. is_part: one of the others may be meant otherwise."""
    names = {name: config_class.attribute_map.get(name, name) for name in ("hidden_size", "num_attention_heads")}
    sizes = [*names.values(), config_class.attribute_map.get("num_hidden_layers", "num_hidden_layers"), *WIDTH_OF_FFN]
    wrong = [name for name in sizes if name in values and (type(values[name]) is not int or values[name] < 1)]
    for name in wrong:
        yield problem(f"{what} {name}: {values[name]!r}", "not a positive whole number", fix="give 1 or more")
    hidden, heads = values[names["hidden_size"]], values[names["num_attention_heads"]]
    if not wrong and not is_part and hidden % heads:
        fitting = [h for h in range(1, hidden + 1) if hidden % h == 0 and hidden // h >= 8] or [1]
        best = min(fitting, key=lambda h: abs(h - heads))
        yield problem(
            f"{what} {names['hidden_size']}: {hidden} with {names['num_attention_heads']}: {heads}",
            f"{hidden} is not a multiple of {heads}",
            fix=f"use {best} heads, or a width of {max(1, round(hidden / heads)) * heads}",
        )
