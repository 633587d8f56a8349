"""What a step of distillation costs: textkd beside a bare loop and beside TextBrewer.

    python benchmarks/step.py            # BERT 12x768 -> 3x768, 16 rows of 128 tokens
    python benchmarks/step.py --quick    # tiny shapes: whether it runs

All sides train a copy of one student on the same batches with the same losses (KL of logits, MSE of hidden states and
of attention of 3 blocks, rows of 64 to 128 tokens), with fused AdamW and gradients clipped at 1. They take turns, a
step each, in one process:

bare         teacher forward, student forward and backward, optimizer, written out by hand: transformers' eager
             attention and `output_hidden_states`, `output_attentions` on both models, which is how these taps are had
             without hooks; plain means over all positions
floor        the same loop without any taps: SDPA, KL of logits alone. No method with these losses can be as fast
textbrewer   TextBrewer 0.2.1's GeneralDistiller (pip install "textkd[bench]"); left out where it is not installed
live         textkd's trainer, float32
live_bf16    the same with bf16: true; left out where the CPU only emulates it
cached_bf16  the same with the teacher's taps from disk; left out likewise

Prints one line of JSON: the medians over the rounds of the ratios.
"""

from __future__ import annotations

import copy
import importlib.util
import itertools
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")

import torch
from machine import has_native_bf16, tell_cpu
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertForSequenceClassification, TrainerCallback
from turns import Limit, Turn, milliseconds, parser, ratio, take_turns, tell

from textkd import Match
from textkd.teachers import CachedTeacher, CacheOptions, LiveOptions
from textkd.teachers.frozen import FrozenModel
from textkd.training.arguments import make_arguments
from textkd.training.cache_filling import read_as
from textkd.training.trainer import DistilTrainer
from textkd.training.wiring import wire

TEMPERATURE = 8.0
LIMITS = {
    "live/bare": Limit(most=1.05),
    "live/textbrewer": Limit(most=1.0),
    "textbrewer/live_bf16": Limit(least=1.7),
    "textbrewer/cached_bf16": Limit(least=3.2),
}


