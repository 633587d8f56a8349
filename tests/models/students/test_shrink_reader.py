"""shrink for models of two sides: what the student computes, shares, saves and refuses."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers as hf
from second_proofs import but_few
from tiny_readers import KINDS, generated, images, logits, reader
from tiny_teachers import make
from torch import nn

from textkd.errors import TextkdError
from textkd.models.students import build, repair_positions, shrink


def cut(teacher, encoder: list[int], decoder: list[int]):
    """The teacher with blocks taken out by hand."""
    model = copy.deepcopy(teacher)
    model.encoder.layers = nn.ModuleList([model.encoder.layers[i - 1] for i in encoder])
    stack = model.decoder.model.decoder
    stack.layers = nn.ModuleList([stack.layers[i - 1] for i in decoder])
    return model


@pytest.mark.parametrize("kind", but_few(KINDS, *list(KINDS)[:2]))
def test_all_layers_compute_exactly_what_the_teacher_computes(kind: str) -> None:
    teacher = reader(kind)
    for student in (shrink(teacher), shrink(teacher, encoder_layers=4, decoder_layers=[1, 2, 3])):
        assert torch.equal(logits(student), logits(teacher))
        assert generated(student) == generated(teacher)
        assert generated(student, num_beams=3) == generated(teacher, num_beams=3)
    assert any(len(set(row)) > 4 for row in generated(teacher))  # it says something


@pytest.mark.parametrize("kind", but_few(KINDS, "equal widths", "cross width"))
def test_student_computes_the_teacher_without_the_other_blocks(kind: str) -> None:
    teacher = reader(kind)
    student = shrink(teacher, encoder_layers=[1, -1], decoder_layers=[2, 3])
    assert torch.equal(logits(student), logits(cut(teacher, [1, 4], [2, 3])))
    assert not torch.allclose(logits(student), logits(teacher), atol=1e-2)
    assert (student.config.encoder.num_hidden_layers, student.config.decoder.decoder_layers) == (2, 2)
    assert type(student) is type(teacher)
    assert not student.training


def test_numbers_are_a_uniform_choice_and_a_side_left_out_is_whole() -> None:
    teacher = reader()
    assert torch.equal(logits(shrink(teacher, encoder_layers=2)), logits(cut(teacher, [2, 4], [1, 2, 3])))
    assert torch.equal(logits(shrink(teacher, decoder_layers=1)), logits(cut(teacher, [1, 2, 3, 4], [3])))
    last = build({"shrink": {"encoder_layers": 2, "decoder_layers": [3, 1]}}, teacher, hf.VisionEncoderDecoderModel)
    assert torch.equal(logits(last), logits(cut(teacher, [2, 4], [3, 1])))


@pytest.mark.parametrize("kind", but_few(KINDS, "equal widths", "cross width"))
def test_generation_uses_its_cache_in_the_right_places(kind: str) -> None:
    student = shrink(reader(kind), encoder_layers=[2], decoder_layers=[1, 3])
    blocks = student.decoder.model.decoder.layers
    assert [(b.self_attn.layer_idx, b.encoder_attn.layer_idx) for b in blocks] == [(0, 0), (1, 1)]
    assert generated(student, use_cache=True) == generated(student, use_cache=False)


@pytest.mark.parametrize("kind", but_few(KINDS, "equal widths", "cross width"))
def test_tied_weights_stay_tied_and_untied_ones_untied(kind: str) -> None:
    teacher = reader(kind)
    student = shrink(teacher, encoder_layers=2, decoder_layers=2)
    tied = student.get_output_embeddings().weight is student.get_input_embeddings().weight
    assert tied == (kind != "untied")
    assert student.get_output_embeddings().weight is not teacher.get_output_embeddings().weight
    assert student.config.tie_word_embeddings == teacher.config.tie_word_embeddings
    assert student.config.decoder.tie_word_embeddings == teacher.config.decoder.tie_word_embeddings
    assert (
        hasattr(student, "enc_to_dec_proj") == hasattr(teacher, "enc_to_dec_proj") == (kind in ("projection", "untied"))
    )


@pytest.mark.parametrize("kind", but_few(KINDS, "equal widths", "cross width"))
def test_saved_student_reloads_equal(kind: str, tmp_path) -> None:
    student = shrink(reader(kind), encoder_layers=[1, 3], decoder_layers=[3, 1])
    student.save_pretrained(tmp_path)
    reloaded, info = hf.VisionEncoderDecoderModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert repair_positions(reloaded) == (1 if kind == "sinusoidal" else 0)
    assert torch.allclose(logits(reloaded), logits(student), atol=1e-5)
    assert generated(reloaded) == generated(student)
    tied = reloaded.get_output_embeddings().weight is reloaded.get_input_embeddings().weight
    assert tied == (kind != "untied")


def test_config_and_generation_config_are_kept_and_nothing_is_shared() -> None:
    teacher = reader().train().requires_grad_(False)
    before, random = copy.deepcopy(teacher), torch.get_rng_state()
    student = shrink(teacher, encoder_layers=2, decoder_layers=2)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.requires_grad for p in student.parameters())
    assert student.generation_config.to_dict() == teacher.generation_config.to_dict()
    assert student.generation_config is not teacher.generation_config
    assert student.config.decoder is student.decoder.config
    assert (student.config.pad_token_id, student.config.decoder_start_token_id) == (1, 2)
    student.config.decoder.vocab_size, student.generation_config.max_length = 0, 1
    with torch.no_grad():
        for weight in student.parameters():
            weight.zero_()
    assert teacher.training
    assert teacher.config.to_dict() == before.config.to_dict()
    assert teacher.generation_config.max_length == 12
    assert torch.equal(logits(teacher.eval()), logits(before.eval()))


@pytest.mark.parametrize("kind", ["cross width", "sinusoidal"])
def test_dtype_is_kept(kind: str) -> None:
    teacher = reader(kind).to(torch.bfloat16)
    student = shrink(teacher, encoder_layers=[1, 2, 3, 4], decoder_layers=3)
    assert {p.dtype for p in student.parameters()} == {torch.bfloat16}
    assert torch.equal(logits(student), logits(teacher))


def test_attention_implementation_is_kept() -> None:
    teacher = reader()
    teacher.set_attn_implementation("eager")
    student = shrink(teacher, encoder_layers=2)
    assert student.config.encoder._attn_implementation == "eager"
    with torch.no_grad():
        ids = torch.tensor([[2], [2], [2]])
        maps = student(pixel_values=images(student), decoder_input_ids=ids, output_attentions=True).encoder_attentions
    assert len(maps) == 2


def test_an_encoder_without_pooler_stays_without() -> None:
    teacher = reader()
    teacher.encoder.pooler = None
    student = shrink(teacher, encoder_layers=2)
    assert student.encoder.pooler is None
    assert not any("pooler" in name for name in student.state_dict())


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"layers": [1, 2]}, ["encoder of 4 blocks and decoder of 3 blocks", "encoder_layers and decoder_layers"]),
        ({"layers": "uniform", "n_layers": 2}, ["2 problems"]),
        ({"encoder_layers": 5, "decoder_layers": [0]}, ["2 problems", "encoder_layers:", "decoder_layers:", "1 to 3"]),
        ({"encoder_layers": [1, 1]}, ["more than once"]),
        ({"decoder_layers": "uniform"}, ["neither block numbers nor how many", "of the 3"]),
        ({"decoder_layers": True}, ["neither block numbers nor how many"]),
        ({"decoder_layers": []}, ["an empty list"]),
    ],
)
def test_wrong_layers_are_told(kwargs: dict, words: list[str]) -> None:
    with pytest.raises(TextkdError) as told:
        shrink(reader(), **kwargs)
    assert all(word in str(told.value) for word in words), str(told.value)


def test_sides_of_a_text_encoder_are_refused() -> None:
    with pytest.raises(TextkdError, match=r"(?s)2 problems.*one stack of blocks.*fix: layers: 2"):
        shrink(make("bert"), encoder_layers=2, decoder_layers=1)
