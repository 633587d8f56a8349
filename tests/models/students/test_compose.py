"""Students with a new encoder or a narrower decoder: what is new, what is copied, how the two sides are joined."""

from __future__ import annotations

import logging

import pytest
import torch
import transformers as hf
from second_proofs import but_few
from tiny_readers import KINDS, generated, images, logits, reader
from tiny_teachers import make

from textkd.errors import TextkdError
from textkd.models.students import build, from_config, random_init_warning, repair_positions

AUTO = hf.VisionEncoderDecoderModel


def weights(module) -> dict[str, torch.Tensor]:
    return dict(module.state_dict())


def same(one, other, without: tuple[str, ...] = ()) -> bool:
    mine, theirs = (
        {k: v for k, v in weights(m).items() if not any(part in k for part in without)} for m in (one, other)
    )
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


@pytest.mark.long
@pytest.mark.parametrize("kind", but_few(KINDS, "equal widths", "cross width"))
def test_narrower_decoder_with_the_teachers_encoder(kind: str, tmp_path, caplog) -> None:
    teacher = reader(kind)
    student = from_config(teacher, decoder={"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2})
    config = student.config.decoder
    assert (config.d_model, config.decoder_layers, config.decoder_ffn_dim) == (8, 1, 10)  # 20 / 16 of the width
    assert (config.vocab_size, config.is_decoder, config.add_cross_attention) == (40, True, True)
    assert config.activation_function == "relu"
    assert same(student.encoder, teacher.encoder)
    assert "the student's decoder starts from random weights" in caplog.text
    by_projection = kind != "cross width"
    assert ("the projection between the two sides" in caplog.text) == by_projection
    assert "cross-attention" not in caplog.text  # it belongs to the decoder, which is new as a whole
    assert hasattr(student, "enc_to_dec_proj") == by_projection
    assert config.cross_attention_hidden_size == (None if by_projection else 24)
    assert logits(student).shape == logits(teacher).shape
    student.save_pretrained(tmp_path)
    reloaded = AUTO.from_pretrained(tmp_path)
    repair_positions(reloaded)
    assert torch.allclose(logits(reloaded), logits(student), atol=1e-5)
    assert generated(reloaded) == generated(student)


@pytest.mark.parametrize("kind", but_few(KINDS, "equal widths", "cross width"))
@pytest.mark.parametrize("width", [16, 20])
def test_new_encoder_with_the_teachers_decoder(kind: str, width: int) -> None:
    teacher = reader(kind)
    other = {"vit": "deit", "deit": "vit"}[teacher.config.encoder.model_type]
    torch.manual_seed(3)
    student = from_config(teacher, encoder={"model_type": other, "hidden_size": width, "patch_size": [4, 4]})
    assert type(student.encoder).__name__ == {"vit": "ViTModel", "deit": "DeiTModel"}[other]
    encoder = student.config.encoder
    assert (encoder.image_size, encoder.patch_size, encoder.pooler_output_size) == ([8, 32], [4, 4], width)
    assert encoder.num_hidden_layers == 4
    if kind == "cross width":  # only what reads the encoder's width is new
        assert student.config.decoder.cross_attention_hidden_size == width
        assert same(student.decoder, teacher.decoder, ("encoder_attn.k_proj", "encoder_attn.v_proj"))
    else:
        assert same(student.decoder, teacher.decoder)
        assert hasattr(student, "enc_to_dec_proj") == (width != 16)
    assert student.encoder(images(student)).last_hidden_state.shape == (3, 16 + (2 if other == "deit" else 1), width)
    assert logits(student).isfinite().all()
    assert teacher.config.encoder.model_type != other


def test_what_joins_the_sides_is_copied_where_it_fits() -> None:
    teacher = reader("projection")
    student = from_config(teacher, decoder={"decoder_layers": 1})  # the same widths
    assert torch.equal(student.enc_to_dec_proj.weight, teacher.enc_to_dec_proj.weight)
    student = from_config(teacher, encoder={"num_hidden_layers": 1})  # a projection of something else
    assert not torch.equal(student.enc_to_dec_proj.weight, teacher.enc_to_dec_proj.weight)
    wide = reader("cross width")
    student = from_config(wide, encoder={"num_hidden_layers": 1})
    assert same(student.decoder, wide.decoder)
    student = build({"config": {"decoder": {"cross_attention_hidden_size": None}}}, wide, AUTO)
    assert student.enc_to_dec_proj.weight.shape == (16, 24)
    assert same(student.encoder, wide.encoder)


def test_one_side_shrunk_and_the_other_new(caplog) -> None:
    teacher = reader("cross width")
    spec = {"shrink": {"decoder_layers": [1, 3]}, "config": {"encoder": {"hidden_size": 12, "intermediate_size": 8}}}
    with caplog.at_level(logging.WARNING, "textkd"):
        student = build(spec, teacher, AUTO)
    blocks, theirs = (m.decoder.model.decoder.layers for m in (student, teacher))
    for mine, number in zip(blocks, (0, 2), strict=True):
        assert same(mine, theirs[number], ("k_proj", "v_proj"))
        assert same(mine.self_attn, theirs[number].self_attn)
    assert student.config.encoder.intermediate_size == 8
    assert "the student's encoder starts from random weights (keys and values" in caplog.text
    assert "student's decoder" not in caplog.text
    assert generated(student, use_cache=True) == generated(student, use_cache=False)


def test_both_sides_new_and_seeded(caplog) -> None:
    teacher = reader().to(torch.bfloat16)
    made = []
    for _ in range(2):
        torch.manual_seed(7)
        made.append(from_config(teacher, encoder={}, decoder={}))
    assert same(*made)
    assert {p.dtype for p in made[0].parameters()} == {torch.float32}
    assert not same(made[0].encoder.layers[0], teacher.float().encoder.layers[0])
    assert "the student's encoder and the student's decoder start from random weights" in caplog.text


def test_a_new_side_takes_the_dtype_of_the_copied_one() -> None:
    student = from_config(reader().to(torch.bfloat16), decoder={"d_model": 8})
    assert {p.dtype for p in student.parameters()} == {torch.bfloat16}


def test_tied_weights_of_a_new_decoder() -> None:
    student = from_config(reader("untied"), decoder={"tie_word_embeddings": True})
    assert student.get_output_embeddings().weight is student.get_input_embeddings().weight
    student = from_config(reader(), decoder={"tie_word_embeddings": False})
    assert student.get_output_embeddings().weight is not student.get_input_embeddings().weight


def test_generation_ends_at_the_last_position() -> None:
    teacher = reader()
    teacher.generation_config.min_length = 7
    student = from_config(teacher, decoder={"max_position_embeddings": 7})
    assert student.generation_config.max_length == 7
    assert teacher.generation_config.max_length == 12
    assert max(map(len, generated(student))) == 7


def test_warning_of_a_recipe() -> None:
    assert random_init_warning({"shrink": {"decoder_layers": 1}}) is None
    assert "knows no language" in str(random_init_warning({"config": {"hidden_size": 8}}))
    told = str(random_init_warning({"config": {"decoder": {}}, "shrink": {"encoder_layers": 1}}))
    assert told.startswith("the student's decoder starts from random weights")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"hidden_size": 8}, ["two sides", "{decoder: {hidden_size: 8}}"]),
        ({"encodr": {}}, ["nearest: encoder"]),
        ({}, ["no side in it"]),
        ({"encoder": 3}, ["not a block of keys"]),
        (
            {"encoder": {"hiden_size": 8}, "decoder": {"d_modl": 8}},
            ["2 problems", "encoder: asked: student config hiden_size", "nearest: hidden_size", "decoder:", "d_model"],
        ),
        ({"encoder": {"patch_size": [8, 5]}}, ["8x32 pixels cannot be cut", "[8, 4]"]),
        ({"encoder": {"patch_size": "small"}}, ["not a size in pixels", "[height, width]"]),
        ({"encoder": {"image_size": 384}}, ["the teacher's is [8, 32]", "fit_image_size"]),
        ({"encoder": {"model_type": "bert"}}, ["no encoder that textkd can make", "vit, deit"]),
        ({"encoder": {"model_type": "vitt"}}, ["nearest: vit"]),
        ({"decoder": {"model_type": "gpt2"}}, ["no decoder", "trocr"]),
        ({"decoder": {"vocab_size": 50}}, ["vocab_size: 50", "the teacher's is 40"]),
        ({"decoder": {"eos_token_id": 3, "is_decoder": False}}, ["2 problems", "leave it out"]),
        ({"decoder": {"d_model": 9}}, ["9 is not a multiple of 2"]),
        ({"decoder": {"cross_attention_hidden_size": 9}}, ["the encoder is 24 wide"]),
        ({"decoder": {"activation_function": "nonsense"}}, ["nonsense"]),
        ({"decoder": {"dropout": "much"}}, ["dropout"]),
    ],
)
def test_wrong_configs_are_told(config: dict, words: list[str]) -> None:
    with pytest.raises(TextkdError) as told:
        build({"config": config}, reader(), AUTO)
    assert all(word in str(told.value) for word in words), str(told.value)


