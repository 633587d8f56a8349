"""A table of drawn lines and a tiny vision-encoder-decoder for the tests of rows and task."""

import torch
from PIL import Image, ImageDraw
from transformers import TrOCRConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

from textkd.tasks.ocr.linetable import LineTable

TEXTS = ["Whilst the 3 cats", "sat, on a mat;", "a", "Été: 1¼ £ ﬁn", "no more (than) this — line", "THE END."]


class DrawnLines(LineTable):
    source = "drawn lines"

    def __init__(self, texts=TEXTS, notes=()):
        self._texts, self._notes, self.asked = list(texts), list(notes), []

    @property
    def texts(self):
        return self._texts

    @property
    def notes(self):
        return self._notes

    def image(self, index):
        self.asked.append(index)
        text = self._texts[index] or f"line {index}"
        image = Image.new("RGB", (20 + 7 * len(text), 24), "white")
        ImageDraw.Draw(image).text((8, 6), text, fill="black")
        return image

    def digest(self):
        return repr(self._texts)


def tiny_model(vocab, size=(32, 128), positions=64, seed=0, std=0.4):
    encoder = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=list(size),
        patch_size=[32, 8], initializer_range=std,
    )  # fmt: skip
    decoder = TrOCRConfig(
        vocab_size=vocab, d_model=16, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=24,
        max_position_embeddings=positions, init_std=std,
    )  # fmt: skip
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 2, 1, 2
    torch.manual_seed(seed)
    return VisionEncoderDecoderModel(config).eval()
