"""Positions of new sides: near ones alike, far ones not, whatever the grid; what is left alone."""

from __future__ import annotations

import pytest
import torch
from tiny_readers import reader

from textkd import new_ocr_model
from textkd.models.students import compose
from textkd.models.students.sinusoidal import grid_waves, waves

IDS = {"vocab_size": 40, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def likeness(places: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(places[:, None], places[None], dim=-1)


@pytest.mark.parametrize("width", [64, 65])
def test_neighbours_are_alike_and_far_places_are_not(width: int) -> None:
    places = waves(60, width)
    assert places.shape == (60, width)
    assert places[:, :64].square().mean().item() == pytest.approx(1.0, abs=1e-5)
    alike = likeness(places)
    for place in (5, 30, 50):
        assert alike[place, place + 1] > alike[place, place - 3] > alike[place, (place + 30) % 60]
    first = 2**0.5 * torch.tensor([3.0]).sin()
    assert places[3, 0] == pytest.approx(first.item())


def test_in_a_grid_one_half_tells_the_row_and_one_the_column() -> None:
    places = grid_waves(2, 5, 16).view(2, 5, 16)
    assert torch.equal(places[:, :, 8:], waves(5, 8).expand(2, 5, 8))
    assert torch.equal(places[:, :, :8], waves(2, 8)[:, None].expand(2, 5, 8))
    assert torch.equal(grid_waves(1, 5, 16), waves(5, 16))


@pytest.mark.parametrize("kind", ["vit", "deit"])
def test_a_new_reader_starts_with_them(kind: str) -> None:
    model = new_ocr_model({**SMALL, "model_type": kind, "image_size": [8, 64], "patch_size": [8, 4]}, SMALL, IDS)
    places = model.encoder.embeddings.position_embeddings[0]
    special = {"vit": 1, "deit": 2}[kind]
    torch.testing.assert_close(places[special:], 0.35 * waves(16, 16))
    assert places[:special].abs().max() < 0.6  # the class token's stays as it was drawn
    tokens = model.decoder.model.decoder.embed_positions
    torch.testing.assert_close(tokens.weight[tokens.offset :], model.config.decoder.init_std * waves(128, 16))


def test_only_new_sides_of_a_student_get_them() -> None:
    teacher = reader("equal widths")
    student = compose(teacher, encoder={"num_hidden_layers": 2}, decoder_layers=1)
    torch.testing.assert_close(student.encoder.embeddings.position_embeddings[0, 1:], 0.35 * waves(8, 16))
    own, its = (model.decoder.model.decoder.embed_positions.weight for model in (student, teacher))
    assert torch.equal(own, its)


def test_sinusoidal_positions_are_left_alone() -> None:
    decoder = {**SMALL, "use_learned_position_embeddings": False}
    model = new_ocr_model({**SMALL, "image_size": [8, 64], "patch_size": [8, 4]}, decoder, IDS)
    assert not [name for name, _ in model.decoder.named_parameters() if "embed_positions" in name]
