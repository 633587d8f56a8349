"""Models with other layers: what they compute, and that they are saved and loaded as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from ocr_lab import make_reader
from refused_lab import plain_refuses
from tiny_lab import make_teacher, make_tokenizer
from torch import nn

from textkd.errors import TextkdError
from textkd.models.loading import clone, load_model
from textkd.models.own.factors import factors
from textkd.models.own.pieces import Bottleneck, Grouped, LowRank, TiedOutput, WordTable
from textkd.models.own.rebuilt import rebuild
from textkd.models.saved import lost_when_saved
from textkd.models.students import shrink

TEXT = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
IMAGE = {**{k: v for k, v in TEXT.items() if k != "vocab_size"}, "image_size": 8, "patch_size": 4}

MODELS: dict[str, Callable[[], Any]] = {
    "bert": lambda: hf.BertForSequenceClassification(hf.BertConfig(**TEXT)),
    "bert without head": lambda: hf.BertModel(hf.BertConfig(**TEXT)),
    "bert of tokens": lambda: hf.BertForTokenClassification(hf.BertConfig(**TEXT)),
    "bert with words": lambda: hf.BertForMaskedLM(hf.BertConfig(**TEXT)),
    "roberta": lambda: hf.RobertaForSequenceClassification(hf.RobertaConfig(**TEXT)),
    "xlm-roberta": lambda: hf.XLMRobertaForSequenceClassification(hf.XLMRobertaConfig(**TEXT)),
    "electra": lambda: hf.ElectraForSequenceClassification(hf.ElectraConfig(**TEXT, embedding_size=24)),
    "distilbert": lambda: hf.DistilBertForSequenceClassification(
        hf.DistilBertConfig(vocab_size=60, dim=32, hidden_dim=48, n_layers=2, n_heads=2)
    ),
    "vit": lambda: hf.ViTForImageClassification(hf.ViTConfig(**IMAGE)),
    "deit": lambda: hf.DeiTForImageClassification(hf.DeiTConfig(**IMAGE)),
    "reader": make_reader,
    "joined reader": lambda: make_reader("projection"),
}
QUICK = ("bert", "bert with words", "roberta", "vit")
LAYERS = {"layers": {"ffn": 0.25, "attention": 3}}
WORDS: dict[str, Any] = {"factorise": {"embeddings": 8, "layers": {"attention": 3}}, "cheap": {"ffn": "grouped"}}


def made(kind: str) -> Any:
    """A model with weights that are all different."""
    torch.manual_seed(0)
    model = MODELS[kind]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def words_for(kind: str) -> dict[str, Any]:
    if kind in ("vit", "deit"):
        return {"factorise": LAYERS}
    if "reader" in kind:
        each = {"encoder": {"layers": 3}, "decoder": {"embeddings": 4, "layers": {"attention": 0.25}}}
        return {"factorise": each, "cheap": {"decoder": {"ffn": "grouped", "groups": 2}}}
    return WORDS


def answers(model: Any) -> torch.Tensor:
    torch.manual_seed(1)
    if model.config.is_encoder_decoder:
        ids = torch.randint(3, 10, (2, 4))
        return model(pixel_values=torch.randn(2, 3, 16, 64), decoder_input_ids=ids).logits
    if model.main_input_name == "pixel_values":
        return model(pixel_values=torch.randn(2, 3, 8, 8)).logits
    ids = torch.randint(3, 60, (2, 7))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return model(input_ids=ids, attention_mask=mask)[0]


def auto(model: Any) -> Any:
    return hf.AutoModel if type(model) is hf.BertModel else type(model)


@torch.no_grad()
@pytest.mark.parametrize("kind", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long)
                                  for name in MODELS])  # fmt: skip
def test_every_architecture_is_saved_and_loaded_to_the_bit(kind: str, tmp_path: Path) -> None:
    model = made(kind)
    before = answers(model)
    smaller = rebuild(model, **words_for(kind))
    said = answers(smaller)
    assert said.shape == before.shape
    assert smaller.num_parameters() < 0.95 * model.num_parameters()
    assert torch.equal(answers(model), before)
    assert {type(one) for one in model.modules()}.isdisjoint({LowRank, Grouped, WordTable})
    assert type(smaller).__name__ == type(model).__name__
    assert smaller.config.model_type == model.config.model_type
    assert lost_when_saved(smaller) == ""
    smaller.save_pretrained(tmp_path)
    again = load_model(tmp_path, auto(model))
    assert torch.equal(answers(again), said)
    assert type(again) is type(smaller)
    assert again.config.to_dict().keys() >= smaller.config.to_dict().keys()
    own = smaller.state_dict()
    assert own.keys() == again.state_dict().keys()
    assert torch.equal(answers(clone(again)), said)
    assert all(parameter.requires_grad for parameter in again.parameters())


@pytest.mark.parametrize("kind", ["bert with words", pytest.param("reader", marks=pytest.mark.long)])
def test_an_output_that_is_tied_stays_tied(kind: str, tmp_path: Path) -> None:
    side = "decoder" if kind == "reader" else ""
    model = made(kind)
    ranked = {"embeddings": 4}
    smaller = rebuild(model, factorise={side: ranked} if side else ranked)
    (words,) = [one for one in smaller.modules() if isinstance(one, WordTable)]
    (output,) = [one for one in smaller.modules() if isinstance(one, TiedOutput)]
    hidden = torch.randn(3, words.embedding_dim)
    whole = words.table.weight @ words.up.weight.T
    bias = 0 if output.bias is None else output.bias
    assert torch.allclose(output(hidden), hidden @ whole.T + bias, atol=1e-5)
    assert torch.allclose(words(torch.arange(9)), whole[:9] * words.scale, atol=1e-6)
    twin = clone(smaller)
    (other,) = [one for one in twin.modules() if isinstance(one, WordTable)]
    with torch.no_grad():
        other.table.weight.zero_()
    (silent,) = [one for one in twin.modules() if isinstance(one, TiedOutput)]
    assert torch.equal(silent(hidden), torch.zeros(3, words.num_embeddings) + bias)
    assert not torch.equal(output(hidden), silent(hidden))
    twin.tie_weights()
    twin.save_pretrained(tmp_path)
    assert (load_model(tmp_path, type(model)).state_dict()[_name(twin, other)] == 0).all()


def _name(model: Any, words: WordTable) -> str:
    return next(name for name, one in model.named_modules() if one is words) + ".table.weight"


@pytest.mark.parametrize("shape", [(12, 7), (7, 12), (9, 9), (9000, 5)])
def test_factors_are_the_best_of_their_rank(shape: tuple[int, int]) -> None:
    """By numpy's decomposition: what is left out is the root of the sum of the squares of the other singular values."""
    torch.manual_seed(0)
    weight = torch.randn(shape)
    values = np.linalg.svd(weight.double().numpy(), compute_uv=False)
    for rank in range(1, min(shape) + 1):
        left, right = factors(weight, rank)
        assert left.shape == (shape[0], rank)
        assert right.shape == (rank, shape[1])
        lost = float((left.double() @ right.double() - weight.double()).norm())
        assert lost == pytest.approx(float(np.sqrt((values[rank:] ** 2).sum())), abs=1e-4, rel=1e-5)
        assert torch.allclose(left.norm(dim=0), right.norm(dim=1), rtol=1e-4)
    assert torch.allclose(left @ right, weight, atol=1e-6 * shape[1] ** 0.5 + 1e-6)


