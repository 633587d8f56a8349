"""Images of another size, and sinusoidal positions that transformers does not load."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers as hf
from places import SHARED
from tiny_readers import generated, images, logits, reader
from tiny_teachers import make
from torch.nn import functional as F

from textkd.errors import TextkdError
from textkd.models.students import build, fit_image_size, repair_positions, shares_encoder


@pytest.mark.parametrize("kind", ["equal widths", "projection"])
def test_the_same_size_is_exact_and_a_copy(kind: str) -> None:
    model = reader(kind)
    fitted = fit_image_size(model, (8, 32))
    assert torch.equal(logits(fitted), logits(model))
    assert fitted is not model
    assert fitted.encoder.embeddings.position_embeddings is not model.encoder.embeddings.position_embeddings


@pytest.mark.long
@pytest.mark.parametrize("kind", ["equal widths", "projection"])  # ViT with one special token, DeiT with two
@pytest.mark.parametrize("size", [(8, 48), (16, 16), (32, 8), (24, 24)])
def test_it_is_what_transformers_interpolates_for_square_grids(kind: str, size: tuple[int, int]) -> None:
    model = reader(kind, image_size=16, patch_size=4)
    fitted = fit_image_size(model, size)
    ids, pixels = torch.tensor([[2, 5], [2, 9], [2, 8]]), torch.randn(3, 3, *size)
    with torch.no_grad():
        theirs = model(pixel_values=pixels, decoder_input_ids=ids, interpolate_pos_encoding=True).logits
        ours = fitted(pixel_values=pixels, decoder_input_ids=ids).logits
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("kind", ["equal widths", "projection"])
def test_oblong_grids_and_special_tokens(kind: str) -> None:
    model = reader(kind, image_size=[16, 32], patch_size=[8, 4])  # 2x8 patches
    special = {"vit": 1, "deit": 2}[model.config.encoder.model_type]
    old = model.encoder.embeddings.position_embeddings.detach()
    new = fit_image_size(model, (8, 64)).encoder.embeddings.position_embeddings.detach()
    assert torch.equal(new[:, :special], old[:, :special])
    for channel in range(old.shape[-1]):
        plane = old[0, special:, channel].reshape(1, 1, 2, 8)
        expected = F.interpolate(plane, size=(1, 16), mode="bicubic", align_corners=False)
        assert torch.allclose(new[0, special:, channel], expected.flatten(), atol=1e-6)


@pytest.mark.long
def test_everything_else_stays_and_the_copy_reloads(tmp_path) -> None:
    model = reader("projection").train().requires_grad_(False)
    before = copy.deepcopy(model)
    fitted = fit_image_size(model, (16, 40))
    assert fitted.training
    assert not any(p.requires_grad for p in fitted.parameters())
    assert fitted.config.encoder.image_size == fitted.encoder.config.image_size == [16, 40]
    assert fitted.encoder.embeddings.patch_embeddings.num_patches == 2 * 10
    assert model.config.to_dict() == before.config.to_dict()
    changed = {n for n, w in fitted.state_dict().items() if w.shape != model.state_dict()[n].shape}
    assert changed == {"encoder.embeddings.position_embeddings"}
    rest = [n for n in model.state_dict() if n not in changed]
    assert all(torch.equal(fitted.state_dict()[n], model.state_dict()[n]) for n in rest)
    fitted.eval().save_pretrained(tmp_path)
    reloaded, info = hf.VisionEncoderDecoderModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert torch.allclose(logits(reloaded), logits(fitted), atol=1e-5)
    assert generated(reloaded) == generated(fitted)
    assert images(reloaded).shape == (3, 3, 16, 40)
    assert reloaded.get_output_embeddings().weight is reloaded.get_input_embeddings().weight


def test_a_square_size_is_one_number_and_low_precision_stays() -> None:
    fitted = fit_image_size(reader().to(torch.bfloat16), (16, 16))
    assert fitted.config.encoder.image_size == 16
    assert {p.dtype for p in fitted.parameters()} == {torch.bfloat16}


def test_a_lone_encoder_and_one_with_a_head() -> None:
    encoder = reader().encoder
    assert fit_image_size(encoder, (8, 64))(torch.randn(1, 3, 8, 64)).last_hidden_state.shape[1] == 2 + 16
    classifier = fit_image_size(make("vit"), (4, 16))
    assert classifier(torch.randn(2, 3, 4, 16)).logits.shape == (2, 3)
    assert classifier.config.image_size == [4, 16]


@pytest.mark.parametrize(
    ("model", "size", "words"),
    [
        ("reader", (8, 30), ["no multiple of the patches of 8x4", "use (8, 32)"]),
        ("reader", (4, 32), ["use (8, 32)"]),
        ("reader", 384, ["not (height, width)"]),
        ("reader", (8, 32.0), ["not (height, width)"]),
        ("reader", (0, 32), ["not (height, width)"]),
        ("bert", (8, 32), ["model_type bert", "ViT or a DeiT"]),
    ],
)
def test_wrong_sizes_and_models_are_told(model: str, size, words: list[str]) -> None:
    with pytest.raises(TextkdError) as told:
        fit_image_size(reader() if model == "reader" else make(model), size)
    assert all(word in str(told.value) for word in words), str(told.value)


@pytest.mark.long
def test_sinusoidal_positions_are_repaired_after_loading(tmp_path) -> None:
    model = reader("sinusoidal")
    model.save_pretrained(tmp_path)
    loaded = hf.VisionEncoderDecoderModel.from_pretrained(tmp_path)
    assert repair_positions(loaded) == 1
    assert torch.allclose(logits(loaded), logits(model), atol=1e-5)
    assert generated(loaded) == generated(model)
    assert not any("embed_positions" in name for name in loaded.state_dict())
    double = copy.deepcopy(loaded).to(torch.float64)
    assert double.decoder.model.decoder.embed_positions.weights.dtype == torch.float64
    assert repair_positions(reader("projection")) == 0
    student = build({"path": str(tmp_path), "share_encoder": True}, model, hf.VisionEncoderDecoderModel)
    assert torch.allclose(logits(student), logits(model), atol=1e-5)


def test_sinusoidal_table_is_transformers_own() -> None:
    from transformers.models.trocr.modeling_trocr import TrOCRSinusoidalPositionalEmbedding

    module = TrOCRSinusoidalPositionalEmbedding(12, 6, 1)
    expected = module.weights.clone()
    assert repair_positions(module) == 1
    assert torch.equal(module.weights, expected)
    assert repair_positions(module) == 1  # again does no harm
    assert torch.equal(module.weights, expected)


@pytest.mark.slow
def test_the_layout_of_microsoft_trocr_fits_line_images() -> None:
    folder = SHARED / "models" / "trocr-small-printed-config"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    config = hf.VisionEncoderDecoderConfig.from_pretrained(folder)
    model = hf.VisionEncoderDecoderModel(config).eval()
    student = build({"shrink": {"encoder_layers": 2, "decoder_layers": 1}}, model, hf.VisionEncoderDecoderModel)
    fitted = fit_image_size(student, (32, 512))
    assert fitted.encoder.embeddings.position_embeddings.shape == (1, 2 + 2 * 32, 384)
    assert not shares_encoder(fitted, model)
    with torch.no_grad():
        out = fitted(pixel_values=torch.randn(1, 3, 32, 512), decoder_input_ids=torch.tensor([[2, 5]]))
    assert out.logits.shape == (1, 2, 64044)
