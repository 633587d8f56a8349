"""What is published is what was measured: plain transformers answers alike, and is asked before a run says done."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ocr_lab import EVAL, TRAIN, make_reader
from ocr_lab import processor as line_processor
from second_proofs import but_few
from spoil import break_config, other_words
from tagged import sentences as tagged
from tagged import write
from tiny_lab import Tiny, make_teacher, make_tokenizer, sentences
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    TrOCRProcessor,
    VisionEncoderDecoderModel,
)

from textkd import tasks
from textkd.config import build
from textkd.experiment.evaluate import evaluate
from textkd.experiment.finished import RECORD, Finished
from textkd.models import loading
from textkd.models.forward import forward_inputs, positions

LENGTH = 8  # some texts are longer


def texts_task(folder: Path, kind: str) -> Any:
    cells: dict[str, Callable[[int], Any]] = {
        "classification": lambda label: ["bad", "good"][label], "regression": lambda label: label + 0.5,
        "multi_label": lambda label: ["bad", "long"] if label else ["good"],
    }  # fmt: skip
    rows = [{"text": text, "label": cells[kind](label)} for text, label in sentences(16, 3)]
    (folder / "rows.json").write_text(json.dumps(rows))
    return tasks.text(folder / "rows.json", folder / "rows.json", type=kind)


def model_of(task: Any, auto_class: Any) -> Any:
    config = make_teacher(layers=1).config
    config.num_labels = task.output.head()["num_labels"]
    torch.manual_seed(1)
    return auto_class.from_config(config).eval()


def made(kind: str, folder: Path) -> tuple[Any, Any, Any]:
    """A task, a model and its tokenizer."""
    if kind == "ocr":
        reads = line_processor()
        return tasks.ocr({"digits": TRAIN}, {"digits": EVAL}, processor=reads), make_reader(), reads
    if kind == "tokens":
        task: Any = tasks.tokens(*[write(folder / "rows.conll", tagged(16, 3))] * 2)
        return task, model_of(task, AutoModelForTokenClassification), make_tokenizer()
    task = texts_task(folder, kind)
    return task, model_of(task, AutoModelForSequenceClassification), make_tokenizer()


def publish(kind: str, folder: Path) -> list[str]:
    """What is doubtful about a model that is published as it is."""
    task, model, words = made(kind, folder)
    length = 16 if kind == "ocr" else LENGTH
    rows = task.encode(words, "eval", forward_inputs(model), length)
    data = SimpleNamespace(eval=rows, extra={}, collator=task.collator(words, model))
    Finished.publish(folder / "out", model, {}, words, data, task, length)
    return list(json.loads((folder / "out" / RECORD).read_text())["doubts"])


def edit(name: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return change


KINDS = ["classification", "regression", "multi_label", "tokens", "ocr"]
CUT = edit("tokenizer_config.json", model_max_length=4)
BREAKS: list[tuple[str, Callable[[Path], None], str]] = [
    ("classification", CUT, "other logits"),
    ("classification", edit("config.json", id2label={"0": "good", "1": "bad"}), r"labels are \['good', 'bad'\]"),
    ("classification", break_config, "does not run in plain transformers"),
    ("regression", CUT, "other logits"),
    ("multi_label", other_words, "other logits"),
    ("multi_label", edit("config.json", id2label={"0": "long", "1": "bad", "2": "good"}), "its labels are"),
    ("tokens", CUT, "other logits"),
    ("tokens", other_words, "other logits"),
    ("ocr", edit("generation_config.json", max_new_tokens=1), "was read"),
    ("ocr", edit("generation_config.json", decoder_start_token_id=5), "was read"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_answers_as_it_was_measured(kind: str, tmp_path: Path) -> None:
    assert not [doubt for doubt in publish(kind, tmp_path) if "published" in doubt]


@pytest.mark.parametrize(("kind", "spoil", "told"), but_few(BREAKS, *BREAKS[1:4], BREAKS[6], BREAKS[8]))
def test_a_folder_that_answers_otherwise_is_told(
    kind: str, spoil: Callable[[Path], None], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is spoilt behind the measurement, in front of the look."""
    load = loading.load_model

    def loaded(path: str, *args: Any, **kwargs: Any) -> Any:
        model = load(path, *args, **kwargs)
        spoil(Path(path))
        return model

    monkeypatch.setattr(loading, "load_model", loaded)
    first = publish(kind, tmp_path)[0]
    assert first.startswith("the published folder")
    assert re.search(told, first), first


@pytest.mark.long
@pytest.mark.parametrize("kind", ["classification", "tokens"])
def test_answers_that_depend_on_the_rows_beside_are_told(kind: str, tmp_path: Path) -> None:
    """As behind padding, which moves the positions of a BERT: alone, as a pipeline reads it, a text is another one."""
    task, model, words = made(kind, tmp_path)
    words.padding_side = "left"
    model.save_pretrained(tmp_path / "out")
    words.save_pretrained(tmp_path / "out")
    edit("tokenizer_config.json", padding_side="left")(tmp_path / "out")
    rows = task.encode(words, "eval", forward_inputs(model), 20)
    chosen, shown = [rows[i] for i in range(8)], [task.load("eval")[int(rows[i]["example_id"])] for i in range(8)]
    batch = {name: column for name, column in task.collator(words, model)(chosen).items() if name in rows.column_names}
    with torch.inference_mode():  # all in one batch
        logits = model(**{name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}).logits
    said = [one.numpy() for one in logits]
    if kind == "tokens":
        said = [one[labels.numpy() != -100] for one, labels in zip(said, batch["labels"], strict=True)]
    assert "other logits" in task.output.differ(str(tmp_path / "out"), shown, chosen, said, "cpu")