def test_a_weight_of_low_rank_and_one_of_zeros() -> None:
    torch.manual_seed(0)
    weight = torch.randn(8, 2) @ torch.randn(2, 6)
    left, right = factors(weight, 4)
    assert torch.allclose(left @ right, weight, atol=1e-5)
    left, right = factors(torch.zeros(4, 3), 2)
    assert left.isfinite().all()
    assert torch.equal(left @ right, torch.zeros(4, 3))


def test_of_full_rank_the_model_computes_the_same() -> None:
    """Weights that have a low rank lose nothing by it."""
    model = made("bert")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and ("layer." in name or "word_embeddings" in name):
                weight.copy_(torch.randn(len(weight), 4) @ torch.randn(4, weight.shape[1]) * 0.1)
    smaller = rebuild(model, factorise={"embeddings": 4, "layers": 4})
    assert torch.allclose(answers(smaller), answers(model), atol=1e-5)
    assert torch.allclose(answers(rebuild(model, cheap={"ffn": "low_rank", "rank": 4})), answers(model), atol=1e-5)


def test_a_grouped_layer_is_a_block_diagonal_one_whose_outputs_are_dealt() -> None:
    torch.manual_seed(0)
    layer, x = Grouped(8, 12, 4), torch.randn(2, 3, 8)
    weights = torch.stack([part.weight for part in layer.parts])  # [g, out / g, in / g]
    biases = torch.stack([part.bias for part in layer.parts])
    wanted = torch.einsum("btgi,goi->btog", x.reshape(2, 3, 4, 2), weights) + biases.T
    assert torch.allclose(layer(x), wanted.reshape(2, 3, 12), atol=1e-6)
    assert sum(p.numel() for p in layer.parameters()) == 8 * 12 // 4 + 12


