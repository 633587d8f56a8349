"""Importance is what its formula says, what does nothing goes first, and what cannot be narrower is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import tiny_readers
import torch
import transformers as hf
from tiny_teachers import batch_for, make
from torch import Tensor, nn
from width_lab import kept_of, labelled

from textkd.errors import TextkdError
from textkd.models.students import build, shrink
from textkd.models.students.importance import Scores, measure
from textkd.models.students.widths import BY


def by_hand(model: Any, row: Mapping[str, Tensor], size: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """|g| or g * g of one row in block 1 (of BERT), g by the activations and their own derivatives."""
    layer, held = model.bert.encoder.layer[0], dict[str, list[Tensor]]()

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any = None) -> None:
            value = args[0] if output is None else output
            value.retain_grad()
            held.setdefault(name, []).append(value)

        return hook

    hooks = [
        layer.output.dense.register_forward_pre_hook(keep("ffn")),
        layer.attention.output.dense.register_forward_pre_hook(keep("values")),
        layer.attention.self.query.register_forward_hook(keep("queries")),
        layer.register_forward_pre_hook(keep("hidden")),
        *(one.register_forward_hook(keep("hidden")) for one in model.bert.encoder.layer),
    ]
    model(**row).loss.backward()
    for hook in hooks:
        hook.remove()
    found = {name: sum((v * v.grad).sum((0, 1)) for v in values) for name, values in held.items()}
    return {**{name: size(g) for name, g in found.items()}, "heads": size(found["values"].view(2, 16).sum(1))}


def flat(scores: Scores) -> dict[str, Tensor]:
    one = scores.attentions[0][0]
    return {"ffn": scores.ffn[0], "hidden": scores.hidden, "heads": one.heads, "values": one.values.flatten(),
            "queries": one.queries.flatten()}  # fmt: skip


@pytest.mark.parametrize(("by", "size"), [("gradient", torch.abs), ("fisher", torch.square)])
def test_importance_by_the_loss(by: str, size: Callable[[Tensor], Tensor]) -> None:
    model = make("bert", num_hidden_layers=2)
    batch = labelled(model)
    found = flat(measure(model, {"": model}, by, [batch])[""])
    rows = [by_hand(model, {name: column[i : i + 1] for name, column in batch.items()}, size) for i in range(2)]
    for name, scores in found.items():
        assert torch.allclose(scores.float(), (rows[0][name] + rows[1][name]) / 2, atol=1e-7, rtol=1e-4), name


def squares(weight: Tensor, axis: int) -> Tensor:
    return weight.detach().square().sum(axis)


def test_importance_by_activations() -> None:
    model = make("bert", num_hidden_layers=2)
    batch, layer, seen = batch_for(model), model.bert.encoder.layer[0], dict[str, list[Tensor]]()
    hooks = [
        layer.output.dense.register_forward_pre_hook(lambda m, args: seen.setdefault("ffn", []).append(args[0])),
        layer.attention.output.dense.register_forward_pre_hook(
            lambda m, args: seen.setdefault("values", []).append(args[0])
        ),
    ]
    said = model(**batch, output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    real = [batch["attention_mask"][i].bool() for i in range(2)]

    def mean(value: Tensor) -> Tensor:
        return (sum(value[i][real[i]].square().mean(0) for i in range(2)) / 2).detach()

    found = flat(measure(model, {"": model}, "activation", [batch])[""])
    blocks = model.bert.encoder.layer
    readers = sum(
        squares(w.weight, 0)
        for b in blocks
        for w in (b.attention.self.query, b.attention.self.key, b.attention.self.value, b.intermediate.dense)
    )
    values = mean(seen["values"][0]) * squares(layer.attention.output.dense.weight, 0)
    first = said.hidden_states[0]
    asked, keys = mean(layer.attention.self.query(first)), mean(layer.attention.self.key(first))
    expected = {"ffn": mean(seen["ffn"][0]) * squares(layer.output.dense.weight, 0), "values": values,
                "hidden": sum(mean(one) for one in said.hidden_states) / 3 * readers, "queries": asked * keys,
                "heads": values.view(2, 16).sum(1)}  # fmt: skip
    for name, scores in found.items():
        wanted = expected[name]
        assert torch.allclose(scores.float() / scores.sum(), wanted / wanted.sum(), rtol=1e-4), name


def test_importance_by_weights() -> None:
    model = make("bert", num_hidden_layers=1)
    layer = model.bert.encoder.layer[0]
    asks, keys, values = (getattr(layer.attention.self, name) for name in ("query", "key", "value"))
    into, out, back = layer.intermediate.dense, layer.output.dense, layer.attention.output.dense

    def leads(to: nn.Linear) -> Tensor:
        return squares(to.weight, 1) + to.bias.detach().square()

    of_values = leads(values) * squares(back.weight, 0)
    readers = sum(squares(one.weight, 0) for one in (asks, keys, values, into))
    expected = {"ffn": leads(into) * squares(out.weight, 0), "values": of_values, "queries": leads(asks) * leads(keys),
                "heads": of_values.view(2, 16).sum(1), "hidden": (leads(out) + leads(back)) * readers}  # fmt: skip
    for name, scores in flat(measure(model, {"": model}, "magnitude")[""]).items():
        assert torch.allclose(scores.float(), expected[name], rtol=1e-4), name


@pytest.mark.parametrize("by", BY)
def test_what_does_nothing_goes_first(by: str) -> None:
    teacher = make("bert", num_hidden_layers=2)
    dead_units, dead_heads, dead_width = [[3, 7, 40], [0, 1, 47]], [1, 0], [4, 9, 31]
    with torch.no_grad():
        for layer, units, head in zip(teacher.bert.encoder.layer, dead_units, dead_heads, strict=True):
            layer.output.dense.weight[:, units] = 0
            layer.attention.output.dense.weight[:, 16 * head : 16 * head + 16] = 0
    kept = kept_of(teacher, teacher, {"heads": 1, "ffn": 45}, by=by)
    for i in range(2):
        assert set(kept.ffn[i].tolist()) == set(range(48)) - set(dead_units[i])
        assert kept.attentions[i][0][1].tolist() == list(range(16 * (1 - dead_heads[i]), 16 * (2 - dead_heads[i])))
    with torch.no_grad():
        for name, weight in teacher.named_parameters():
            for axis in range(weight.dim()):
                if weight.shape[axis] == 32 and not (axis == 0 and ".self." in name):
                    weight.index_fill_(axis, torch.tensor(dead_width), 0.0)
    kept = kept_of(teacher, teacher, {"hidden": 28}, by=by)
    assert not set(kept.hidden.tolist()) & set(dead_width)


# -- what cannot be --------------------------------------------------------------------------------------------------


def problems(asked: Mapping[str, Any], model: Any, **more: Any) -> dict[str, str]:
    with pytest.raises(TextkdError) as caught:
        build({"shrink": asked}, model, None, **more)
    assert all(p.fix for p in caught.value.problems)
    return {p.where: f"{p.asked} {p.found} {p.nearest} {p.fix}" for p in caught.value.problems}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"heads": 3, "ffn": 49}, {"shrink.heads": "has 2", "shrink.ffn": "has 48"}),
        ({"heads": 0, "ffn": 0, "hidden": 1.5},
         {"shrink.heads": "whole", "shrink.ffn": "share", "shrink.hidden": "whole"}),
        ({"ffn": 1.5, "heads": True}, {"shrink.ffn": "share", "shrink.heads": "whole"}),
        ({"hidden": 64}, {"shrink.hidden": "has 32"}),
        ({"hidden": 31}, {"shrink.hidden": "hidden: 32"}),
        ({"hidden": 24, "heads": 1}, {"shrink.hidden": "1 of them make 16"}),
        ({"ffn": 8, "by": "fischer", "rows": 0}, {"shrink.by": "fisher", "shrink.rows": "whole"}),
        ({"layers": [2], "by": "fisher"}, {"shrink.by": "nothing becomes narrower"}),
        ({"ffn": 8, "by": "magnitude", "rows": 8}, {"shrink.rows": "no rows"}),
        ({"ffn": 8, "by": "fisher"}, {"shrink.by": "no rows"}),
        ({"ffn": 8, "rows": 5}, {"shrink.rows": "weights alone"}),
        ({"layers": [2, 99], "ffn": 99}, {"shrink.layers": "99", "shrink.ffn": "has 48"}),
        ({"layers": [2], "encoder_ffn": 8}, {"shrink": "one stack"}),
        ({"encoder_ffn": 8}, {"shrink.encoder_ffn": "no sides"}),
    ],
)  # fmt: skip
def test_widths_that_cannot_be(asked: dict[str, Any], said: dict[str, str]) -> None:
    found = problems(asked, make("bert", num_hidden_layers=2))
    assert found.keys() == said.keys()
    assert all(word in found[where] for where, word in said.items())


@pytest.mark.parametrize(
    ("make_it", "asked", "where", "said"),
    [
        (lambda: make("modernbert"), {"ffn": 8}, "shrink.ffn", "modernbert"),
        (lambda: make("albert"), {"n_layers": 2, "heads": 1}, "shrink.heads", "albert"),
        (lambda: make("electra"), {"heads": 1}, "shrink.heads", "projection"),
        (lambda: tiny_readers.reader(), {"ffn": 8}, "shrink.ffn", "decoder_ffn"),
        (lambda: tiny_readers.reader("sinusoidal"), {"decoder_heads": 1}, "shrink.decoder_heads", "waves"),
        (lambda: tiny_readers.reader("projection"), {"encoder_hidden": 16}, "shrink", "projection"),
    ],
)  # fmt: skip
def test_models_that_cannot_be_narrower(make_it: Any, asked: dict[str, Any], where: str, said: str) -> None:
    found = problems(asked, make_it())
    assert list(found) == [where]
    assert said in found[where]


def test_a_model_without_a_loss_says_so() -> None:
    teacher = make("bert", hf.AutoModel)
    examples = [batch_for(teacher)]
    assert "no loss" in problems({"ffn": 8, "by": "gradient"}, teacher, examples=examples)["shrink.by"]
    assert "there are none" in problems({"ffn": 8, "by": "activation"}, teacher, examples=[])["shrink.by"]
    assert shrink(teacher, ffn=8, by="activation", examples=examples).config.intermediate_size == 8
    with pytest.raises(TypeError, match="units"):
        shrink(teacher, units=8)