@pytest.mark.long
def test_it_is_told_first_in_the_report(tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    """As by an output of somebody's own that answers with more than its model."""
    recipe = tiny.recipe
    recipe["training"]["max_steps"] = 1
    run = build.from_recipe(tiny.write({**recipe, "control": False}))
    run.task.output.other_names = lambda model: "its labels are wrong"
    run.run()
    told = "the published folder answers otherwise than was measured, in plain transformers: its labels are wrong"
    warnings = json.loads((tiny.folder / "run" / "results.json").read_text())["warnings"]
    assert any(told in warning for warning in warnings[:2])  # the teacher has a doubt of its own
    assert told in caplog.text


def code_of(card: Path) -> str:
    """The lines of Python that a model card shows."""
    (code,) = re.findall(r"```python\n(.*?)```", card.read_text(), re.DOTALL)
    return str(code).replace("path/to/this/folder", str(card.parent))


@pytest.mark.long
def test_a_short_run_says_so_and_is_measured_so_again(tiny: Tiny) -> None:
    recipe = tiny.recipe
    recipe["training"]["max_steps"] = 1
    result = build.from_recipe(tiny.write({**recipe, "control": False, "max_length": LENGTH})).run()
    assert json.loads((result.student / "tokenizer_config.json").read_text())["model_max_length"] == LENGTH
    card = result.student / "README.md"
    assert f"Texts were cut at {LENGTH} tokens" in card.read_text()
    measured = evaluate(str(result.student), "glue/sst2", tiny.folder / "data" / "dev.tsv")
    assert measured == pytest.approx(result.metrics["student"])
    longer = tiny.recipe
    longer["student"] = {"path": str(result.student)}  # it was cut at 8, and has positions for more
    longer["training"]["output_dir"] += "-longer"
    build.from_recipe(tiny.write({**longer, "max_length": 20})).check()


@pytest.mark.long
def test_the_lines_of_a_card_run_on_a_long_text(tiny: Tiny) -> None:
    """Of a model whose tokenizer knew no limit, and whose first two positions are no token's."""
    config = RobertaConfig(
        vocab_size=21, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=34, pad_token_id=0, id2label={0: "negative", 1: "positive"},
        label2id={"negative": 0, "positive": 1},
    )  # fmt: skip
    teacher = tiny.folder / "roberta"
    RobertaForSequenceClassification(config).save_pretrained(teacher)
    make_tokenizer().save_pretrained(teacher)
    assert make_tokenizer().model_max_length > 10**29
    recipe = tiny.recipe
    recipe["teacher"]["path"], recipe["student"] = str(teacher), {"shrink": {"layers": [1]}}
    recipe["training"]["max_steps"] = 1
    result = build.from_recipe(tiny.write({**recipe, "control": False})).run()
    room = positions(AutoModelForSequenceClassification.from_pretrained(teacher))
    assert room == 33
    made: dict[str, Any] = {}
    exec(code_of(result.student / "README.md").replace("a text", "a good film " * 50), made)
    assert made["inputs"]["input_ids"].shape == (1, room)


@pytest.mark.parametrize("kind", ["roberta", "mpnet", "ibert"])
def test_positions_before_the_first_token_hold_none(kind: str) -> None:
    sizes = {"vocab_size": 21, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model(kind, **sizes, intermediate_size=16, max_position_embeddings=20, pad_token_id=1)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    assert positions(model) == 18
    assert model(torch.full((1, 18), 5)).logits.shape == (1, 2)
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, 19), 5))


@pytest.mark.long
def test_an_architecture_that_is_not_known_is_distilled_by_its_logits(tiny: Tiny) -> None:
    sizes = {"vocab_size": 21, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model("camembert", **sizes, intermediate_size=16, pad_token_id=0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tiny.folder / "other")
    make_tokenizer().save_pretrained(tiny.folder / "other")
    recipe = {**tiny.recipe, "control": False, "matches": [{"tap": "labels"}, {"tap": "logits"}]}
    recipe["teacher"] = recipe["student"] = {"path": str(tiny.folder / "other")}
    recipe["training"]["max_steps"] = 1
    run = build.from_recipe(tiny.write(recipe))
    assert re.search(r"student: \d+k parameters, 1 stage", run.plan()[-1])
    run.run()
    results = json.loads((tiny.folder / "run" / "results.json").read_text())
    assert results["models"]["student"]["architecture"] == "CamembertForSequenceClassification 1x16"


@pytest.mark.long
def test_the_lines_of_a_readers_card_read_what_was_measured(tmp_path: Path) -> None:
    """Whatever stood in the teacher's generation settings; lines are longer than these say."""
    from ocr_lab import Reading, save_teacher

    folder = save_teacher(tmp_path / "teacher")
    edit("generation_config.json", max_length=3, num_beams=3, no_repeat_ngram_size=1)(folder)
    reading = Reading(tmp_path, folder)
    recipe = {**reading.recipe, "control": False}
    recipe["training"]["num_train_epochs"] = 1
    run = build.from_recipe(reading.write(recipe))
    student = run.run().student
    model, processor = VisionEncoderDecoderModel.from_pretrained(student), TrOCRProcessor.from_pretrained(student)
    assert (model.generation_config.num_beams, model.generation_config.no_repeat_ngram_size) == (1, 0)
    lines = run.task.load("eval")
    images = processor(images=[lines[i]["image"] for i in range(len(lines))], return_tensors="pt").pixel_values
    texts = processor.batch_decode(model.generate(images), skip_special_tokens=True)
    measured = json.loads((student / RECORD).read_text())["metrics"]
    assert run.task.output.compute_metrics(texts, [lines[i]["text"] for i in range(len(lines))]) == measured
    assert max(len(text) for text in texts) > 3
