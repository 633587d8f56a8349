"""Narrower students: what they compute, which heads, units and dimensions they keep, and that they load plainly."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import tiny_readers
import torch
import transformers as hf
from second_proofs import but_few
from tiny_teachers import batch_for, make, outputs
from torch import Tensor, nn

from textkd.errors import TextkdError
from textkd.models.students import build, repair_positions, shrink
from textkd.models.students.importance import Scores, measure
from textkd.models.students.narrow import Kept, choose, narrow
from textkd.models.students.parts import blocks_of
from textkd.models.students.widths import BY, Sizes, have, sizes_of

FAMILIES = ("bert", "roberta", "distilbert", "electra", "vit", "deit")
WIDTHS: dict[str, dict[str, Any]] = {"ffn": {"ffn": 24}, "heads": {"heads": 1}, "hidden": {"hidden": 24, "ffn": 0.5}}


def labelled(model: Any) -> dict[str, Tensor]:
    batch = batch_for(model)
    return {**batch, "labels": torch.tensor([0, 2])}


def kept_of(model: Any, stack: Any, asked: Mapping[str, Any], side: str = "", by: str = "magnitude") -> Kept:
    examples = None if by == "magnitude" else [labelled(model)]
    scores = measure(model, {side: stack}, by, examples)[side]
    return choose(scores, sizes_of(stack, asked, side), range(len(scores.ffn)))


def only(kept: Tensor, size: int) -> Tensor:
    return torch.zeros(size).index_fill(0, kept, 1.0)


def masked(model: Any, stacks: Mapping[str, Kept]) -> Any:
    """A copy of a model in which all that is not kept says nothing: outputs of heads and units are zeros, norms look at
    what is kept, and what lies around the blocks neither reads nor writes the rest."""
    twin = copy.deepcopy(model)
    for side, kept in stacks.items():
        stack = getattr(twin, side) if side else twin
        hidden = stack.config.hidden_size
        stream = only(kept.hidden, hidden)
        for i, block in enumerate(blocks_of(stack)):
            mute(block.ffn[1], only(kept.ffn[i], block.ffn[1].in_features))
            for one, (met, values) in zip(block.attentions, kept.attentions[i], strict=True):
                mute(one.output, only(values, one.output.in_features))
                mask = only(met, one.query.out_features)
                one.query.register_forward_hook(lambda m, args, out, mask=mask: out * mask)
        for module in stack.modules():
            if isinstance(module, nn.LayerNorm) and module.normalized_shape == (hidden,):
                module.forward = norm_over(module, kept.hidden)  # type: ignore[method-assign]
        mute_around(stack, stream)
    if "encoder" in stacks:  # what the decoder reads of it
        stream = only(stacks["encoder"].hidden, twin.encoder.config.hidden_size)
        twin.encoder.register_forward_hook(lambda m, args, out: type(out)(last_hidden_state=out[0] * stream))
    if "decoder" in stacks and hasattr(twin, "enc_to_dec_proj"):  # as wide as the decoder
        link = only(stacks["decoder"].hidden, twin.decoder.config.hidden_size)
        twin.enc_to_dec_proj.register_forward_hook(lambda m, args, out: out * link)
    return twin


@torch.no_grad()
def mute_around(stack: Any, stream: Tensor) -> None:
    """Zeros along the stream in all weights around the blocks."""
    inside = {id(p) for block in blocks_of(stack) for p in block.module.parameters()}
    for weight in [p for p in stack.parameters() if id(p) not in inside]:
        for axis in [axis for axis in range(weight.dim()) if weight.shape[axis] == len(stream)]:
            weight *= stream.view(*[-1 if k == axis else 1 for k in range(weight.dim())])


def mute(layer: nn.Module, mask: Tensor) -> None:
    layer.register_forward_pre_hook(lambda m, args: (args[0] * mask,))


def norm_over(norm: Any, kept: Tensor) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        part = nn.functional.layer_norm(x[..., kept], (len(kept),), norm.weight[kept], norm.bias[kept], norm.eps)
        return torch.zeros_like(x).index_copy(-1, kept, part)

    return forward


CASES = [(kind, width) for kind in FAMILIES for width in WIDTHS]


@pytest.mark.parametrize(("kind", "width"), but_few(CASES, ("bert", "heads"), ("bert", "hidden"), ("vit", "hidden")))
def test_what_is_left_computes_what_the_teacher_does_with_the_rest_masked(kind: str, width: str) -> None:
    teacher = make(kind, **({"embedding_size": 12} if kind == "electra" else {}))
    kept = kept_of(teacher, teacher, WIDTHS[width])
    student = narrow(teacher, {"": kept})
    expected = outputs(masked(teacher, {"": kept}))
    assert torch.allclose(outputs(student), expected, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(expected, outputs(teacher), atol=1e-3)
    assert have(student.config) == kept.sizes


@pytest.mark.long
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_narrower_student_loads_plainly(kind: str, tmp_path: Any) -> None:
    student = shrink(make(kind), layers=[2, 4], hidden=24, ffn=0.5)
    student.save_pretrained(tmp_path)
    reloaded, info = type(student).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert torch.allclose(outputs(reloaded), outputs(student), atol=1e-5)
    assert reloaded.config.id2label == {0: "bad", 1: "so-so", 2: "good"}


SIDES = {
    "encoder": {"encoder_heads": 1, "encoder_ffn": 12},
    "decoder": {"decoder_hidden": 12, "decoder_ffn": 0.5},
    "both": {"encoder_hidden": 12, "decoder_heads": 1},
    "units": {"encoder_ffn": 12, "decoder_ffn": 8},
}
KINDS = ("equal widths", "projection", "cross width", "untied")
READERS = [*((kind, "both") for kind in KINDS), *(("untied", which) for which in SIDES if which != "both")]


@pytest.mark.long
@pytest.mark.parametrize(("kind", "which"), READERS)
def test_sides_of_a_reader(kind: str, which: str) -> None:
    teacher, asked = tiny_readers.reader(kind), SIDES[which]
    sides = [side for side in ("encoder", "decoder") if any(word.startswith(side) for word in asked)]
    kept = {side: kept_of(teacher, getattr(teacher, side), asked, side) for side in sides}
    student = shrink(teacher, **asked)
    assert torch.equal(tiny_readers.logits(student), tiny_readers.logits(narrow(teacher, kept)))
    expected = tiny_readers.logits(masked(teacher, kept))
    assert torch.allclose(tiny_readers.logits(student), expected, atol=2e-5, rtol=1e-4)
    assert not torch.allclose(expected, tiny_readers.logits(teacher), atol=1e-3)
    tied = student.get_output_embeddings().weight is student.decoder.get_input_embeddings().weight
    assert tied == (kind != "untied")


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_a_narrower_reader_loads_plainly(kind: str, tmp_path: Any) -> None:
    student = shrink(tiny_readers.reader(kind), encoder_layers=2, **SIDES["both"])
    student.save_pretrained(tmp_path)
    reloaded, info = hf.VisionEncoderDecoderModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["mismatched_keys"]
    repair_positions(reloaded)
    assert torch.allclose(tiny_readers.logits(reloaded), tiny_readers.logits(student), atol=1e-5)
    if kind == "projection":
        assert tiny_readers.generated(reloaded) == tiny_readers.generated(student)


def test_waves_stay_whole_beside_fewer_units() -> None:
    student = shrink(tiny_readers.reader("sinusoidal"), decoder_ffn=8)
    assert tiny_readers.logits(student).isfinite().all()


@pytest.mark.parametrize("kind", but_few(FAMILIES, "bert"))
def test_all_widths_compute_exactly_what_the_teacher_computes(kind: str) -> None:
    teacher = make(kind)
    whole = {"heads": 2, "ffn": 48, "hidden": 32}
    kept = kept_of(teacher, teacher, whole)
    assert torch.equal(outputs(narrow(teacher, {"": kept})), outputs(teacher))
    assert torch.equal(
        outputs(shrink(teacher, ffn=1.0, **{k: v for k, v in whole.items() if k != "ffn"})), outputs(teacher)
    )


def test_depth_and_width_together_leave_the_teacher_and_the_random_state_alone() -> None:
    teacher = make("bert", num_hidden_layers=3).train()
    asked = {"layers": [1, 3], "heads": 1, "ffn": 24, "by": "fisher", "rows": 2, "examples": [labelled(teacher)]}
    before, random = copy.deepcopy(teacher.state_dict()), torch.get_rng_state()
    student, again = shrink(teacher, **asked), shrink(teacher, **asked)
    assert torch.equal(torch.get_rng_state(), random)
    assert teacher.training
    assert all(module.training for module in teacher.modules())
    assert all(torch.equal(weight, before[name]) for name, weight in teacher.state_dict().items())
    assert all(p.grad is None and not p._backward_hooks for p in teacher.parameters())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in teacher.modules())
    assert all(torch.equal(w, again.state_dict()[name]) for name, w in student.state_dict().items())
    kept = choose(measure(teacher.eval(), {"": teacher}, "fisher", [labelled(teacher)])[""], Sizes(1, 24, 16), [0, 2])
    rows = teacher.bert.encoder.layer[2].intermediate.dense.weight[kept.ffn[1]][:, kept.hidden]
    assert torch.equal(student.bert.encoder.layer[1].intermediate.dense.weight, rows)
    assert {p.requires_grad for p in student.parameters()} == {True}


def test_words_stay_tied_and_embeddings_as_wide_as_the_stream_follow_it() -> None:
    teacher = make("electra", hf.AutoModelForMaskedLM, embedding_size=32)
    student = shrink(teacher, heads=1, ffn=24)
    assert student.get_output_embeddings().weight is student.get_input_embeddings().weight
    assert (student.config.embedding_size, student.electra.embeddings.word_embeddings.weight.shape[1]) == (16, 16)
    assert outputs(student).isfinite().all()


# -- importance ------------------------------------------------------------------------------------------------------


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
        ({"layers": [2, 99], "ffn": 99}, {"": "99", "shrink.ffn": "has 48"}),
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
