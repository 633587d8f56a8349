"""Tiny readers of handwritten digits: a teacher's folder with its processor, lines in a file, recipes over both."""

from __future__ import annotations

import gc
import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import torch
import transformers as hf
from tiny_lab import Tiny

from textkd import Match, new_ocr_model, tasks
from textkd.models.students import shrink
from textkd.tasks.ocr.digits import DigitLines
from textkd.tasks.ocr.processor import line_processor
from textkd.teachers.frozen import FrozenModel
from textkd.training.stages import Data, Stage, Trained, run_stages

gc.freeze()  # accelerate collects garbage after every training; looking at all that was imported takes half a second

HEIGHT, WIDTH = 16, 64
TRAIN = {"split": "train", "n": 40, "seed": 1, "digits": [1, 4], "height": HEIGHT}
EVAL = {"split": "eval", "n": 12, "seed": 2, "digits": [1, 4], "height": HEIGHT}
ENCODER: dict[str, Any] = {
    "image_size": [HEIGHT, WIDTH], "patch_size": [HEIGHT, 8], "hidden_size": 16, "num_hidden_layers": 4,
    "num_attention_heads": 2, "intermediate_size": 32, "initializer_range": 0.3,
}  # fmt: skip
DECODER: dict[str, Any] = {
    "d_model": 16, "decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 32,
    "max_position_embeddings": 16, "init_std": 0.3, "dropout": 0.0,
}  # fmt: skip
MATCHES: list[dict[str, Any]] = [
    {"tap": "encoder.hidden", "layers": "uniform"},
    {"tap": "decoder.cross_attention", "layers": {1: 2}, "loss": "kl"},
    {"tap": "logits", "loss": "kl", "temperature": 2},
    {"tap": "labels"},
]
# fields over ENCODER
KINDS: dict[str, dict[str, Any]] = {
    "vit": {},
    "deit": {"model_type": "deit", "hidden_size": 24},
    "projection": {"model_type": "deit", "hidden_size": 24},  # before the decoder; else its cross-attention is 24 wide
}


def processor() -> Any:
    return line_processor([*"0123456789", "0123"], height=HEIGHT, width=WIDTH)


def make_reader(kind: str = "vit", seed: int = 0, encoder: Any = None, decoder: Any = None) -> Any:
    """A model of 4 + 2 blocks with weights that are all different and say something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sides = {**ENCODER, **KINDS[kind], **(encoder or {})}, {**DECODER, **(decoder or {})}
        model = new_ocr_model(*sides, tokenizer=processor().tokenizer)
        if kind != "projection":
            return model
        model.config.decoder.cross_attention_hidden_size = None
        joined: Any = hf.VisionEncoderDecoderModel(model.config)
        joined.generation_config = model.generation_config
        return joined.eval()


def save_teacher(folder: Path, kind: str = "vit", **fields: Any) -> Path:
    make_reader(kind, **fields).save_pretrained(folder)
    processor().save_pretrained(folder)
    return folder


def write_lines(file: Path, options: dict[str, Any]) -> Path:
    """The lines of `DigitLines` as a parquet file."""
    table, rows = DigitLines(**options), []
    for i, text in enumerate(table.texts):
        image = io.BytesIO()
        table.image(i).save(image, "PNG")
        rows.append({"image": {"bytes": image.getvalue(), "path": None}, "text": text})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file


def data(train: dict[str, Any] = TRAIN, augment: float = 0.0) -> Data:
    """What `Distiller` makes of a task, for a training in this process."""
    task, reads = tasks.ocr({"digits": train}, {"digits": EVAL}, processor=processor(), augment=augment), processor()
    encoded = {split: task.encode(reads, split, (), 16) for split in ("train", "eval")}
    collator = task.collator(reads)
    judge = partial(task.output.judge_ids, collator, rows=encoded["eval"])
    return Data(
        **encoded, collator=collator, compute_metrics=judge,
        label_loss=task.output.label_loss, main_metric="cer", greater_is_better=False, processing_class=reads,
        generate=task.output.generate(collator, encoded["eval"]),
    )  # fmt: skip


def train(
    work: Path, student: Any, teacher: Any, matches: list[Match], lines: Data, *, share: bool = False,
    frozen: tuple[str, ...] = (), **training: Any,
) -> Trained:  # fmt: skip
    """Trains `student` in this process."""
    arguments = {"num_train_epochs": 2, "per_device_train_batch_size": 8, "learning_rate": 1e-3, "logging_steps": 1}
    models, read = {"student": student}, {} if teacher is None else {"teacher": FrozenModel(teacher)}
    stage = Stage(matches, frozen=frozen)
    return run_stages(work, models, read, [stage], lines, {**arguments, **training}, 1, "student", share)


def read_history(done: Trained) -> dict[tuple[int, str], float]:
    """Every logged loss, part and evaluation by (step, name)."""
    found: dict[tuple[int, str], float] = {}
    for row in done.history:
        measured = {f"eval/{name}": value for name, value in row.get("eval", {}).items()}
        named = {**({"loss": row["loss"]} if "loss" in row else {}), **row.get("parts", {}), **measured}
        found.update({(row["step"], name): value for name, value in named.items()})
    return found


@dataclass
class Reading(Tiny):
    """A folder of one test, the teacher beside it or in it, and recipes over handwritten digits."""

    teacher: Path | None = None

    @property
    def recipe(self) -> dict[str, Any]:
        made: dict[str, Any] = {
            "config": {"encoder": dict(ENCODER), "decoder": dict(DECODER)},
            "finetune": {"num_train_epochs": 1, "per_device_train_batch_size": 8, "learning_rate": 1.0e-3},
        }
        shape = {"height": HEIGHT, "width": WIDTH} if self.teacher is None else {}
        return {
            "task": {"name": "ocr", "train": {"digits": dict(TRAIN)}, "eval": {"digits": dict(EVAL)}, **shape},
            "teacher": made if self.teacher is None else {"path": str(self.teacher)},
            "student": {"shrink": {"encoder_layers": 2, "decoder_layers": 1}},
            "training": {
                "num_train_epochs": 2, "per_device_train_batch_size": 8, "learning_rate": 1.0e-3, "logging_steps": 1,
                "output_dir": str(self.folder / "run"),
            },
            "matches": [dict(match) for match in MATCHES],
            "seeds": [1],
        }  # fmt: skip


# every kind of mask: none, positions, pairs of positions, positions by patches
EVERYTHING = [
    Match("labels", weight=0.3),
    Match("logits", loss="kl", temperature=2.0, weight=0.7),
    Match("encoder.hidden", layers="uniform", weight=0.1),
    Match("encoder.attention", layers={1: 2}),
    Match("decoder.hidden", layers={1: 2}, weight=0.1),
    Match("decoder.attention", layers="last", loss="kl"),
    Match("decoder.cross_attention", layers={1: 2}, loss="kl"),
    Match("decoder.cross_scores", layers={1: 1}, weight=0.01),
    Match("decoder.value", layers={1: 2}, weight=0.1),
]
LINES = {"split": "train", "n": 21, "seed": 3, "digits": [1, 6], "height": 16}


def small(teacher: Any) -> Any:
    return shrink(teacher, encoder_layers=2, decoder_layers=1)
