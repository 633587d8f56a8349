"""How fast a trained reader of lines is as PyTorch and as exported folders, one line at a time.

    python benchmarks/deploy_lines.py --torch RUN/seed-1/student --folder ONNX --folder INT8 --file lines.parquet
    python benchmarks/deploy_lines.py --quick    # a tiny random reader, exported anew: whether it runs

Each line is read by every side before the next line is, in an order that is turned by one from line to line, from the
image to the text. Searched as the folders say, so export them from that very model. Prints a table: milliseconds a line
(the median over the lines), of these the preparing of the image, the encoder, the steps of the decoder and the rest
(search, text); milliseconds a step, CER, lines with the same text as PyTorch's, MB of weights. Then one line of JSON.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from machine import tell_cpu
from turns import parser, ratio, tell

from textkd import deploy, new_ocr_model
from textkd.deploy.to_onnx import export_onnx
from textkd.models import loading
from textkd.report import disk_mb
from textkd.tasks import metrics
from textkd.tasks.ocr.digits import DigitLines
from textkd.tasks.ocr.processor import decode_texts, line_processor, load_processor, pixels
from textkd.tasks.ocr.sources import lines

PARTS = ("images", "encoder", "decoder")
TINY: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


class Parts:
    """Seconds of the parts of the line that is read, and the decoder's steps."""

    def __init__(self) -> None:
        self.seconds, self.steps = dict.fromkeys(PARTS, 0.0), 0

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, its time counted."""

        def counted(*given: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            found = call(*given, **named)
            self.seconds[name] += time.perf_counter() - begin
            self.steps += name == "decoder"
            return found

        return counted


def of_torch(folder: Path, parts: Parts) -> tuple[Callable[[Any], str], float]:
    """A function that reads an image by `generate`, and MB."""
    model = loading.load_model(str(folder), loading.transformers.VisionEncoderDecoderModel).float().eval()
    processor = load_processor(folder)
    prepare = parts.timed("images", partial(pixels, processor))
    model.encoder.forward = parts.timed("encoder", model.encoder.forward)
    model.decoder.forward = parts.timed("decoder", model.decoder.forward)

    @torch.inference_mode()
    def read(image: Any) -> str:
        ids = model.generate(pixel_values=torch.from_numpy(prepare([image])))
        return decode_texts(processor.tokenizer, ids.tolist())[0]

    return read, disk_mb(folder)


def of_folder(folder: Path, threads: int, parts: Parts) -> tuple[Callable[[Any], str], float]:
    """A function that reads an image by an exported folder, and MB."""
    model = deploy.load(folder, threads=threads)
    model.pixels = parts.timed("images", model.pixels)
    model.decoding.begin = parts.timed("encoder", model.decoding.begin)
    model.decoding.step = parts.timed("decoder", model.decoding.step)
    return lambda image: str(model.read([image], 1)[0]), model.manifest.model_mb


def tiny(folder: Path) -> tuple[Path, list[Path]]:
    """A random reader of digits, and its exported folders."""
    processor = line_processor([*"0123456789", "0123"], height=16, width=64)
    encoder = {**TINY, "image_size": [16, 64], "patch_size": [16, 8]}
    decoder = {"d_model": 16, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 32,
               "max_position_embeddings": 16}  # fmt: skip
    model = new_ocr_model(encoder, decoder, tokenizer=processor.tokenizer)
    for one in (model, processor):
        one.save_pretrained(folder / "torch")
    return folder / "torch", [export_onnx(folder / "torch", folder / "onnx")]


def measure(sides: dict[str, Any], parts: dict[str, Parts], table: Any, count: int) -> dict[str, dict[str, Any]]:
    """What was read and how long it took, by side."""
    found = {name: {"texts": [], "ms": [], "steps": 0, **{part: [] for part in PARTS}} for name in sides}
    names = list(sides)
    for number in range(-2, count):  # two that are not counted
        image, at = table.image(max(0, number)), number % len(names)
        for name in names[at:] + names[:at]:
            parts[name].__init__()  # type: ignore[misc]
            begin = time.perf_counter()
            text = sides[name][0](image)
            took = time.perf_counter() - begin
            if number < 0:
                continue
            found[name]["texts"].append(text)
            found[name]["ms"].append(1e3 * took)
            found[name]["steps"] += parts[name].steps
            for part, seconds in parts[name].seconds.items():
                found[name][part].append(1e3 * seconds)
    return found


def summed(one: dict[str, Any], first: dict[str, Any], truth: list[str], mb: float) -> dict[str, float]:
    """One row of the table."""
    row = {"ms": statistics.median(one["ms"]), **{part: statistics.median(one[part]) for part in PARTS}}
    row["rest"] = statistics.median(
        whole - sum(of_parts)
        for whole, *of_parts in zip(one["ms"], *(one[part] for part in PARTS), strict=True)
    )  # fmt: skip
    row["ms a step"] = sum(one["decoder"]) / max(1, one["steps"])
    row["steps"] = one["steps"] / len(truth)
    row["cer"] = float(metrics.load("cer").compute(predictions=one["texts"], references=truth)["cer"])
    row["same"] = sum(a == b for a, b in zip(one["texts"], first["texts"], strict=True)) / len(truth)
    return {name: round(float(value), 4) for name, value in {**row, "MB": mb}.items()}


def main(words: list[str] | None = None) -> int:
    """The program."""
    made = parser(__doc__, repeats=200)
    made.add_argument("--torch", type=Path, help="a folder of PyTorch")
    made.add_argument("--folder", type=Path, action="append", default=[], help="an exported folder; several times")
    made.add_argument("--file", help="lines of text with transcriptions; --repeats of them are read")
    given = made.parse_args(words)
    if not given.quick and (given.torch is None or not given.folder or not given.file):
        made.error("--torch, --folder and --file, or --quick")
    tell_cpu()
    with tempfile.TemporaryDirectory() as folder:
        return _measured(given, Path(folder))


def _measured(given: argparse.Namespace, work: Path) -> int:
    if given.threads:
        torch.set_num_threads(given.threads)
    own, folders = tiny(work) if given.quick else (given.torch, given.folder)
    table = DigitLines(split="eval", n=4, seed=0) if given.quick else lines(given.file)
    count = min(len(table), given.repeats)
    parts = {"torch": Parts(), **{str(folder.name): Parts() for folder in folders}}
    sides = {"torch": of_torch(own, parts["torch"])}
    for folder in folders:
        sides[folder.name] = of_folder(folder, torch.get_num_threads(), parts[folder.name])
    found = measure(sides, parts, table, count)
    truth = [str(text) for text in table.texts[:count]]
    rows = {name: summed(found[name], found["torch"], truth, sides[name][1]) for name in sides}
    width = max(map(len, rows))
    print(" " * width, *(f"{name:>9}" for name in rows["torch"]), file=sys.stderr)
    for name, row in rows.items():
        print(f"{name:{width}}", *(f"{value:9.3f}" for value in row.values()), file=sys.stderr)
    times = {name: one["ms"] for name, one in found.items()}
    ratios = {f"torch/{name}": ratio(times, "torch", name) for name in list(sides)[1:]}
    return tell("deploy_lines", ratios, {}, given.quick, rows=rows, lines=count, threads=torch.get_num_threads())


if __name__ == "__main__":
    sys.exit(main())
