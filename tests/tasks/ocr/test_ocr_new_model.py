"""A fresh OCR model: defaults, overrides, token ids, errors."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from tiny_readers import images, logits

from textkd import new_ocr_model
from textkd.errors import TextkdError
from textkd.models.students import from_config, shrink

IDS = {"vocab_size": 40, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


class Tokenizer:
    """What is asked of a tokenizer: an id beyond its length, as where tokens were taken out."""

    pad_token_id, bos_token_id, eos_token_id = 1, 0, 2

    def __len__(self) -> int:
        return 38

    def get_vocab(self) -> dict[str, int]:
        return {f"t{i}": i for i in [*range(37), 41]}


def test_defaults() -> None:
    model = new_ocr_model({}, {}, IDS)
    encoder, decoder = model.config.encoder, model.config.decoder
    assert (encoder.model_type, encoder.image_size, encoder.patch_size) == ("vit", [32, 1024], [32, 8])
    assert (encoder.num_hidden_layers, encoder.hidden_size, decoder.decoder_layers, decoder.d_model) == (6, 256, 2, 256)
    assert (decoder.dropout, decoder.use_learned_position_embeddings, decoder.vocab_size) == (0.1, True, 40)
    for owner in (model.config, decoder, model.generation_config):
        ids = [getattr(owner, f"{name}_token_id") for name in ("pad", "bos", "eos", "decoder_start")]
        assert ids == [1, 0, 2, 2]
    assert model.generation_config.max_length == decoder.max_position_embeddings == 128
    assert type(model) is hf.VisionEncoderDecoderModel
    assert not model.training
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert 5e6 < sum(p.numel() for p in model.parameters()) < 10e6


@pytest.mark.long
@pytest.mark.parametrize("kind", ["vit", "deit"])
def test_every_field_can_be_overridden(kind: str, tmp_path) -> None:
    torch.manual_seed(1)
    model = new_ocr_model(
        {**SMALL, "model_type": kind, "image_size": [8, 32], "patch_size": [4, 4], "intermediate_size": 20},
        {**SMALL, "hidden_size": 8, "max_position_embeddings": 9, "activation_function": "relu", "dropout": 0.0},
        IDS,
    )
    assert model.config.encoder.model_type == kind
    assert (model.config.encoder.intermediate_size, model.config.decoder.decoder_ffn_dim) == (20, 32)
    assert model.config.decoder.cross_attention_hidden_size == 16
    assert model.encoder.pooler.dense.weight.shape == (16, 16)
    loss = model(pixel_values=images(model), labels=torch.tensor([[5, 6, 2], [7, 2, -100], [2, -100, -100]])).loss
    assert loss.isfinite()
    model.generation_config.min_length = 9
    assert model.generate(images(model)).shape == (3, 9)  # to the last position, and not past it
    model.save_pretrained(tmp_path)
    reloaded, info = hf.VisionEncoderDecoderModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert torch.allclose(logits(reloaded), logits(model), atol=1e-5)
    assert reloaded.generation_config.max_length == 9


def test_a_decoder_by_projection_and_another_start() -> None:
    model = new_ocr_model(
        SMALL, {**SMALL, "hidden_size": 8, "cross_attention_hidden_size": None, "decoder_start_token_id": 0}, IDS
    )
    assert model.enc_to_dec_proj.weight.shape == (8, 16)
    assert model.config.decoder_start_token_id == model.generation_config.decoder_start_token_id == 0


def test_the_vocabulary_is_the_tokenizers() -> None:
    assert new_ocr_model(SMALL, SMALL, Tokenizer()).config.decoder.vocab_size == 42
    assert new_ocr_model(SMALL, {**SMALL, "vocab_size": 40}, IDS).config.decoder.vocab_size == 40


def test_weights_come_from_the_global_random_state() -> None:
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(new_ocr_model(SMALL, SMALL, IDS).state_dict())
    name = "encoder.layers.0.mlp.fc1.weight"
    assert all(torch.equal(made[0][n], made[1][n]) for n in made[0])
    assert not torch.equal(made[0][name], made[2][name])


def test_it_is_a_teacher_for_students() -> None:
    teacher = new_ocr_model({**SMALL, "image_size": [8, 32], "patch_size": [8, 4]}, SMALL, IDS)
    assert torch.equal(logits(shrink(teacher)), logits(teacher))
    assert from_config(teacher, decoder={"hidden_size": 8}).config.decoder.cross_attention_hidden_size == 16


@pytest.mark.parametrize(
    ("encoder", "decoder", "tokenizer", "words"),
    [
        ({"hiden_size": 8}, {"d_modl": 8}, IDS, ["2 problems", "encoder config hiden_size", "decoder config d_modl"]),
        ({"patch_size": [32, 7]}, {}, IDS, ["cannot be cut", "[32, 8]"]),
        ({"model_type": "swin"}, {}, IDS, ["encoder: asked: model_type 'swin'", "vit, deit"]),
        ({}, {"model_type": "gpt2"}, IDS, ["trocr"]),
        ({}, {"vocab_size": 50, "pad_token_id": 0}, IDS, ["2 problems", "the tokenizer's is 40"]),
        ({}, {"d_model": 10}, IDS, ["10 is not a multiple of 4"]),
        ({}, {"cross_attention_hidden_size": 8}, IDS, ["the encoder is 256 wide"]),
        ({}, {"dropout": "much"}, IDS, ["dropout"]),
        ({}, {}, {"vocab_size": 40, "pad_token_id": 1}, ["2 problems", "bos_token_id", "eos_token_id", "</s> 2"]),
        ({}, {}, {**IDS, "pad_token_id": 40}, ["40 in a vocabulary of 40"]),
        ({}, {}, None, ["neither a tokenizer nor its ids"]),
    ],
)
def test_what_is_wrong_is_told(encoder: dict, decoder: dict, tokenizer, words: list[str]) -> None:
    with pytest.raises(TextkdError) as told:
        new_ocr_model(encoder, decoder, tokenizer)
    assert all(word in str(told.value) for word in words), str(told.value)
