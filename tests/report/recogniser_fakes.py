"""Results of a run that never was, of recognisers: drawn lines, what three models would have read, errors to match."""

from __future__ import annotations

import copy
import functools
import random
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from report_fakes import history, plain
from transformers import TrOCRConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

from textkd.report import gallery
from textkd.report.results import Results

SENTENCE = "the old house stood upon a hill near Dorset, where 14 <b>sheep</b> & one goat were kept by Mr. Pym"
SETTINGS = {"num_beams": 1, "max_new_tokens": 128}
RECIPE = """\
task: {name: ocr, path: data/oldbooks}
teacher: {path: teachers/lines-8x384}
student: {shrink: {encoder_layers: 4, decoder_layers: 2}}
matches:
  - {tap: labels, weight: 0.2}
  - {tap: logits, loss: kl, temperature: 2, weight: 0.8}
  - {tap: encoder.hidden, loss: mse, layers: uniform}
  - {tap: decoder.cross_attention, loss: mse, layers: uniform}
control: true
seeds: [1, 2]
"""


def references(count: int = 60, seed: int = 3) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(SENTENCE.split(), k=draw.randint(4, 9))) for _ in range(count)]


def misread(text: str, rate: float, draw: random.Random) -> str:
    """Each character is wrong, doubled or missed with the given chance."""
    read = []
    for character in text:
        if draw.random() < rate:
            character = draw.choice([draw.choice("aeoxz"), "", character + character])
        read.append(character)
    return "".join(read)


def drawn(text: str, height: int = 40) -> Image.Image:
    font = ImageFont.load_default(size=height * 0.6)
    image = Image.new("L", (int(font.getlength(text)) + 16, height), 245)
    ImageDraw.Draw(image).text((8, height * 0.1), text, fill=20, font=font)
    return image


def read_by_all(texts: list[str]) -> dict[str, list[str]]:
    draw = random.Random(5)
    rates = {"teacher": 0.04, "student": 0.06, "control": 0.12}
    said = {
        role: [misread(text, rate * draw.choice([0, 0.5, 2]), draw) for text in texts] for role, rate in rates.items()
    }
    said["control"][0] = ""
    said["student"][7] = "and then again " * 40
    return said


def run(seed: int | None, cer: float, **more: Any) -> dict[str, Any]:
    metrics = {"cer": cer, "wer": 2.6 * cer, "exact": 0.9 - 6 * cer}
    return {
        "seed": seed, "metrics": metrics, "train_s": 3100.0, "peak_mb": 3120.0, "steps": 4000, "history": [], **more,
    }  # fmt: skip


def curve(seed: int, cer: float) -> list[dict[str, Any]]:
    rows = history(seed, 1200, 0.9, parts=seed < 9)
    for row in rows:
        if "eval" in row:
            row["eval"] = {"cer": cer + 1.4 * 0.5 ** (row["step"] / 150)}
    return rows


@functools.cache
def _gallery() -> Any:
    texts = references()
    return gallery([drawn(text) for text in texts], texts, read_by_all(texts))


def recognisers(**changes: Any) -> dict[str, Any]:
    """results.json of an OCR run as a dict: two seeds, both sides compared, CER where lower is better."""
    data = plain(100)
    small, measured = "VisionEncoderDecoderModel 4+2x256", {"samples_per_s": 61.0, "tokens_per_sample": 38.4}

    def model(
        description: str, architecture: str, parameters: int, latency: float, runs: list[Any], **more: Any
    ) -> Any:
        return {
            "description": description, "architecture": architecture, "path": description.split()[0],
            "parameters": parameters, "disk_mb": parameters * 4 / 1e6, "latency_ms": latency, **more, "runs": runs,
        }  # fmt: skip

    return {
        **data,
        "name": "oldbooks_lines_half", "task": "ocr", "main_metric": "cer", "metrics_order": ["cer", "wer", "exact"],
        "greater_is_better": False, "falling": ["cer", "wer"], "seeds": [1, 2], "recipe": RECIPE,
        "seconds_total": 7431.0,
        "models": {
            "teacher": model(
                "lines-8x384 trained on lines", "VisionEncoderDecoderModel 8+4x384", 23_400_000, 212.0,
                [run(None, 0.0401, train_s=None, steps=None, peak_mb=None)],
                samples_per_s=27.1, tokens_per_sample=38.1, latency_tokens=41, encoder_share=0.31,
            ),
            "student": model(
                "student encoder blocks 2, 4, 6, 8, decoder blocks 2, 4", small, 11_200_000, 98.0,
                [run(s, c, history=curve(s, c)) for s, c in ((1, 0.0515), (2, 0.0525))],
                **measured, latency_tokens=41, encoder_share=0.28,
            ),
            "control": model(
                "control the same student, labels only", small, 11_200_000, 101.0,
                [run(s, c, history=curve(s + 9, c)) for s, c in ((1, 0.0702), (2, 0.0718))],
                **measured, latency_tokens=43, encoder_share=0.27,
            ),
        },
        "layer_maps": [
            layer_map("encoder.hidden", [[1, 2], [2, 4], [3, 6], [4, 8]], 4, 8),
            layer_map("decoder.cross_attention", [[1, 2], [2, 4]], 2, 4),
        ],
        "disagreements": None,
        "gallery": copy.deepcopy(_gallery()),
        "measure": {
            "device": "cpu", "threads": 2, "dtype": "float32", "batch": {"latency": 1, "throughput": 16},
            "repeats": 10, "sequence_length": None, "generation": SETTINGS,
        },
        "warnings": [],
        **changes,
    }  # fmt: skip


def layer_map(tap: str, pairs: list[list[int]], student: int, teacher: int) -> dict[str, Any]:
    return {
        "stage": 1, "tap": tap, "loss": "mse", "pairs": pairs, "source_blocks": student, "target_blocks": teacher,
    }  # fmt: skip


def ocr_results(**changes: Any) -> Results:
    return Results.model_validate(recognisers(**changes))


def tiny_recogniser(blocks: int = 1) -> VisionEncoderDecoderModel:
    """Random, 16 wide; images of 8 by 32 pixels, 24 tokens, the ids of TrOCR's folders; every image reads otherwise."""
    torch.manual_seed(blocks)
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    encoder = ViTConfig(
        hidden_size=16, num_hidden_layers=blocks, num_attention_heads=2, intermediate_size=32,
        image_size=[8, 32], patch_size=[8, 4],
    )  # fmt: skip
    decoder = TrOCRConfig(
        vocab_size=24, d_model=16, decoder_layers=blocks, decoder_attention_heads=2, decoder_ffn_dim=32,
        max_position_embeddings=32, cross_attention_hidden_size=16, **ids,
    )  # fmt: skip
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder, **ids)
    model = VisionEncoderDecoderModel(config).eval()
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.5)  # the usual 0.02 ends every text at once
    return model
