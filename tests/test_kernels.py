"""How long the sequences of a batch are, on every side of a model."""

from __future__ import annotations

import pytest
import torch
from ocr_lab import make_reader
from tiny_lab import make_teacher

from textkd import kernels


def test_words_count_and_labels_of_classes_do_not() -> None:
    batch = {"input_ids": torch.zeros(4, 17, dtype=torch.long), "labels": torch.zeros(4, dtype=torch.long)}
    assert kernels.longest(make_teacher(), batch) == 17
    assert kernels.longest(make_teacher(), {}) == 0


@pytest.mark.parametrize("kind", ["vit", "deit"])
def test_patches_or_characters_count_whichever_are_more(kind: str) -> None:
    model = make_reader(kind)
    encoder = model.config.encoder
    height, width = encoder.image_size
    images = torch.zeros(2, 3, height, width)
    with torch.no_grad():
        patches = model.encoder(images).last_hidden_state.shape[1]
    for characters in (1, 500):
        batch = {"pixel_values": images, "labels": torch.zeros(2, characters, dtype=torch.long)}
        assert 0 <= kernels.longest(model, batch) - max(patches, characters) <= 1  # ViT has no distillation token
