"""A run that tags words: teacher, student and control, report, published folder, cache, and what may be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from command_line import textkd
from second_proofs import but_few
from tagged import sentences, write
from tiny_lab import make_teacher, make_tokenizer
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

from textkd import from_recipe, tasks
from textkd.errors import TextkdError

TEACHER = {"num_train_epochs": 8, "per_device_train_batch_size": 8, "learning_rate": 5e-3, "eval_strategy": "no",
           "save_strategy": "no"}  # fmt: skip
MATCHES: list[dict[str, Any]] = [
    {"tap": "labels", "weight": 0.2},
    {"tap": "logits", "loss": "kl", "temperature": 2, "weight": 0.8},
    {"tap": "hidden", "loss": "mse", "layers": "uniform"},
]


def recipe(folder: Path, **changes: Any) -> Path:
    made = {
        "task": {"name": "tokens", "train": str(folder / "train.conll"), "eval": str(folder / "dev.conll")},
        "teacher": {"path": str(folder / "teacher"), "finetune": TEACHER},
        "student": {"shrink": {"layers": [2, 4]}},
        "training": {"num_train_epochs": 3, "per_device_train_batch_size": 8, "learning_rate": 3e-3, "logging_steps": 1,
                     "output_dir": str(folder / "run")},
        "matches": MATCHES,
        "seeds": [1],
    }  # fmt: skip
    for key, value in changes.items():
        made[key] = {**made[key], **value} if isinstance(value, dict) else value
    (folder / "tokens.yaml").write_text(yaml.safe_dump(made))
    return folder / "tokens.yaml"


def lab(folder: Path) -> Path:
    make_teacher().save_pretrained(folder / "teacher")
    make_tokenizer().save_pretrained(folder / "teacher")
    write(folder / "train.conll", sentences(64, 0))
    write(folder / "dev.conll", sentences(32, 1))
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = lab(tmp_path_factory.mktemp("tokens"))
    from_recipe(recipe(folder)).run()
    return folder


@pytest.mark.long
def test_the_report(done: Path) -> None:
    results = json.loads((done / "run" / "results.json").read_text())
    assert (results["task"], results["main_metric"]) == ("tokens", "f1")
    assert results["metrics_order"] == ["f1", "precision", "recall", "accuracy"]
    assert results["models"]["teacher"]["runs"][0]["metrics"]["f1"] > 0.7
    assert results["models"]["student"]["runs"][0]["metrics"]["f1"] > 0.5
    assert results["models"]["student"]["architecture"].startswith("BertForTokenClassification")
    assert sum(results["disagreements"]["counts"].values()) == 32
    for row in results["models"]["student"]["runs"][0]["history"]:
        if row.get("eval"):
            assert 0 <= row["eval"]["f1"] <= 1
    page = (done / "run" / "report.html").read_text()
    assert all(word in page for word in ("f1", "precision"))


@pytest.mark.long
def test_the_published_folder_tags_by_itself(
    done: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, task = done / "run" / "seed-1" / "student", tasks.tokens(done / "train.conll", done / "dev.conll")
    model = AutoModelForTokenClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = task.encode(tokenizer, "eval", {"token_type_ids"}, 40)
    logits = task.output.predict(model, rows, task.collator(tokenizer))
    said, _ = task.output.tags(logits, task.output.references(rows))
    tagger = pipeline("token-classification", model=str(folder))
    for words, tags in list(zip(task.load("eval")["words"], said, strict=True))[:8]:
        found = {piece["word"]: piece["entity"] for piece in tagger(" ".join(words))}
        due = {word: tag for word, tag in zip(words, tags, strict=True) if tag != "O"}
        assert found.keys() == due.keys()
    recorded = json.loads((folder / "textkd.json").read_text())["metrics"]
    words = "eval", folder, "--task", "tokens", "--file", done / "dev.conll", "--json"
    assert json.loads(command(capsys, monkeypatch, *words)) == pytest.approx(recorded)
    assert json.loads(command(capsys, monkeypatch, *words, "word=0", "tag=1")) == pytest.approx(recorded)
    card = (folder / "README.md").read_text()
    assert "AutoModelForTokenClassification" in card
    assert "pipeline_tag: token-classification" in card


def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> str:
    capsys.readouterr()
    code, said = textkd(capsys, monkeypatch, *map(str, words))
    assert code == 0, said
    return next(line for line in said.splitlines() if line.startswith("{"))


@pytest.mark.long
def test_a_kept_teacher_teaches_the_same(done: Path, tmp_path: Path) -> None:
    """Logits and hidden states come back from disk at the positions that count."""
    lab(tmp_path)
    changes = {"teacher": {"cache": True, "keep": str(done / "teachers")}, "control": False}
    from_recipe(recipe(tmp_path, **changes)).run()
    histories = [json.loads((folder / "run" / "results.json").read_text())["models"]["student"]["runs"][0]["history"]
                 for folder in (done, tmp_path)]  # fmt: skip
    live, kept = ([row["loss"] for row in history if row.get("loss") is not None] for history in histories)
    assert kept == pytest.approx(live, rel=2e-2)


BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no file": ({"task": {"train": "DIR/trian.conll"}}, ["task", "trian.conll", "nearest: train.conll"]),
    "a key": ({"task": {"tags": 1}}, ["task.tags", "nearest: tag"]),
    "a tag of dev": ({"task": {"eval": "DIR/other.conll"}}, ["'B-plcae' in 1 words", "nearest: place"]),
    "ragged": ({"task": {"train": "DIR/ragged.conll"}}, ["line 2", "1 columns where 2 are due"]),
    "a head of others": ({"teacher": {"finetune": None}}, ["a head of 2 outputs; the task has 5"]),
    "bce": ({"matches": [{"tap": "labels", "loss": "bce"}]}, ["it takes flags"]),
    "gradients where the data is bad": (
        {"task": {"train": "DIR/ragged.conll", "labels": ["place"]}, "matches": [{"tap": "gradient", "loss": "mse"}]},
        ["line 2"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", but_few(BAD, "ragged", "a tag of dev", "bce", "a key"))
def test_what_may_be_wrong(name: str, tmp_path: Path) -> None:
    lab(tmp_path)
    (tmp_path / "ragged.conll").write_text("film\tB-place\nplot\nactor\tO\n")
    (tmp_path / "other.conll").write_text("film\tB-thing\nplot\tB-plcae\n")
    for file in ("train", "dev"):
        (tmp_path / f"{file}.conll").write_text("film\tB-thing\n\nplot\tB-place\n\ngood\tO\n\nbad\tO\n")
    changes, due = BAD[name]
    made = recipe(tmp_path, **json.loads(json.dumps(changes).replace("DIR", str(tmp_path))))
    with pytest.raises(TextkdError) as caught:
        from_recipe(made).check()
    said = str(caught.value)
    assert all(word in said for word in due), said
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_eval_of_a_model_that_does_not_fit(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    student = AutoModelForTokenClassification.from_pretrained(done / "run" / "seed-1" / "student")
    student.config.id2label = {i: f"LABEL_{i}" for i in range(5)}
    student.save_pretrained(tmp_path / "nameless")
    tokenizer = AutoTokenizer.from_pretrained(done / "run" / "seed-1" / "student")
    tokenizer.save_pretrained(tmp_path / "nameless")
    wrong = {
        ("nameless", "tokens"): "its labels are LABEL_0",
        ("nameless", "tokens", "num_beams=2"): "--task ocr",
        ("nameless", "tokens", "label=x"): "--task text",
        ("nameless", "tokens", "max_length=8"): "the options of tokens are word, tag, skip_damaged",
        ("nameless", "tokens", "word"): "not of the form KEY=VALUE",
        ("nameless", "tokens", "word="): "not of the form KEY=VALUE",
        ("nameless", "tokens", "tag=1", "tag=2"): "tag is given twice",
        ("nameless", "tokens", "skip_damaged=perhaps"): "not true or false",
    }
    for (name, task, *more), due in wrong.items():
        words = "eval", tmp_path / name, "--task", task, "--file", done / "dev.conll", *more
        code, said = textkd(capsys, monkeypatch, *map(str, words))
        assert (code, due in said) == (2, True), said


@pytest.mark.long
def test_positions_that_do_not_count_teach_nothing(done: Path) -> None:
    """A student's logits move with the teacher's at labelled positions alone."""
    task = tasks.tokens(done / "train.conll", done / "dev.conll")
    tokenizer = AutoTokenizer.from_pretrained(done / "run" / "seed-1" / "student")
    rows = task.encode(tokenizer, "train", (), 40)
    labels = task.collator(tokenizer)([rows[0], rows[1]])["labels"]
    assert (labels[:, 0] == -100).all()
    from textkd.models.taps.address import Address
    from textkd.models.taps.masks import mask_for

    batch = task.collator(tokenizer)([rows[0], rows[1]])
    assert torch.equal(mask_for(Address.parse("logits"), batch, torch.zeros(*labels.shape, 5)), labels != -100)
    hidden = mask_for(Address.parse("hidden:1"), batch, torch.zeros(*labels.shape, 16))
    assert torch.equal(hidden, batch["attention_mask"].bool())
