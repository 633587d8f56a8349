"""Bad input through the `textkd` entry point: one message (asked, found, fix), exit code 2, nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
import yaml
from command_line import inside, textkd
from spoil import (
    both,
    break_config,
    drop,
    file_for_folder,
    foreign_run,
    no_tokenizer,
    other_words,
    padded_left,
    put,
    stages,
    to_pickle,
    truncate,
    used_folder,
    with_data,
    with_student,
    with_teacher,
    write_data,
)
from tiny_lab import Tiny

NAMED = {"id2label": {0: "positive", 1: "negative"}, "label2id": {"positive": 0, "negative": 1}}
LABELS = {"tap": "labels"}
MNLI = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
UTF16 = "sentence\tlabel\ngood\t1\n".encode("utf-16")


def bilstm_of(tap: str) -> Callable[[dict, Tiny], None]:
    """A BiLSTM of which a tap is asked."""

    def change(recipe: dict, _: Tiny) -> None:
        recipe["student"] = {"recurrent": {"kind": "bilstm"}}
        recipe["matches"][2]["tap"] = tap

    return change


RECIPES: list[tuple[str, Callable[[dict, Tiny], None], list[str]]] = [
    # keys
    ("top key", put("controll", True), ["controll: asked", "unknown key", "nearest: control"]),
    ("teacher key", put("teacher.pat", "x"), ["teacher.pat", "nearest: path"]),
    ("match key", put("matches.1.temprature", 2), ["matches[1].temprature", "nearest: temperature"]),
    ("stage key", stages({"matches": [LABELS], "freeze": []}), ["stages[0].freeze", "nearest: frozen"]),
    ("training key", put("training.learning_rat", 1), ["training.learning_rat", "nearest: learning_rate"]),
    ("stage training key", stages({"matches": [LABELS], "training": {"lerning_rate": 1}}),
     ["stages[0].training.lerning_rate", "nearest: learning_rate"]),
    ("finetune key", put("teacher.finetune", {"num_train_epoch": 1}), ["finetune.num_train_epoch", "num_train_epochs"]),
    ("finetune frozen", put("teacher.finetune", {"frozen": ["embedings"]}), ["finetune.frozen", "no such module"]),
    ("finetune frozen nothing", put("teacher.finetune", {"frozen": ["dropout"]}), ["finetune.frozen", "no parameters"]),
    ("finetune frozen text", put("teacher.finetune", {"frozen": "bert"}), ["finetune.frozen", "a list of"]),
    ("task key", put("task.pth", "x"), ["task.pth", "nearest: path"]),
    ("student key", put("student.shrnk", 1), ["student.shrnk", "nearest: shrink"]),
    ("shrink key", put("student.shrink.layer", 1), ["student.shrink.layer", "nearest: layers"]),
    ("option", put("matches.2.options", {"normalize": 1}), ["matches[2].options.normalize", "no such option"]),
    ("missing key", drop("student"), ["asked: student", "not given", "shrink"]),
    ("a cached teacher that pads on the left", padded_left, ["teacher: asked", "the padding in front", '"right"']),
    # words
    ("loss", put("matches.1.loss", "kll"), ["matches[1].loss", "nearest: kl", "textkd ls losses"]),
    ("loss that trains its target", put("matches.1", {"tap": "logits", "loss": "rocket"}),
     ["matches[1].loss", "also trains the model", "target_gradient: true"]),
    ("loss of two vocabularies", put("matches.1", {"tap": "logits", "loss": "uld"}),
     ["matches[1].loss", "different tokenizers"]),
    ("one tap as two", put("matches.1", {"tap": ["logits", "logits"], "loss": "multi_exit"}),
     ["matches[1].tap", "logits 2 times"]),
    ("loss of another family", put("matches.2.loss", "kl"), ["a loss of attention or logits", "the tap is hidden"]),
    ("tap", put("matches.2.tap", "hiden"), ["matches[2].tap", "nearest: hidden"]),
    ("task", put("task.name", "gleu"), ["task.name", "no such task"]),
    ("subset", put("task.subset", "sst"), ["task.subset", "nearest: sst2"]),
    ("layer map", put("matches.2.layers", "unifrom"), ["matches[2].layers", "nearest: uniform"]),
    ("schedule", put("matches.2.schedule", {"kind": "linaer"}), ["matches[2].schedule", "nearest: linear"]),
    ("projection", put("matches.2.projection", "liner"), ["matches[2].projection", "nearest: linear"]),
    ("scheduler", put("training.lr_scheduler_type", "linaer"), ["training.lr_scheduler_type", "nearest: linear"]),
    ("save and best", put("training.load_best_model_at_end", "yes"), ["training.load_best_model_at_end"]),
    ("frozen", stages({"matches": [LABELS], "frozen": ["bert.embedings"]}), ["stages[0].frozen", "nearest: bert.emb"]),
    ("all frozen", stages({"matches": [LABELS], "frozen": ["bert", "classifier"]}), ["no parameter is left to train"]),
    # blocks
    ("shrink", put("student.shrink.layers", [2, 9]), ["student.shrink.layers: asked", "has 4 blocks, not 9"]),
    ("grow", put("student.grow", {"wider": {"hidden": 24}}), ["student.grow.wider.hidden: asked", "hidden: 32 or 48"]),
    ("recurrent", put("student", {"recurrent": {"kind": "bistm"}}), ["student.recurrent.kind", "nearest: bilstm"]),
    ("a tap of a transformer", bilstm_of("attention"),
     ["matches[2].layers: asked", "a BiLSTM has no attention"]),
    ("grow key", put("student.grow", {"wder": {"ffn": 99}}), ["student.grow.wder", "nearest: wider"]),
    ("student block", put("matches.2.layers", {3: 4}), ["hidden:3", "has 2 blocks"]),
    ("teacher block", put("matches.2.layers", {1: 5}), ["matches[2].layers", '"hidden:5" of teacher', "has 4 blocks"]),
    ("address", put("matches.2", {"tap": "hidden:3"}), ["matches[2].tap", '"hidden:3" of student', "has 2 blocks"]),
    ("one block open", put("matches.2", {"student": "hidden", "teacher": "hidden:4"}), ["hidden has no block number"]),
    ("module", put("matches.2", {"tap": "module:bert.pooler.dens"}), ["nearest: bert.pooler.dense"]),
    # pairs
    ("size of vocabulary", with_student(no_tokenizer, vocab_size=40), ["vocab_size is", "40 in the student"]),
    ("student's vocabulary", with_student(other_words), ["student", "of them with the same id"]),
    ("teacher's label count", with_teacher(**MNLI), ["teacher", "a head of 3 outputs; the task has 2"]),
    ("teacher's label order", with_teacher(**NAMED), ["labels in the order ['positive', 'negative']"]),
    # data
    ("no file", put("task.path", "DIR/dat"), ["task", "no such folder", "nearest: data"]),
    ("no column", with_data("sentenc\tlabel\ngood\t1\n"), ["task", "column 'sentence'", "nearest: sentenc"]),
    ("no rows", with_data("sentence\tlabel\n"), ["task", "no rows"]),
    ("label", with_data("sentence\tlabel\ngood\t1\nbad\t2\n"), ["task", "line 3", "label"]),
    ("not UTF-8", with_data("sentence\tlabel\ncaf\xe9\t1\n".encode("latin-1")), ["task", "UTF-8"]),
    ("UTF-16", with_data(UTF16), ["task", "UTF-"]),
    # files of the teacher
    ("no teacher", put("teacher.path", "DIR/teachr"), ["teacher: asked", "no such folder", "nearest: teacher"]),
    ("truncated weights", with_teacher(truncate), ["teacher: asked", "model.safetensors"]),
    ("broken config", with_teacher(break_config), ["teacher: asked", "config.json", "not readable JSON"]),
    ("pickle", with_teacher(to_pickle), ["teacher: asked", "pytorch_model.bin", "allow_pickle"]),
    ("no tokenizer", with_teacher(no_tokenizer), ["teacher: asked", "no tokenizer"]),
    ("hash", put("teacher.sha256", "00"), ["teacher: asked", "SHA-256 00"]),
    # run folder
    ("another run", foreign_run, ["training.output_dir", "the run of another recipe (other)"]),
    ("another folder", used_folder, ["training.output_dir", "other things"]),
    ("a file", file_for_folder, ["training.output_dir", "a file"]),
    # matches and stages
    ("both", both, ["matches and stages", "both are given"]),
    ("neither", drop("matches"), ["no match", "nothing to learn from"]),
    ("stage without matches", stages({"name": "one"}), ["stages[0].matches", "not given"]),
    ("twice", put("matches.1", {"tap": "labels", "weight": 3.0}), ['"labels/cross_entropy" twice', "remove one"]),
    # numbers
    *((f"weight {value}", put("matches.1.weight", value), ["matches[1].weight", "a number"])
      for value in (-1, 0, float("nan"), float("inf"), "much")),
    ("temperature", put("matches.1.temperature", 0), ["matches[1].temperature", "0"]),
    ("temperature of mse", put("matches.2.temperature", 2), ["matches[2].temperature", "has no temperature"]),
    ("no seed", put("seeds", []), ["seeds", "no seed"]),
    ("same seeds", put("seeds", [1, 1]), ["seeds", "1 more than once"]),
    ("negative seed", put("seeds", [-1]), ["seeds", "-1 is not a whole number from 0"]),
    ("large seed", put("seeds", [2**40]), ["seeds", "from 0 to 4294966"]),
    ("no step", put("training.max_steps", 0), ["training.max_steps", "-1"]),
    ("large seed of a limit", put("task.limit", {"rows": 9, "seed": 2**32}), ["task.limit", "from 0 to 4294967295"]),
    ("length 0", put("max_length", 0), ["max_length: 0", "special tokens", "4 to 40"]),
    ("length 41", put("max_length", 41), ["max_length: 41", "40 positions"]),
    ("epochs", put("training.num_train_epochs", "many"), ["training.num_train_epochs", "give a number"]),
    ("no epochs", put("training.num_train_epochs", 0), ["training.num_train_epochs", "above 0"]),
    ("quoted number", put("training.learning_rate", "0.0001"), ["training.learning_rate", "without quotes: 0.0001"]),
    ("batch", put("training.per_device_train_batch_size", 2.5), ["per_device_train_batch_size", "whole number"]),
    ("types", put("matches", {"tap": "labels"}), ["matches: asked", "give a list"]),
    ("control", put("control", "no"), ["control: 'no'", "true, false, or a block"]),
    ("best by", put("training.metric_for_best_model", "acuracy"), ["metric_for_best_model", "nearest: accuracy"]),
    ("control steps", put("control", {"max_steps": 3}), ["control.max_steps", "same steps and the same order of data"]),
    ("dropout", put("training.dropout", 1.5), ["training.dropout", "from 0 to below 1"]),
    ("average", put("training.average", "yes"), ["training.average", "from 0 to below 1"]),
    ("control frozen", put("control", {"frozen": ["bert.embedings"]}), ["control.frozen", "nearest: bert.embeddings"]),
    ("control frozen text", put("control", {"frozen": "bert"}), ["control.frozen", "no list", "[bert]"]),
    ("control dropout", put("control", {"dropout": "none"}), ["control.dropout", "from 0 to below 1"]),
]  # fmt: skip
if not torch.cuda.is_available():
    RECIPES.append(("fp16", put("training.fp16", True), ["training.fp16", "no GPU"]))


@pytest.mark.parametrize(("change", "words"), [row[1:] for row in RECIPES], ids=[row[0] for row in RECIPES])
def test_a_bad_recipe(
    change: Callable[[dict, Tiny], None],
    words: list[str],
    tiny: Tiny,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = tiny.recipe
    change(recipe, tiny)
    file, before = tiny.write(recipe), inside(tiny.folder)
    code, said = textkd(capsys, monkeypatch, "run", str(file))
    assert code == 2, said
    assert "problems" not in said.split("asked:")[0], f"more than the one problem: {said}"
    assert all(word in said for word in ["asked: ", "found: ", *words]), said
    assert inside(tiny.folder) == before


def test_all_problems_at_once(tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny.recipe
    write_data(tiny, "sentence\tlabl\ngood\t1\n")
    recipe |= {"seeds": [1, 1]}
    recipe["task"] |= {"path": str(tiny.folder / "own"), "skip_damagd": True}
    recipe["training"] |= {"num_train_epochs": "many", "learning_rat": 1}
    recipe["teacher"]["finetune"] = {"num_train_epoch": 1}
    recipe["student"]["shrink"]["layers"] = [2, 9]
    recipe["matches"][1] |= {"loss": "kll", "weight": -1}
    recipe["matches"][2] |= {"layers": {1: 7}}
    (tiny.folder / "run").mkdir()
    (tiny.folder / "run" / "thesis.txt").write_text("ten years of work")
    code, said = textkd(capsys, monkeypatch, "check", str(tiny.write(recipe)))
    assert code == 2
    due = [
        "seeds", "task.skip_damagd", "'label' in", "training.num_train_epochs", "training.learning_rat",
        "teacher.finetune.num_train_epoch", "not 9", "matches[1].loss", "matches[1].weight", "hidden:7", "other things",
    ]  # fmt: skip
    assert said.startswith(f"{len(due)} problems"), said
    assert [word for word in due if word not in said] == []


def test_keys_and_types_are_told_alone_and_all_at_once(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe | {"controll": True, "max_length": "long"}
    del recipe["student"]
    recipe["matches"][1] |= {"weigth": 2, "loss": "kll"}  # no such loss: told in the second round
    recipe["teacher"] |= {"path": "nowhere", "allow_pickle": "yes"}
    code, said = textkd(capsys, monkeypatch, "check", str(tiny.write(recipe)))
    due = ["controll", "max_length", "student", "matches[1].weigth", "teacher.allow_pickle"]
    assert code == 2
    assert said.startswith(f"{len(due)} problems"), said
    assert [place for place in due if f" {place}: asked" not in said] == []


def test_bad_words_are_told_beside_a_damaged_teacher_and_an_unknown_task(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe
    recipe["teacher"]["path"] = str(tiny.folder / "teachr")
    recipe["task"]["subset"] = "sst"
    recipe["matches"][1]["loss"] = "kll"
    recipe["matches"][2]["tap"] = "hiden"
    _, said = textkd(capsys, monkeypatch, "check", str(tiny.write(recipe)))
    assert said.startswith("4 problems"), said


OVERRIDES = {
    "training.seed": "no `=`",
    "=3": "no key",
    "matches.7.weight=1": "7 is not an index of a list of 3",
    "matches.x.weight=1": "x is not an index",
    "seeds.0.x=1": "has no keys",
    "training.learning_rate=[1": "not YAML",
    "max_length.x=1": "unknown key",
    "control=maybe": "true, false, or a block",
}


@pytest.mark.parametrize("text", OVERRIDES)
def test_a_bad_override(
    text: str, tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = textkd(capsys, monkeypatch, "check", str(tiny.write(tiny.recipe)), text)
    assert code == 2
    if text != "max_length.x=1":
        assert OVERRIDES[text] in said


@pytest.mark.long
def test_a_real_process_ends_with_2_and_no_traceback() -> None:
    command = [sys.executable, "-m", "textkd", "ls", "lossses"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "nearest: losses" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_table_starts_from_a_good_recipe(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, before = tiny.write(tiny.recipe), inside(tiny.folder)
    code, said = textkd(capsys, monkeypatch, "check", str(file))
    assert code == 0, said
    assert "the recipe is good" in said
    assert inside(tiny.folder) == before
    assert json.loads(json.dumps(yaml.safe_load(file.read_text()))) == tiny.recipe
