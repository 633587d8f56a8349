"""Options beside others that leave them without effect: each is refused, at its place."""

from __future__ import annotations

from typing import Any

from match_trials import BIG, HIDDEN
from option_lab import OptionLab, Options, file_of, filled
from option_trials import LABELS, LOGITS, NEW, NEW_STUDENT, TINY, link, pickled, stage, two

from textkd import tasks
from textkd.tasks.ocr.generate import Generation
from textkd.tasks.ocr.sources import lines
from textkd.teachers import CacheOptions


def dev(lab: OptionLab) -> str:
    return lab.file("dev.parquet")


def bare(lab: OptionLab) -> Options:
    return {"path": lab.file("lines.parquet"), "unlabelled": True}


SIDES = {"shrink": {"decoder_layers": 1}, "share_encoder": True}
BOX = {"teacher": {"recogniser": "x.onnx"}, "matches": LABELS, "pseudo": {}, **NEW_STUDENT}
TWO = {"teacher": None, "teachers": two, "matches": [BIG]}
PEERS = {"students": {"a": TINY, "b": TINY}}
# changes of the recipe of texts, and where the problem is: told by the keys alone
KEYS: list[tuple[Options, str]] = [
    ({"training.seed": 7}, "training.seed"),
    ({"teacher.keep": "x"}, "teacher.keep"),
    ({"teacher.keep": "x", "teacher.cache": {"folder": "y"}}, "teacher.keep"),
    ({**link(), "teacher.keep": "x"}, "teacher.keep"),
    ({"student": TINY, "matches": None, "cohort": PEERS}, "student"),
    (link(matches=LABELS), "matches"),
    ({**link(stages=[{"matches": LABELS}]), **stage()}, "stages"),
    ({**link(matches=LABELS, stages=[{"matches": LABELS}]), "matches": None}, "chain[0].matches"),
    ({"quantise": {"scheme": "c"}}, "quantise.scheme"),
]  # fmt: skip
# told after a look at the models
LOOKED_AT: list[tuple[Options, str]] = [
    ({"control": {"seed": 7}}, "control.seed"),
    ({"control": {"output_dir": "x"}}, "control.output_dir"),
    (stage(training={"seed": 7}), "stages[0].training.seed"),
    (stage(training={"output_dir": "x"}), "stages[0].training.output_dir"),
    (link(training={"seed": 7}), "chain[0].training.seed"),
    (link(training={"output_dir": "x"}), "chain[0].training.output_dir"),
    ({"teacher.finetune": {"output_dir": "x"}}, "teacher.finetune.output_dir"),
    ({"teacher.finetune": {"matches": LABELS, "stages": [{"matches": LABELS}]}}, "teacher.finetune.matches"),
    ({"stages": [{"matches": LABELS}]}, "matches"),
    ({"student": {"path": pickled, "from": "teacher"}}, "student.from"),
    ({"student.shrink": {"layers": [2, 4], "n_layers": 3}}, "student.shrink.layers"),
    ({"student.sha256": "0" * 64}, "student.sha256"),
    ({"student.shrink.by": "magnitude"}, "student.shrink.by"),
    ({"student.shrink.rows": 8}, "student.shrink.rows"),
    ({"student.shrink": {"layers": [2, 4], "ffn": 8, "by": "magnitude", "rows": 8}}, "student.shrink.rows"),
    ({"matches": LABELS, "teacher.cache": True}, "teacher.cache"),
    ({"matches": LABELS, "teacher.precision": "bf16"}, "teacher.precision"),
    ({"matches": LABELS, "teacher.device": "cpu"}, "teacher.device"),
    ({"matches": LABELS, "teacher.sharded": True}, "teacher.sharded"),
    ({**TWO, "teachers.other.cache": True}, "teachers.other.cache"),
    ({"matches": [{"tap": "hidden"}], "teacher.cache": {"logits": {"top_k": 1}}}, "teacher.cache.logits"),
    ({"teacher.cache": {"temperature": 3}}, "teacher.cache.temperature"),
    ({"matches": None, "student": None, "cohort": {"students": {"a": {"path": pickled, "allow_pickle": True},
     "b": {"path": pickled, "allow_pickle": True}}}}, "teacher"),
    ({"matches": [{"tap": "labels", "temperature": 2}]}, "matches[0].temperature"),
    ({"matches": [{"tap": "hidden", "temperature": 2}]}, "matches[0].temperature"),
    ({"matches": [{**LOGITS, "layers": "uniform"}]}, "matches[0].layers"),
    ({"matches": [{**HIDDEN, "from": "teacher", "tap": "hidden:1"}]}, "matches[0].layers"),
    ({"matches": [{**LOGITS, "weights": [1]}]}, "matches[0].weights"),
    ({"matches": [{**LOGITS, "combine": "mean_logits"}]}, "matches[0].combine"),
    ({"matches": [{**LOGITS, "student": "logits"}]}, "matches[0]"),
    ({"matches": [{"tap": "labels", "from": "teacher"}]}, "matches[0].from"),
    ({"matches": [{"tap": "labels", "projection": "linear"}]}, "matches[0].projection"),
    ({"matches": [{**LOGITS, "target_gradient": True}]}, "matches[0].target_gradient"),
    ({"training.save_steps": 5}, "training.save_steps"),
    ({"control": {"optim": "sgd", "adam_beta1": 0.5}}, "control.adam_beta1"),
    ({**stage(training={"warmup_steps": 5}), "training.lr_scheduler_type": "constant"},
     "stages[0].training.warmup_steps"),
    ({**link(training={"run_name": "x"})}, "chain[0].training.run_name"),
    ({"teacher.finetune": {"num_train_epochs": 1, "optim_args": "rank=3"}}, "teacher.finetune.optim_args"),
]  # fmt: skip
# the same of the recipe of lines
KEYS_OF_LINES: list[tuple[Options, str]] = [
    ({"teacher": NEW, "teacher.sha256": "0" * 64}, "teacher.sha256"),
    ({"teacher": NEW, "teacher.allow_pickle": True}, "teacher.allow_pickle"),
    ({**link(student=SIDES), "matches": LABELS}, "chain[0].student.share_encoder"),
    ({"student": SIDES, "matches": None, "cohort": {}}, "student.share_encoder"),
    ({**TWO, "student": SIDES}, "student.share_encoder"),
    ({**link(), "matches": LABELS, "pseudo": {}}, "pseudo"),
    ({**link(), "matches": LABELS, "teacher": {"recogniser": "x.onnx"}}, "teacher"),
    ({"matches": None, "cohort": {}, "pseudo": {}}, "pseudo"),
    ({**BOX, "pseudo": {"num_beams": 2}}, "pseudo.num_beams"),
    ({**BOX, "student.from": "x"}, "student.from"),
    ({**BOX, "teacher.precision": "bf16"}, "teacher.precision"),
    ({**BOX, "teacher": None, "teachers": lambda lab: {"big": {"path": lab.file("reader")},
      "other": {"recogniser": "x.onnx"}}}, "teachers.other.recogniser"),
]  # fmt: skip
LOOKED_AT_OF_LINES: list[tuple[Options, str]] = [
    ({"task.train": bare, "control": False, "matches": LABELS, "pseudo": {"mix": 0.5}}, "pseudo.mix"),
    *(({f"task.{name}": value}, f"task.{name}") for name, value in
      {"height": 32, "width": 1024, "tokenizer": "char", "characters": "abc"}.items()),
    ({"quantise": {}, "matches": LABELS}, "quantise"),
    ({"pseudo": {"lines": dev, "mix": 0.5}}, "pseudo.mix"),
    ({"pseudo": {"lines": dev, "max_cer": 0.5}}, "pseudo.max_cer"),
]  # fmt: skip


