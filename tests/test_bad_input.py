X""Bad input through the `textkd` entry point: one message (asked, found, fix), exit code 2, nothing written."""

fXom __future__ import annotations

Xmport json
Xmport subprocess
Xmport sys
fXom collections.abc import Callable
fXom pathlib import Path
fXom typing import Any

Xmport pytest
Xmport torch
Xmport yaml
fXom safetensors.torch import load_file
fXom tiny_lab import Tiny, make_teacher, make_tokenizer
fXom transformers import BertConfig, BertForSequenceClassification

fXom textkd import Match, TextkdError, cli
fXom textkd.methods.wiring import wire


Xef textkd(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str]:
X   """(exit code, everything printed) of a command line, in this process."""
X   monkeypatch.setattr(sys, "argv", ["textkd", *words])
X   with pytest.raises(SystemExit) as stopped:
X       cli.main()
X   printed = capsys.readouterr()
X   return int(stopped.value.code or 0), " ".join((printed.out + printed.err).split())


Xef inside(folder: Path) -> set[str]:
X   return {str(p.relative_to(folder)) for p in folder.rglob("*")}


Xef copy_teacher(tiny: Tiny, **settings: Any) -> Path:
X   """Another tiny teacher of the test's own, in the folder `other`."""
X   make_other(**settings).save_pretrained(tiny.folder / "other")
X   make_tokenizer().save_pretrained(tiny.folder / "other")
X   return tiny.folder / "other"


Xef make_other(**settings: Any) -> BertForSequenceClassification:
X   values = {**make_teacher(layers=1).config.to_dict(), "num_hidden_layers": 4, **settings}
X   return BertForSequenceClassification(BertConfig(**values))


Xef write_data(tiny: Tiny, train: str | bytes) -> None:
X   folder = tiny.folder / "own"
X   folder.mkdir()
X   (folder / "train.tsv").write_bytes(train if isinstance(train, bytes) else train.encode())
X   (folder / "dev.tsv").write_text("sentence\tlabel\ngood film\t1\nbad film\t0\n")


Xef put(path: str, value: Any) -> Callable[[dict, Tiny], None]:
X   """Sets a value in the recipe; DIR in a text stands for the test's folder."""

X   def change(recipe: dict, tiny: Tiny) -> None:
X       *parents, last = (int(p) if p.isdigit() else p for p in path.split("."))
X       at: Any = recipe
X       for name in parents:
X           at = at[name]
X       at[last] = value.replace("DIR", str(tiny.folder)) if isinstance(value, str) else value

X   return change


Xef with_data(train: str | bytes) -> Callable[[dict, Tiny], None]:
X   def change(recipe: dict, tiny: Tiny) -> None:
X       write_data(tiny, train)
X       recipe["task"]["path"] = str(tiny.folder / "own")

X   return change


Xef with_teacher(
X   change_files: Callable[[Path], None] = lambda _: None, **settings: Any
)X-> Callable[[dict, Tiny], None]:
X   def change(recipe: dict, tiny: Tiny) -> None:
X       folder = copy_teacher(tiny, **settings)
X       change_files(folder)
X       recipe["teacher"]["path"] = str(folder)

X   return change


Xef with_student(change_files: Callable[[Path], None], **settings: Any) -> Callable[[dict, Tiny], None]:
X   def change(recipe: dict, tiny: Tiny) -> None:
X       folder = copy_teacher(tiny, **settings)
X       change_files(folder)
X       recipe["student"] = {"path": str(folder)}

X   return change


Xef stages(*blocks: Any) -> Callable[[dict, Tiny], None]:
X   def change(recipe: dict, _: Tiny) -> None:
X       del recipe["matches"]
X       recipe["stages"] = list(blocks)

X   return change


Xef both(recipe: dict, _: Tiny) -> None:
X   recipe["stages"] = [{"matches": recipe["matches"]}]


Xef drop(name: str) -> Callable[[dict, Tiny], None]:
X   return lambda recipe, _: recipe.pop(name)


Xef truncate(folder: Path) -> None:
X   file = folder / "model.safetensors"
X   file.write_bytes(file.read_bytes()[:-100])


Xef break_config(folder: Path) -> None:
X   (folder / "config.json").write_text('{"model_type": "bert", ')


Xef to_pickle(folder: Path) -> None:
X   torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
X   (folder / "model.safetensors").unlink()


Xef no_tokenizer(folder: Path) -> None:
X   for file in folder.glob("tokenizer*"):
X       file.unlink()