def test_the_same_image_size_in_other_words_is_no_change() -> None:
    teacher = reader(image_size=16, patch_size=4)
    assert from_config(teacher, encoder={"image_size": [16, 16]}).config.encoder.image_size == [16, 16]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"shrink": {"layers": [1]}, "config": {"hidden_size": 8}}, ["shrink and config together", "one side"]),
        ({"shrink": {"encoder_layers": 1}, "config": {"encoder": {}}}, ["shrink.encoder_layers and config.encoder"]),
        ({"shrink": {"layers": [1], "decoder_layers": 1}}, ["keep one kind"]),
        ({"shrink": {"decodr_layers": 1}}, ["nearest: decoder_layers"]),
        ({"shrink": {"encoder_layers": 1}, "config": {"decoder": {}}, "path": "x"}, ["shrink and path and config"]),
        ({"shrink": {"encoder_layers": 1}, "share_encoder": True}, ["shrink.encoder_layers makes an encoder"]),
        ({"config": {"encoder": {}}, "share_encoder": True}, ["config.encoder makes an encoder"]),
        ({"shrink": {}, "share_encoder": "yes"}, ["not true or false"]),
        ({"shrink": {}, "share_encodr": True}, ["nearest: share_encoder"]),
    ],
)
def test_wrong_specs_are_told(spec: dict, words: list[str]) -> None:
    with pytest.raises(TextkdError) as told:
        build(spec, reader(), AUTO)
    assert all(word in str(told.value) for word in words), str(told.value)


def test_two_sides_are_refused_where_the_teacher_has_one() -> None:
    spec = {"shrink": {"decoder_layers": 1}, "config": {"encoder": {"hidden_size": 8}}}
    with pytest.raises(TextkdError, match="BertForSequenceClassification has none"):
        build(spec, make("bert"), hf.AutoModelForSequenceClassification)