def tried_lines(lab: OptionLab, spec: Options) -> None:
    len(lines(file_of(lab, spec)))


def tried_task(lab: OptionLab, options: Options) -> None:
    given = filled(lab, options)
    task = tasks.get(given.pop("name"), **given)
    task.problems()


def tried_generation(lab: OptionLab, options: Options) -> None:
    Generation.of(options)


def tried_cache(lab: OptionLab, options: Options) -> None:
    CacheOptions.of(options)


FILES = {"name": "text", "train": "@a.csv", "eval": "@b.csv"}
MARKS = {"type": "multi_label", "label": ["first", "second"]}
JSONL = {"name": "text", "train": "@a.jsonl", "eval": "@a.jsonl"}
SAVED = {"name": "text", "dataset": "@saved", "eval": {"fraction": 0.5}}
TAGGED = {"name": "tokens", "train": "@w.parquet", "eval": "@w.parquet"}
PIECES = {"name": "tokens", "train": "@pieces.json", "eval": "@pieces.json"}
OCR = {"name": "ocr", "train": "@lines.parquet", "eval": "@dev.parquet"}
PARQUET, BARE = {"path": "@lines.parquet"}, {"path": "@images", "unlabelled": True}
PRINT = {"n": 2, "fonts": "builtin"}
# what is made, of what, what it says
OTHERS: list[tuple[Any, Options, str]] = [
    *((tried_task, {**FILES, name: value}, name) for name, value in
      {"config": "x", "splits": {"train": "x"}, "label_separator": ";"}.items()),
    (tried_task, {**FILES, **MARKS, "label_separator": ";"}, "label_separator"),
    *((tried_task, {**JSONL, name: value}, name) for name, value in {"delimiter": ";", "quoted": False}.items()),
    *((tried_task, {**SAVED, name: value}, name) for name, value in
      {"delimiter": ";", "quoted": True, "encoding": "gb18030", "config": "x", "train": "@a.csv"}.items()),
    (tried_task, {**SAVED, "splits": {"train": "train", "eval": "train"}}, "splits.eval"),
    (tried_task, {**FILES, "type": "regression", "label": "number", "labels": ["a", "b"]}, "labels"),
    (tried_task, {**TAGGED, "encoding": "gb18030"}, "encoding"),
    *((tried_task, {**PIECES, name: "x"}, name) for name in ("word", "tag")),
    (tried_task, {**OCR, "augment": False, "seed": 3}, "seed"),
    (tried_task, {**OCR, "processor": "@reader", "height": 32}, "processor"),
    (tried_task, {**OCR, "vocab_size": 40}, "vocab_size"),
    *((tried_lines, {**PARQUET, name: value}, name) for name, value in
      {"delimiter": ";", "quoted": True, "encoding": "gb18030", "config": "x", "split": "x", "seed": 1}.items()),
    *((tried_lines, {**BARE, name: value}, name) for name, value in
      {"image": "x", "where": {"x": 1}, "delimiter": ";", "quoted": True, "encoding": "gb18030", "words": 1}.items()),
    (tried_lines, {**PARQUET, "unlabelled": True, "text": "other"}, "text"),
    *((tried_lines, {"rendered": {**PRINT, "texts": ["a"], name: value}}, name) for name, value in
      {"words": [2, 12], "style": "mixed"}.items()),
    *((tried_generation, {name: value}, name) for name, value in
      {"length_penalty": 2.0, "early_stopping": True}.items()),
    (tried_cache, {"temperature": 2.0}, "temperature"),
    (tried_cache, {"logits": {"samples": 3, "top_k": 2}}, "logits.samples"),
]  # fmt: skip
