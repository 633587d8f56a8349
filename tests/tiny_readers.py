"""Tiny random OCR models: ViT or DeiT of 4 blocks, TrOCR of 3 blocks, images of 8x32 pixels in patches of 8x4."""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf

from textkd.models.students import repair_positions

VOCABULARY = 40
ENCODERS = {"vit": hf.ViTConfig, "deit": hf.DeiTConfig}
# model: encoder, width of encoder and decoder, decoder fields. All the ways in which the two sides are joined.
KINDS: dict[str, tuple[str, int, int, dict[str, Any]]] = {
    "equal widths": ("vit", 16, 16, {}),
    "projection": ("deit", 24, 16, {}),
    "cross width": ("deit", 24, 16, {"cross_attention_hidden_size": 24}),
    "untied": ("vit", 24, 16, {"tie_word_embeddings": False, "scale_embedding": True}),
    "sinusoidal": ("vit", 16, 16, {"use_learned_position_embeddings": False, "layernorm_embedding": False}),
}


def reader(kind: str = "projection", **encoder_fields: Any) -> Any:
    """A model with weights that are all different, large enough for generation to say something, in eval mode."""
    encoder, wide, narrow, fields = KINDS[kind]
    torch.manual_seed(0)
    image = {"image_size": [8, 32], "patch_size": [8, 4], **encoder_fields}
    first = ENCODERS[encoder](
        hidden_size=wide, intermediate_size=28, num_hidden_layers=4, num_attention_heads=2, **image
    )
    second = hf.TrOCRConfig(
        vocab_size=VOCABULARY,
        d_model=narrow,
        decoder_layers=3,
        decoder_attention_heads=2,
        decoder_ffn_dim=20,
        max_position_embeddings=24,
        activation_function="relu",
        **fields,
    )
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(first, second)
    config.pad_token_id, config.eos_token_id, config.decoder_start_token_id = 1, 2, 2
    model = hf.VisionEncoderDecoderModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.generation_config.max_length = 12
    model.generation_config.no_repeat_ngram_size = 3
    model.generation_config.min_length = 8
    repair_positions(model)
    return model.eval()


def images(model: Any, rows: int = 3) -> torch.Tensor:
    size = model.config.encoder.image_size
    height, width = (size, size) if isinstance(size, int) else size
    return torch.randn(rows, 3, height, width, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def logits(model: Any, **kwargs: Any) -> torch.Tensor:
    ids = torch.tensor([[2, 5, 6, 7], [2, 9, 11, 4], [2, 8, 1, 1]])
    return model(pixel_values=images(model), decoder_input_ids=ids, **kwargs).logits


def generated(model: Any, **kwargs: Any) -> list[list[int]]:
    return model.generate(images(model), **kwargs).tolist()
