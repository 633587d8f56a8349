"""What a model's outputs are called: compared with the task's names, refused, told; published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from spoil import copy_teacher, put
from tiny_lab import Tiny, make_teacher, make_tokenizer, sentences
from transformers import AutoConfig, AutoModelForTokenClassification, pipeline

from textkd import TextkdError
from textkd.config import build
from textkd.experiment import describe
from textkd.experiment.evaluate import evaluate
from textkd.models.label_names import compared


def ids(*names: str) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


def own_task(tiny: Tiny, names: tuple[str, str], labels: list[str] | None = None) -> dict[str, Any]:
    """A recipe over files whose labels are called so."""
    for split, seed in (("train", 0), ("eval", 1)):
        rows = [{"text": text, "label": names[label]} for text, label in sentences(24, seed)]
        (tiny.folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {split: str(tiny.folder / f"{split}.jsonl") for split in ("train", "eval")}
    recipe = tiny.recipe
    recipe["task"] = {"name": "text", **files, **({"labels": labels} if labels else {})}
    recipe["training"]["max_steps"] = 1
    return {**recipe, "control": False, "matches": [{"tap": "logits"}]}


def told(tiny: Tiny, recipe: dict[str, Any]) -> str:
    with pytest.raises(TextkdError) as caught:
        build.from_recipe(tiny.write(recipe)).check()
    return str(caught.value)


@pytest.mark.parametrize(
    ("own", "others", "found"),
    [
        (["No", "YES"], ["no", "yes"], "the same"),
        (["yes", "no"], ["no", "yes"], "the same names in another order"),
        (["a b", "a_c"], ["a-b", "A C"], "the same"),
        (["LABEL_0", "LABEL_1"], ["no", "yes"], "no names"),
        (["0", "1"], ["no", "yes"], "no names"),
        (["1", "0"], ["0", "1"], "the same names in another order"),
        (["NEG", "POS"], ["negative", "positive"], "other names"),
        (["a b", "a_b"], ["a_b", "a b"], "the same names in another order"),  # two classes to this task
    ],
)
def test_names_beside_names(own: list[str], others: list[str], found: str) -> None:
    assert compared(own, others) == found


@pytest.mark.long
def test_foreign_names_are_refused_and_the_fix_helps(tiny: Tiny) -> None:
    recipe = own_task(tiny, ("negative", "positive"), ["negative", "positive"])
    folder = copy_teacher(tiny, **ids("POS", "NEG"))
    recipe["teacher"]["path"] = str(folder)
    message = told(tiny, recipe)
    assert "teacher: asked" in message
    assert "its labels are ['POS', 'NEG']; the task has ['negative', 'positive']" in message
    fix = '"id2label": {"0": "negative", "1": "positive"}'
    assert fix in message
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **json.loads("{" + fix + "}")}))
    build.from_recipe(tiny.write(recipe)).check()


def test_a_model_that_is_trained_here_gets_the_names_of_the_task(tiny: Tiny) -> None:
    recipe = own_task(tiny, ("negative", "positive"))
    recipe["teacher"] |= {"path": str(copy_teacher(tiny, **ids("POS", "NEG"))), "finetune": {"max_steps": 1}}
    build.from_recipe(tiny.write(recipe)).check()


@pytest.mark.long
def test_names_that_sort_otherwise_are_refused_and_the_fix_helps(tiny: Tiny) -> None:
    names = "beneficiary_not_allowed", "beneficiary_Allowed"
    recipe = own_task(tiny, names)
    recipe["teacher"]["path"] = str(copy_teacher(tiny, **ids("beneficiary not allowed", "beneficiary-allowed")))
    message = told(tiny, recipe)
    assert "labels in the order ['beneficiary not allowed', 'beneficiary-allowed']" in message
    assert f"labels: {list(names)} of the task" in message
    put("task.labels", list(names))(recipe, tiny)
    build.from_recipe(tiny.write(recipe)).check()


@pytest.mark.long
def test_names_that_only_count_are_told_and_the_student_is_named_as_the_task(tiny: Tiny) -> None:
    recipe = own_task(tiny, ("negative", "positive"))
    recipe["teacher"]["path"] = str(copy_teacher(tiny, **ids("LABEL_0", "LABEL_1")))
    run = build.from_recipe(tiny.write(recipe))
    run.check()
    note = (
        "its labels are LABEL_0, LABEL_1: names that say nothing, they were taken as negative, positive, in this order"
    )
    assert f"teacher: {note}" in describe.notes(run.setup)
    result = run.run()
    warnings = json.loads((tiny.folder / "run" / "results.json").read_text())["warnings"]
    assert note in warnings[0]
    assert note in (tiny.folder / "run" / "report.html").read_text()
    config = AutoConfig.from_pretrained(result.student)
    assert (config.id2label, config.label2id) == ({0: "negative", 1: "positive"}, {"negative": 0, "positive": 1})
    assert pipeline("text-classification", str(result.student))("a good film")[0]["label"] in config.label2id
    assert evaluate(str(result.student), "text", tiny.folder / "eval.jsonl") == result.metrics["student"]


def test_eval_refuses_foreign_names(tiny: Tiny) -> None:
    folder = copy_teacher(tiny, **ids("POS", "NEG"))
    with pytest.raises(TextkdError, match="its labels are"):
        evaluate(str(folder), "glue/sst2", tiny.folder / "data" / "dev.tsv")


def test_tags_of_other_names_are_refused(tmp_path: Path) -> None:
    from textkd.tasks.outputs import Tokens

    config = make_teacher().config
    config.id2label, config.label2id = ids("O", "B-PER", "I-PER").values()
    tagger = AutoModelForTokenClassification.from_config(config)
    assert "its labels are" in Tokens(["O", "B-person", "I-person"]).strange(tagger)[0].found
    assert Tokens(["O", "B-per", "I-per"]).strange(tagger) == []
    assert Tokens(["O", "I-per", "B-per"]).fits(tagger, make_tokenizer())
    nameless = tagger.base_model  # somebody's own module may have no names at all
    del nameless.config
    assert Tokens(["O"]).strange(nameless) == Tokens(["O"]).on_trust(nameless) == []
