"""A training step of a reader over a large vocabulary, with logits that are kept and with `fused: true`.

    python benchmarks/fused_head.py          # 64,044 classes, 16 lines of 64 tokens
    python benchmarks/fused_head.py --quick  # tiny shapes: whether it runs

The student is a ViT 4x192 + TrOCR 2x256, the teacher 6x384 + 4x384. A step is what the trainer does: teacher, student
forward, losses, backward, AdamW. Both forms have students with equal weights and take turns in one process; their
losses are compared first. Memory: the most that torch's allocator has out during a step beyond what is there before it
(weights and AdamW's moments are; gradients are not), by the profiler.
"both" matches logits (KL) and labels, "logits" and "labels" one of them. Prints a table and one line of JSON: the
ratios of fused to kept.
"""

from __future__ import annotations

import copy
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("KINETO_LOG_LEVEL", "9")

import torch
from machine import tell_cpu
from memory import peak_bytes
from torch import Tensor
from transformers import TrOCRConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig
from turns import CLOCKS, Limit, parser, tell

from textkd import Match
from textkd.training.wiring import wire

LIMITS = {"both memory": Limit(most=0.5), "logits memory": Limit(most=0.5), "labels memory": Limit(most=0.6)}
MATCHES = {"both": ("logits", "labels"), "logits": ("logits",), "labels": ("labels",)}


@dataclass(frozen=True)
class Sizes:
    classes: int = 64_044
    lines: int = 16
    length: int = 64
    image: tuple[int, int] = (32, 384)

    def reader(self, encoder: tuple[int, int], decoder: tuple[int, int]) -> VisionEncoderDecoderModel:
        """A random model; (blocks, width) of each side."""
        blocks, width = encoder
        vit = ViTConfig(
            num_hidden_layers=blocks, hidden_size=width, num_attention_heads=4, intermediate_size=4 * width,
            image_size=list(self.image), patch_size=[self.image[0] // 2, 8],
        )  # fmt: skip
        blocks, width = decoder
        trocr = TrOCRConfig(
            vocab_size=self.classes, decoder_layers=blocks, d_model=width, decoder_attention_heads=4,
            decoder_ffn_dim=4 * width, max_position_embeddings=self.length + 2, dropout=0.0,
        )  # fmt: skip
        return VisionEncoderDecoderModel(VisionEncoderDecoderConfig.from_encoder_decoder_configs(vit, trocr))

    def batch(self) -> dict[str, Tensor]:
        """Lines of half to all of the length."""
        ids = torch.randint(5, self.classes, (self.lines, self.length))
        lengths = torch.randint(self.length // 2, self.length + 1, (self.lines, 1))
        labels = ids.masked_fill(torch.arange(self.length) >= lengths, -100)
        return {"pixel_values": torch.randn(self.lines, 3, *self.image), "decoder_input_ids": ids, "labels": labels}


QUICK = Sizes(classes=9000, lines=4, length=8, image=(8, 32))


class Form:
    """A student, its optimizer and its matches, and one step of it."""

    def __init__(self, student: VisionEncoderDecoderModel, teacher: VisionEncoderDecoderModel,
                 taps: tuple[str, ...], batch: dict[str, Tensor], fused: bool) -> None:  # fmt: skip
        self.student, self.batch = copy.deepcopy(student).train(), batch
        self.wiring = wire(self.student, teacher, [Match(tap, fused=fused) for tap in taps], batch)
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=1e-4)

    def step(self) -> float:
        total = self.wiring.loss(self.student, self.batch).total
        total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(total.detach())

    def seconds(self, clock: Callable[[], float]) -> float:
        begin = clock()
        self.step()
        return clock() - begin

    def close(self) -> None:
        self.wiring.close()


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; the exit code."""
    given = parser(__doc__, 5).parse_args(arguments)
    tell_cpu()
    sizes, ratios = QUICK if given.quick else Sizes(), dict[str, float]()
    if given.threads:
        torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    teacher = sizes.reader((6, 384), (4, 384)) if not given.quick else sizes.reader((2, 16), (2, 16))
    student = sizes.reader((4, 192), (2, 256)) if not given.quick else sizes.reader((1, 16), (1, 16))
    batch = sizes.batch()
    print(f"{'matches':8} {'s':>7} {'kept s':>7} {'ratio':>6} {'MiB':>6} {'kept MiB':>9} {'ratio':>6}")
    for name, taps in MATCHES.items():
        forms = [Form(student, teacher, taps, batch, fused) for fused in (True, False)]
        for _ in range(2):  # the second with weights that a step has changed, and with the optimizer's moments
            ours, kept = (form.step() for form in forms)
            torch.testing.assert_close(ours, kept, rtol=1e-5, atol=1e-5)
        times = [tuple(form.seconds(CLOCKS[given.clock]) for form in forms) for _ in range(given.repeats)]
        ours, kept = (statistics.median(column) for column in zip(*times, strict=True))
        mine, its = (peak_bytes(form.step) / 2**20 for form in forms)
        ratios |= {f"{name} memory": mine / its, f"{name} time": statistics.median(a / b for a, b in times)}
        for form in forms:
            form.close()
        row = f"{ours:7.2f} {kept:7.2f} {ratios[f'{name} time']:6.2f} {mine:6.0f} {its:9.0f}"
        print(f"{name:8} {row} {ratios[f'{name} memory']:6.3f}", flush=True)
    return tell("fused_head", ratios, LIMITS, given.quick)


if __name__ == "__main__":
    sys.exit(main())