def test_a_bottleneck() -> None:
    torch.manual_seed(0)
    layer, x = Bottleneck(8, 12, 3), torch.randn(2, 8)
    between = torch.einsum("bi,ri->br", x, layer.first.weight) + layer.first.bias
    wanted = torch.einsum("br,or->bo", between.clamp(min=0), layer.second.weight) + layer.second.bias
    assert torch.allclose(layer(x), wanted, atol=1e-6)


def test_cheap_layers_begin_random_and_low_rank_ones_do_not() -> None:
    model = make_teacher(2)
    words = {"ffn": "grouped", "attention": "low_rank", "groups": 2, "rank": 2}
    ones = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        ones.append(rebuild(model, cheap=words).bert.encoder.layer[0])
    first, again, other = (one.intermediate.dense.parts[0].weight for one in ones)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not any(part.bias.any() for part in ones[0].output.dense.parts)
    same, as_well = (one.attention.self.query.second.weight for one in (ones[0], ones[2]))
    assert torch.equal(same, as_well)


def test_fewer_of_its_blocks() -> None:
    """A model with other layers can be made smaller once more, but not narrower, and not twice alike."""
    model = rebuild(make_teacher(4), **WORDS)
    fewer = shrink(model, [2, 4])
    assert type(fewer) is type(model)
    assert torch.equal(fewer.bert.encoder.layer[0].attention.self.query.first.weight,
                       model.bert.encoder.layer[1].attention.self.query.first.weight)  # fmt: skip
    with pytest.raises(TextkdError, match="LowRank in place of linear ones"):
        shrink(model, heads=2)
    with pytest.raises(TextkdError, match="replaced already"):
        rebuild(model, factorise={"embeddings": 2})


@pytest.mark.parametrize(("kind", "words", "said"), [
    ("bert", {"factorise": {"layers": 40}}, "full rank is 32"),
    ("bert", {"factorise": {"layers": 16}}, r"would be larger than it was[\s\S]*at most 15"),
    ("bert", {"factorise": {"layers": {"ffn": 1.0}}}, r"would be larger than it was[\s\S]*at most 19"),
    ("bert", {"factorise": {"embeddings": 33}}, r"the table of words is 60 x 32: its full rank is 32[\s\S]*at most 20"),
    ("bert", {"cheap": {"ffn": "bottleneck", "rank": 19}}, r"larger than it was[\s\S]*at most 18"),
    ("bert", {"cheap": {"ffn": "grouped", "groups": 5}}, r"5 does not divide[\s\S]*fix: 2 or 4 or 8"),
    ("vit", {"factorise": {"embeddings": 4}}, "a vit model has no table of words"),
    ("bert", {"factorise": {"decoder": {"layers": 4}}}, "one stack of blocks and no sides"),
    ("reader", {"factorise": {"layers": 4}}, "two sides"),
    ("bert", {}, "neither factorise nor cheap"),
    ("bert", {"cheap": {"ffn": "groped"}}, "nearest: grouped"),
])  # fmt: skip
def test_what_cannot_be(kind: str, words: dict[str, Any], said: str) -> None:
    with pytest.raises(TextkdError, match=said):
        rebuild(made(kind), **words)


def test_architectures_whose_layers_nobody_knows() -> None:
    sizes = {**TEXT, "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2}
    with pytest.raises(TextkdError, match="modernbert model lie"):
        rebuild(hf.ModernBertModel(hf.ModernBertConfig(**sizes)), factorise={"layers": 4})


def test_a_folder_that_lacks_a_factor(tmp_path: Path) -> None:
    smaller = rebuild(make_teacher(2), factorise={"layers": 2})
    smaller.bert.encoder.layer[0].attention.self.query = nn.Linear(16, 16)
    smaller.save_pretrained(tmp_path)
    with pytest.raises(TextkdError, match=r"query\.first\.weight"):
        load_model(tmp_path, hf.AutoModelForSequenceClassification)


@pytest.mark.long
def test_plain_transformers_refuses_them(tmp_path: Path) -> None:
    rebuild(make_teacher(2), **WORDS).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    plain_refuses(tmp_path)