@dataclass(frozen=True)
class Sizes:
    teacher: int = 12
    student: int = 3
    width: int = 768
    heads: int = 12
    batch: int = 16
    length: int = 128
    vocabulary: int = 30_522
    batches: int = 4

    def model(self, blocks: int) -> BertForSequenceClassification:
        """A random BERT."""
        config = BertConfig(
            vocab_size=self.vocabulary, hidden_size=self.width, num_hidden_layers=blocks, num_labels=3,
            num_attention_heads=self.heads, intermediate_size=4 * self.width, attn_implementation="sdpa",
        )  # fmt: skip
        return BertForSequenceClassification(config)

    @property
    def blocks(self) -> dict[int, int]:
        """Student block -> teacher block."""
        return {k: k * self.teacher // self.student for k in range(1, self.student + 1)}

    @property
    def matches(self) -> list[Match]:
        return [
            Match("logits", temperature=TEMPERATURE),
            Match("hidden", layers=self.blocks),
            Match("attention", layers=self.blocks),
        ]


QUICK = Sizes(teacher=4, student=2, width=32, heads=4, batch=4, length=16, vocabulary=64)


class Rows:
    """Random sentences of half to all of the length."""

    def __init__(self, sizes: Sizes) -> None:
        generator, count = torch.Generator().manual_seed(0), sizes.batch * sizes.batches
        lengths = torch.randint(sizes.length // 2, sizes.length + 1, (count,), generator=generator)
        self.rows = {
            "input_ids": torch.randint(5, sizes.vocabulary, (count, sizes.length), generator=generator),
            "attention_mask": (torch.arange(sizes.length) < lengths[:, None]).long(),
            "labels": torch.randint(3, (count,), generator=generator),
        }
        self.size = sizes.batch
        self.column_names = ("input_ids", "attention_mask", "labels")

    def __len__(self) -> int:
        return len(self.rows["labels"])

    def __getitem__(self, i: int | str) -> Any:
        if isinstance(i, str):
            return self.rows["attention_mask"].sum(1).tolist() if i == "length" else self.rows[i].tolist()
        return {name: column[i] for name, column in self.rows.items()}

    def batches(self) -> list[dict[str, Tensor]]:
        return [collate([self[i] for i in range(at, at + self.size)]) for at in range(0, len(self), self.size)]


def collate(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The rows as one batch, all of one length."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def eager(model: nn.Module) -> nn.Module:
    """The same weights with transformers' eager attention, which is the one that returns maps."""
    config = copy.deepcopy(model.config)
    config._attn_implementation = "eager"
    config.output_attentions = config.output_hidden_states = True
    made = type(model)(config)
    made.load_state_dict(model.state_dict())
    return made


def bare(teacher: nn.Module, student: nn.Module, rows: Rows, blocks: dict[int, int], taps: bool, turn: Turn) -> None:
    """The loop of somebody without a library; `blocks` are not looked at without `taps`."""
    if taps:
        teacher, student = eager(teacher), eager(student)
    teacher.eval()
    student.train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, fused=True)

    def step(batch: dict[str, Tensor]) -> None:  # a function, so that nothing of a step is kept until the next
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            theirs = teacher(**inputs)
        mine = student(**inputs)
        log_t, log_s = (F.log_softmax(side.logits / TEMPERATURE, dim=-1) for side in (theirs, mine))
        loss = F.kl_div(log_s, log_t, log_target=True, reduction="batchmean") * TEMPERATURE**2
        if taps:
            for i, j in blocks.items():
                loss = loss + F.mse_loss(mine.hidden_states[i], theirs.hidden_states[j])
                loss = loss + F.mse_loss(mine.attentions[i - 1], theirs.attentions[j - 1])
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    for batch in itertools.cycle(rows.batches()):
        turn()
        step(batch)


def textbrewer(teacher: nn.Module, student: nn.Module, rows: Rows, blocks: dict[int, int], turn: Turn) -> None:
    """TextBrewer's own loop. It wants plain dicts, attention maps in the outputs, a device, a number of checkpoints."""
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig

    teacher, student = eager(teacher), eager(student)

    def adaptor(batch: dict[str, Tensor], out: Any) -> dict[str, Any]:
        mask = batch["attention_mask"]
        return {"logits": out.logits, "hidden": out.hidden_states, "attention": out.attentions, "inputs_mask": mask}

    def at_start(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        turn()
        return batch

    matches = []
    for i, j in blocks.items():
        matches.append({"layer_S": i, "layer_T": j, "feature": "hidden", "loss": "hidden_mse", "weight": 1})
        at = {"layer_S": i - 1, "layer_T": j - 1}
        matches.append({**at, "feature": "attention", "loss": "attention_mse", "weight": 1})
    steps, device = 1_000_000, torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        distiller = GeneralDistiller(
            TrainingConfig(ckpt_steps=steps, output_dir=folder, log_dir=None, device=device),
            DistillationConfig(temperature=TEMPERATURE, intermediate_matches=matches),
            teacher, student, adaptor, adaptor,
        )  # fmt: skip
        optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, fused=True)
        with distiller:
            distiller.train(optimizer, rows.batches(), num_steps=steps, max_grad_norm=1.0, batch_postprocessor=at_start)


class AtStart(TrainerCallback):
    """Calls `turn` where Trainer's step begins."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.turn()


def textkd(
    teacher: nn.Module, student: nn.Module, rows: Rows, matches: list[Match], turn: Turn,
    bf16: bool = False, cache: Path | None = None, live: LiveOptions | None = None,
) -> None:  # fmt: skip
    """textkd's own trainer, wired as a stage of a recipe is."""
    options = None if cache is None else CacheOptions(folder=str(cache))
    with tempfile.TemporaryDirectory() as folder:
        arguments = make_arguments({
            "max_steps": 1_000_000, "per_device_train_batch_size": rows.size, "eval_strategy": "no", "bf16": bf16,
            "save_strategy": "no", "learning_rate": 1e-4, "report_to": "none", "use_cpu": True,
        }, folder)  # fmt: skip
        batch = rows.batches()[0]
        reading = {"teacher": read_as(arguments, FrozenModel(teacher, options, live or LiveOptions()))}
        wiring = wire(student, teacher, matches, batch, rows=len(rows), reading=reading)
        try:
            for one in wiring.frozen.teachers.values():
                for part in rows.batches() if isinstance(one, CachedTeacher) else ():
                    one.fill(part)
            DistilTrainer(
                student, arguments, train_dataset=rows, data_collator=collate, wiring=wiring,
                callbacks=[AtStart(turn)],
            ).train()  # fmt: skip
        finally:
            wiring.close()


def sides(sizes: Sizes, folder: Path, only: list[str]) -> dict[str, Callable[[Turn], None]]:
    """Every side by name, each with a student of its own. The teachers of textkd are one model each: hooks that sleep
    are no cost, but two captures awake on one model would be."""
    torch.manual_seed(0)
    rows, teacher, student = Rows(sizes), sizes.model(sizes.teacher), sizes.model(sizes.student)
    blocks, matches = sizes.blocks, sizes.matches

    def own() -> nn.Module:
        return copy.deepcopy(student)

    made: dict[str, Callable[[Turn], None]] = {
        "bare": lambda turn: bare(teacher, own(), rows, blocks, True, turn),
        "floor": lambda turn: bare(teacher, own(), rows, blocks, False, turn),
        "textbrewer": lambda turn: textbrewer(teacher, own(), rows, blocks, turn),
        "live": lambda turn: textkd(teacher, own(), rows, matches, turn),
        "live_bf16": lambda turn: textkd(teacher, own(), rows, matches, turn, bf16=True),
        "cached_bf16": lambda turn: textkd(teacher, own(), rows, matches, turn, bf16=True, cache=folder),
    }
    if importlib.util.find_spec("textbrewer") is None:
        print('without TextBrewer, which is not installed: pip install "textkd[bench]"', file=sys.stderr)
        del made["textbrewer"]
    if not has_native_bf16():
        print("without the sides in bf16, which this CPU only emulates", file=sys.stderr)
        del made["live_bf16"], made["cached_bf16"]
    return {name: run for name, run in made.items() if not only or name in only}


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; the exit code."""
    options = parser(__doc__, repeats=7)
    options.add_argument("--only", nargs="*", default=[], help="these sides, e.g. bare live")
    given = options.parse_args(arguments)
    tell_cpu()
    with tempfile.TemporaryDirectory() as folder:
        times = take_turns(sides(QUICK if given.quick else Sizes(), Path(folder), given.only), given)
    pairs = [*LIMITS, "live/floor"]
    found = {pair: ratio(times, *pair.split("/")) for pair in pairs if set(pair.split("/")) <= set(times)}
    limits = {pair: limit for pair, limit in LIMITS.items() if pair in found}
    return tell("step", found, limits, given.quick, ms=milliseconds(times), threads=torch.get_num_threads())


if __name__ == "__main__":
    sys.exit(main())
