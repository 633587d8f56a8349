"""What docs/tasks.md shows runs as it stands there; what an own task may forget is told; kinds of task by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from places import ROOT
from tiny_lab import make_teacher, make_tokenizer
from transformers import AutoModelForTokenClassification

from textkd import Distiller, Match, tasks
from textkd.errors import TextkdError
from textkd.tasks.outputs import Tokens

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8"), re.DOTALL)
(THINGS,) = (block for block in BLOCKS if "class Things" in block)
(STARS,) = (block for block in BLOCKS if "class Stars" in block)


def tagger(*names: str) -> Any:
    config = make_teacher().config
    config.id2label, config.label2id = dict(enumerate(names)), {name: i for i, name in enumerate(names)}
    return AutoModelForTokenClassification.from_config(config)


@pytest.mark.long
def test_the_task_of_the_docs_runs_through_to_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tagger("O", "B-thing", "I-thing").save_pretrained("teacher")
    make_tokenizer().save_pretrained("teacher")
    exec(THINGS, {"__name__": "docs"})
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["models"].keys() == {"teacher", "student", "control"}
    assert results["models"]["student"]["runs"][0]["metrics"].keys() == {"f1", "precision", "recall", "accuracy"}
    assert results["disagreements"]["examples"]
    assert "things" in (tmp_path / "run" / "report.html").read_text()
    lines = THINGS.splitlines()
    assert len(lines) - lines.index("class Things(tasks.Task):") <= 45


def test_the_output_of_the_docs() -> None:
    made: dict[str, Any] = {}
    exec(STARS, made)
    stars = made["Stars"]()
    logits = [[9, 0, 0, 0, 0], [0, 0, 0, 0, 9]]
    assert stars.compute_metrics(logits, [0, 2]) == {"accuracy": 0.5, "mae": 1.0}
    assert (stars.main_metric, stars.head()["num_labels"], stars.label_loss) == ("accuracy", 5, "cross_entropy")


class Bare(tasks.Task):
    """Rows without `length`."""

    name, splits = "bare", ("train", "eval")
    output = Tokens(["O", "B-x", "I-x"])

    def load(self, split: str) -> Any:
        return Dataset.from_dict({"words": [["good", "film"]] * 4})

    def encode(self, processor: Any, split: str, model_inputs: Any, max_length: int) -> Any:
        encoded = tasks.encode_words(processor, self.load(split)["words"], [[0, 1]] * 4, max_length)
        return encoded.remove_columns(["length", "example_id"])

    def collator(self, processor: Any, model: Any = None) -> Any:
        return tasks.TokenCollator(processor)


def test_columns_that_an_own_task_forgot() -> None:
    made = Distiller(
        tagger("O", "B-x", "I-x"), lambda teacher, seed: teacher, Bare(), [Match("labels")], tokenizer=make_tokenizer()
    )
    with pytest.raises(TextkdError, match="example_id, length in the encoded rows of bare train"):
        made.check()


def test_defaults_of_a_task() -> None:
    task = Bare()
    assert (task.eval_splits, task.augments, task.warnings(), task.default_length) == (("eval",), False, [], 128)
    assert task.fingerprint() == Bare().fingerprint()
    for call, due in (
        (lambda: task.processing(""), "the teacher's tokenizer"),
        (lambda: task.with_file("x.csv"), "reads no single files"),
        (lambda: task.raw([]), "a black box on bare"),
    ):
        with pytest.raises(TextkdError, match=due):
            call()
    with pytest.raises(TypeError, match="abstract"):
        tasks.Task()  # type: ignore[abstract]


def test_kinds_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from textkd.config.task_block import task_of
    from textkd.errors import Collector
    from textkd.tasks import kinds

    monkeypatch.setattr(kinds, "_KINDS", dict(kinds._KINDS))
    tasks.register("bare", Bare, AutoModelForTokenClassification)
    assert isinstance(task_of({"name": "bare"}, Collector()), Bare)
    found = Collector()
    task_of({"name": "bare", "train": "x"}, found)
    assert "task bare has no such option" in str(found.problems)
    with pytest.raises(TextkdError, match="there is one of that name"):
        tasks.register("text", Bare, AutoModelForTokenClassification)
    assert {"glue/sst2", "text", "tokens", "ocr", "bare"} <= set(tasks.names())
    texts = dict.fromkeys(("word", "tag", "encoding"), (str,))
    assert tasks.kind("tokens").eval_options == {**texts, "skip_damaged": (bool,)}
    assert tasks.kind("glue/sst2").options == ("limit", "path", "skip_damaged")