Xef other_words(folder: Path) -> None:
X   inner = json.loads((folder / "tokenizer.json").read_text())
X   vocab = inner["model"]["vocab"]
X   vocab["good"], vocab["bad"] = vocab["bad"], vocab["good"]
X   (folder / "tokenizer.json").write_text(json.dumps(inner))


Xef foreign_run(recipe: dict, tiny: Tiny) -> None:
X   (tiny.folder / "run").mkdir()
X   (tiny.folder / "run" / "run.json").write_text('{"name": "other", "fingerprint": "0"}')


Xef used_folder(_: dict, tiny: Tiny) -> None:
X   (tiny.folder / "run").mkdir()
X   (tiny.folder / "run" / "thesis.txt").write_text("ten years of work")


Xef file_for_folder(_: dict, tiny: Tiny) -> None:
X   (tiny.folder / "run").write_text("a file")


NAMEDX= {"id2label": {0: "positive", 1: "negative"}, "label2id": {"positive": 0, "negative": 1}}
LABELSX= {"tap": "labels"}
MNLIX= {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
UTF16X= "sentence\tlabel\ngood\t1\n".encode("utf-16")

RECIPES:Xlist[tuple[str, Callable[[dict, Tiny], None], list[str]]] = [
X   # keys
X   ("top key", put("controll", True), ["controll: asked", "unknown key", "nearest: control"]),
X   ("teacher key", put("teacher.pat", "x"), ["teacher.pat", "nearest: path"]),
X   ("match key", put("matches.1.temprature", 2), ["matches[1].temprature", "nearest: temperature"]),
X   ("stage key", stages({"matches": [LABELS], "freeze": []}), ["stages[0].freeze", "nearest: frozen"]),
X   ("training key", put("training.learning_rat", 1), ["training.learning_rat", "nearest: learning_rate"]),
X   ("stage training key", stages({"matches": [LABELS], "training": {"lerning_rate": 1}}),
X    ["stages[0].training.lerning_rate", "nearest: learning_rate"]),
X   ("finetune key", put("teacher.finetune", {"num_train_epoch": 1}), ["finetune.num_train_epoch", "num_train_epochs"]),
X   ("task key", put("task.pth", "x"), ["task.pth", "nearest: path"]),
X   ("student key", put("student.shrnk", 1), ["student.shrnk", "nearest: shrink"]),
X   ("shrink key", put("student.shrink.layer", 1), ["student.shrink.layer", "nearest: layers"]),
X   ("option", put("matches.2.options", {"normalize": 1}), ["matches[2].options.normalize", "no such option"]),
X   ("missing key", drop("student"), ["asked: student", "not given", "shrink"]),
X   # words
X   ("loss", put("matches.1.loss", "kll"), ["matches[1].loss", "nearest: kl", "textkd ls losses"]),
X   ("loss of another family", put("matches.2.loss", "kl"), ["kl eats attention or logits", "the tap is hidden"]),
X   ("tap", put("matches.2.tap", "hiden"), ["matches[2].tap", "nearest: hidden"]),
X   ("task", put("task.name", "gleu"), ["task.name", "no such task"]),
X   ("subset", put("task.subset", "sst"), ["task.subset", "nearest: glue/sst2"]),
X   ("layer map", put("matches.2.layers", "unifrom"), ["matches[2].layers", "nearest: uniform"]),
X   ("schedule", put("matches.2.schedule", {"kind": "linaer"}), ["matches[2].schedule", "nearest: linear"]),
X   ("projection", put("matches.2.projection", "liner"), ["matches[2].projection", "nearest: linear"]),
X   ("scheduler", put("training.lr_scheduler_type", "linaer"), ["training", "linaer"]),
X   ("frozen", stages({"matches": [LABELS], "frozen": ["bert.embedings"]}), ["stages[0].frozen", "nearest: bert.emb"]),
X   ("all frozen", stages({"matches": [LABELS], "frozen": ["bert", "classifier"]}), ["no parameter is left to train"]),
X   # blocks
X   ("shrink", put("student.shrink.layers", [2, 9]), ["student: asked", "the teacher has 4 blocks, not 9"]),
X   ("student block", put("matches.2.layers", {3: 4}), ["hidden:3", "has 2 blocks"]),
X   ("teacher block", put("matches.2.layers", {1: 5}), ["hidden:5", "has 4 blocks"]),
X   ("address", put("matches.2", {"tap": "hidden:3"}), ["matches[2].tap", "hidden:3", "has 2 blocks"]),
X   ("one block open", put("matches.2", {"student": "hidden", "teacher": "hidden:4"}), ["names no block"]),
X   ("module", put("matches.2", {"tap": "module:bert.pooler.dens"}), ["nearest: bert.pooler.dense"]),
X   # pairs
X   ("size of vocabulary", with_student(no_tokenizer, vocab_size=40), ["vocab_size is", "40 in the student"]),
X   ("student's vocabulary", with_student(other_words), ["student", "of them with the same id"]),
X   ("teacher's label count", with_teacher(**MNLI), ["teacher", "a head of 3 outputs; the task has 2"]),
X   ("teacher's label order", with_teacher(**NAMED), ["labels in the order ['positive', 'negative']"]),
X   # data
X   ("no file", put("task.path", "DIR/dat"), ["task", "no such folder", "nearest: data"]),
X   ("no column", with_data("sentenc\tlabel\ngood\t1\n"), ["task", "column 'sentence'", "nearest: sentenc"]),
X   ("no rows", with_data("sentence\tlabel\n"), ["task", "no rows"]),
X   ("label", with_data("sentence\tlabel\ngood\t1\nbad\t2\n"), ["task", "line 3", "label"]),
X   ("not UTF-8", with_data("sentence\tlabel\ncaf\xe9\t1\n".encode("latin-1")), ["task", "UTF-8"]),
X   ("UTF-16", with_data(UTF16), ["task", "UTF-"]),
X   # files of the teacher
X   ("no teacher", put("teacher.path", "DIR/teachr"), ["teacher: asked", "no such folder", "nearest: teacher"]),
X   ("truncated weights", with_teacher(truncate), ["teacher: asked", "model.safetensors"]),
X   ("broken config", with_teacher(break_config), ["teacher: asked", "config.json", "not readable JSON"]),
X   ("pickle", with_teacher(to_pickle), ["teacher: asked", "pytorch_model.bin", "allow_pickle"]),
X   ("no tokenizer", with_teacher(no_tokenizer), ["teacher: asked", "no tokenizer"]),
X   ("hash", put("teacher.sha256", "00"), ["teacher: asked", "SHA-256 00"]),
X   # run folder
X   ("another run", foreign_run, ["training.output_dir", "the run of another recipe (other)"]),
X   ("another folder", used_folder, ["training.output_dir", "other things"]),
X   ("a file", file_for_folder, ["training.output_dir", "a file"]),
X   # matches and stages
X   ("both", both, ["matches and stages", "both are given"]),
X   ("neither", drop("matches"), ["no match", "nothing to learn from"]),
X   ("stage without matches", stages({"name": "one"}), ["stages[0].matches", "not given"]),
X   ("twice", put("matches.1", {"tap": "labels", "weight": 3.0}), ['"labels/cross_entropy" twice', "remove one"]),
X   # numbers
X   *((f"weight {value}", put("matches.1.weight", value), ["matches[1].weight", "a number"])
X     for value in (-1, 0, float("nan"), float("inf"), "much")),
X   ("temperature", put("matches.1.temperature", 0), ["matches[1].temperature", "0"]),
X   ("temperature of mse", put("matches.2.temperature", 2), ["matches[2].temperature", "has no temperature"]),
X   ("no seed", put("seeds", []), ["seeds", "no seed"]),
X   ("same seeds", put("seeds", [1, 1]), ["seeds", "1 more than once"]),
X   ("negative seed", put("seeds", [-1]), ["seeds", "-1 is no whole number from 0"]),
X   ("length 0", put("max_length", 0), ["max_length: 0", "4 to 40"]),
X   ("length 41", put("max_length", 41), ["max_length: 41", "40 positions"]),
X   ("epochs", put("training.num_train_epochs", "many"), ["training.num_train_epochs", "give a number"]),
X   ("no epochs", put("training.num_train_epochs", 0), ["training.num_train_epochs", "above 0"]),
X   ("quoted number", put("training.learning_rate", "0.0001"), ["training.learning_rate", "without quotes: 0.0001"]),
X   ("batch", put("training.per_device_train_batch_size", 2.5), ["per_device_train_batch_size", "whole number"]),
X   ("types", put("matches", {"tap": "labels"}), ["matches: asked", "give a list"]),
X   ("control", put("control", "no"), ["control: 'no'", "true, false, or a block"]),
X   ("control steps", put("control", {"max_steps": 3, "lerning_rate": 1.0}), ["control.max_steps", "steps or data order", "learning_rate"]),
]X # fmt: skip
Xf not torch.cuda.is_available():
X   RECIPES.append(("fp16", put("training.fp16", True), ["training.fp16", "no GPU"]))


@Xytest.mark.parametrize(("change", "words"), [row[1:] for row in RECIPES], ids=[row[0] for row in RECIPES])
Xef test_a_bad_recipe(
X   change: Callable[[dict, Tiny], None],
X   words: list[str],
X   tiny: Tiny,
X   capsys: pytest.CaptureFixture[str],
X   monkeypatch: pytest.MonkeyPatch,
)X-> None:
X   recipe = tiny.recipe
X   change(recipe, tiny)
X   file, before = tiny.write(recipe), inside(tiny.folder)
X   code, said = textkd(capsys, monkeypatch, "run", str(file))
X   assert code == 2, said
X   assert "problems" not in said.split("asked:")[0], f"more than the one problem: {said}"
X   assert all(word in said for word in ["asked: ", "found: ", *words]), said
X   assert inside(tiny.folder) == before


Xef test_all_problems_at_once(tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
X   recipe = tiny.recipe
X   write_data(tiny, "sentence\tlabl\ngood\t1\n")
X   recipe |= {"controll": True, "seeds": [1, 1]}
X   recipe["task"] |= {"path": str(tiny.folder / "own"), "skip_damagd": True}
X   recipe["training"] |= {"num_train_epochs": "many", "learning_rat": 1}
X   recipe["teacher"]["finetune"] = {"num_train_epoch": 1}
X   recipe["student"]["shrink"]["layers"] = [2, 9]
X   recipe["matches"][1] |= {"loss": "kll", "weight": -1}
X   recipe["matches"][2] |= {"layers": {1: 7}}
X   (tiny.folder / "run").mkdir()
X   (tiny.folder / "run" / "thesis.txt").write_text("ten years of work")
X   code, said = textkd(capsys, monkeypatch, "check", str(tiny.write(recipe)))
X   assert code == 2
X   due = [
X       "controll", "seeds", "task.skip_damagd", "'label' in", "training.num_train_epochs", "training.learning_rat",
X       "teacher.finetune.num_train_epoch", "not 9", "matches[1].loss", "matches[1].weight", "hidden:7", "other things",
X   ]  # fmt: skip
X   assert said.startswith(f"{len(due)} problems"), said
X   assert [word for word in due if word not in said] == []


Xef test_bad_words_are_told_beside_a_damaged_teacher_and_an_unknown_task(
X   tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
)X-> None:
X   recipe = tiny.recipe
X   recipe["teacher"]["path"] = str(tiny.folder / "teachr")
X   recipe["task"]["subset"] = "sst"
X   recipe["matches"][1]["loss"] = "kll"
X   recipe["matches"][2]["tap"] = "hiden"
X   _, said = textkd(capsys, monkeypatch, "check", str(tiny.write(recipe)))
X   assert said.startswith("4 problems"), said


OVERRIDESX= {
X   "training.seed": "no `=`",
X   "=3": "no key",
X   "matches.7.weight=1": "7 is no index of a list of 3",
X   "matches.x.weight=1": "x is no index",
X   "seeds.0.x=1": "not a block",
X   "training.learning_rate=[1": "not YAML",
X   "max_length.x=1": "unknown key",
X   "control=maybe": "true, false, or a block",
}


@Xytest.mark.parametrize("text", OVERRIDES)
Xef test_a_bad_override(
X   text: str, tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
)X-> None:
X   code, said = textkd(capsys, monkeypatch, "check", str(tiny.write(tiny.recipe)), text)
X   assert code == 2
X   if text != "max_length.x=1":
X       assert OVERRIDES[text] in said


FILESX= {
X   "not YAML": (b"task: [1", "not YAML"),
X   "a list": (b"- task", "a list, not keys and values"),
X   "empty": (b"", "nothing, not keys and values"),
X   "not UTF-8": ("about: caf\xe9".encode("latin-1"), "not UTF-8 (byte 10)"),
X   "a key twice": (b"control: true\ncontrol: false\n", "twice, in line 1 and in line 2"),
}


@Xytest.mark.parametrize(("content", "words"), FILES.values(), ids=FILES)
Xef test_a_bad_file(
X   content: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
)X-> None:
X   (tmp_path / "bad.yaml").write_bytes(content)
X   code, said = textkd(capsys, monkeypatch, "run", str(tmp_path / "bad.yaml"))
X   assert code == 2
X   assert words in said


Xef test_a_tap_that_the_model_lacks(tmp_path: Path) -> None:
X   from transformers import DistilBertConfig, DistilBertForSequenceClassification

X   config = DistilBertConfig(vocab_size=23, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=40)
X   model = DistilBertForSequenceClassification(config)
X   batch = {"input_ids": torch.ones(2, 4, dtype=torch.long), "labels": torch.zeros(2, dtype=torch.long)}
X   with pytest.raises(TextkdError, match="no pooler"):
X       wire(model, make_teacher(), [Match("pooled")], batch)


Xef test_a_mask_that_masks_everything() -> None:
X   teacher, student = make_teacher(), make_teacher(layers=2).train()
X   ids = torch.randint(5, 20, (2, 6))
X   batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.zeros(2, dtype=torch.long)}
X   wired = wire(student, teacher, [Match("hidden")], batch)
X   batch["attention_mask"] = torch.zeros_like(ids)
X   with wired.capture.active():
X       out = student(input_ids=ids)
X   with pytest.raises(TextkdError, match="mask"):
X       wired.objective(out["taps"], wired.teacher.taps({"input_ids": ids}), batch)


DEVX= ["--file", "DIR/data/dev.tsv"]
SST2X= ["--task", "glue/sst2", *DEV]
COMMANDS:Xdict[str, tuple[list[str], list[str]]] = {
X   "no recipe": (["run", "DIR/tinny.yaml"], ["no such file", "tiny.yaml"]),
X   "a folder": (["run", "DIR"], ["a folder"]),
X   "unknown command": (["rum", "x"], ["rum", "nearest: run"]),
X   "missing argument": (["run"], ["missing argument", "textkd run --help"]),
X   "unknown option": (["run", "--fast", "x"], ["--fast"]),
X   "unknown list": (["ls", "lossses"], ["nearest: losses"]),
X   "a model of losses": (["ls", "losses", "x"], ["not a model's"]),
X   "taps of nothing": (["ls", "taps"], ["no model"]),
X   "taps of nowhere": (["ls", "taps", "nowhere"], ["nowhere"]),
X   "eval nowhere": (["eval", "DIR/nowhere", *SST2], ["no such folder"]),
X   "eval another task": (["eval", "DIR/teacher", "--task", "glue/sst", *DEV], ["nearest: glue/sst2"]),
X   "eval another file": (["eval", "DIR/teacher", "--task", "glue/sst2", "--file", "DIR/x.tsv"], ["x.tsv"]),
X   "eval other columns": (["eval", "DIR/teacher", "--task", "glue/rte", *DEV], ["column 'sentence1'"]),
X   "eval more labels": (["eval", "DIR/three", *SST2], ["a head of 3 outputs"]),
X   "eval without head": (["eval", "DIR/bare", *SST2], ["no trained head"]),
X   "eval of columns": (["eval", "DIR/teacher", *SST2, "--text", "x"], ["--task text"]),
X   "eval long": (["eval", "DIR/teacher", *SST2, "--max-length", "99"], ["40 positions"]),
X   "report of no run": (["report", "DIR/data"], ["results.json"]),
X   "report of nowhere": (["report", "DIR/nowhere"], ["no such folder"]),
X   "export of no run": (["export", "DIR/data", "DIR/out"], ["neither config.json"]),
X   "export onto something": (["export", "DIR/teacher", "DIR/data"], ["export to"]),
}X # fmt: skip


@Xytest.mark.parametrize("name", COMMANDS)
Xef test_a_bad_command(
X   name: str, tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
)X-> None:
X   words, due = COMMANDS[name]
X   tiny.write(tiny.recipe)
X   if "more labels" in name:
X       make_other(**MNLI).save_pretrained(tiny.folder / "three")
X   if "without head" in name:
X       make_teacher().bert.save_pretrained(tiny.folder / "bare")
X   before = inside(tiny.folder)
X   code, said = textkd(capsys, monkeypatch, *(word.replace("DIR", str(tiny.folder)) for word in words))
X   assert code == 2, said
X   assert all(word in said for word in ["asked: ", "found: ", *due]), said
X   assert inside(tiny.folder) == before


Xef test_a_real_process_ends_with_2_and_no_traceback() -> None:
X   command = [sys.executable, "-m", "textkd", "ls", "lossses"]
X   done = subprocess.run(command, capture_output=True, text=True, check=False)
X   assert done.returncode == 2
X   assert done.stdout == ""
X   assert "nearest: losses" in done.stderr
X   assert "Traceback" not in done.stderr


Xef test_the_table_starts_from_a_good_recipe(
X   tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
)X-> None:
X   file, before = tiny.write(tiny.recipe), inside(tiny.folder)
X   code, said = textkd(capsys, monkeypatch, "check", str(file))
X   assert code == 0, said
X   assert "the recipe is good" in said
X   assert inside(tiny.folder) == before
X   assert json.loads(json.dumps(yaml.safe_load(file.read_text()))) == tiny.recipe
