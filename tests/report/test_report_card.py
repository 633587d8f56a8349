"""The model card: its front matter parses, its numbers are the results', its table is a table."""

from __future__ import annotations

import pytest
import yaml
from report_fakes import RECIPE, alone, plain, results

from textkd.errors import TextkdError
from textkd.report import model_card
from textkd.report.results import Results


def front(card: str) -> dict:
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


def test_front_matter_holds_the_models_numbers():
    found = front(model_card(results()))
    assert found["library_name"] == "transformers"
    assert found["tags"] == ["distillation", "textkd"]
    (entry,) = found["model-index"][0]["results"]
    assert entry["dataset"] == {"name": "glue/sst2", "type": "glue", "config": "sst2"}
    assert {m["type"]: m["value"] for m in entry["metrics"]} == {"accuracy": 0.8991, "f1": 0.9031}
    control = front(model_card(results(), "control"))
    assert control["model-index"][0]["results"][0]["metrics"][0]["value"] == pytest.approx(0.876133)
    assert "distillation" not in control["tags"]


def test_the_table_has_a_cell_per_model_in_every_row():
    data = plain(100)
    data["models"]["teacher"]["description"] = "odd | name"
    data["metrics_order"] = ["accuracy", "a|b"]
    for model in data["models"].values():
        for run in model["runs"]:
            run["metrics"]["a|b"] = 0.5
    lines = model_card(Results.model_validate(data)).splitlines()
    rows = [line.replace("\\|", "") for line in lines if line.startswith("|")]
    assert len(rows) >= 10
    assert {row.count("|") for row in rows} == {5}
    first = lines.index(next(line for line in lines if line.startswith("|")))
    assert all(line.startswith("|") for line in lines[first : first + len(rows)])


def test_loading_recipe_and_limits_are_told():
    card = model_card(results())
    assert "AutoModelForSequenceClassification.from_pretrained(folder)" in card
    assert f"```yaml\n{RECIPE}```" in card
    assert "one evaluation set of glue/sst2" in card
    assert "The evaluation set is also the one" in card
    assert "The student keeps 98.5%" in card
    assert "| control |" in card


def test_pairs_are_tokenized_as_pairs():
    data = plain(100)
    assert '["second text"]' not in model_card(Results.model_validate(data))
    data["disagreements"]["examples"][0]["text_b"] = "other"
    assert '["second text"]' in model_card(Results.model_validate(data))


def test_a_recipe_cannot_end_its_fence():
    card = model_card(results(recipe="a: |\n  ```\n  text"))
    assert "````yaml\na: |\n  ```\n  text\n````" in card


def test_a_model_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(TextkdError, match="teacher, student, control"):
        model_card(results(), "pupil")
    assert "# sst2_minilm6_to_3 (teacher)" in model_card(results(), "teacher")


def test_without_control_the_card_has_two_columns():
    card = model_card(Results.model_validate(alone()))
    assert "|  | teacher | student |\n|---|---|---|\n" in card


BAD = '<img src=x onerror="alert(1)"> [a](javascript:b) ![a][b]\n[b]: http://c\n# head <!-- '


def test_what_a_recipe_names_is_neither_html_nor_a_link_nor_a_line_of_its_own():
    data = plain(100)
    data |= {"name": BAD, "task": BAD, "warnings": [BAD], "versions": {BAD: BAD}}
    data["hardware"]["cpu"] = BAD
    for name in ("teacher", "student", "control"):
        data["models"][name] |= {"description": BAD, "architecture": BAD}
    data["models"][BAD] = data["models"].pop("control")
    data |= {"compare": {**data["compare"], "control": BAD}, "disagreements": None}
    data["metrics_order"] = ["accuracy", BAD]
    for model in data["models"].values():
        for run in model["runs"]:
            run["metrics"][BAD] = 0.5
    for which in ("student", "teacher", BAD):
        _, _, body = model_card(Results.model_validate(data), which).split("---\n", 2)
        shown, _, after = body.partition("```yaml")
        shown += after.partition("```")[2]
        assert "onerror" in shown
        assert [sign for sign in ("<", "](", "][", "]:") if sign in shown] == []
        assert [line for line in shown.splitlines() if line.startswith(("# head", "[b]"))] == []
        assert front(model_card(Results.model_validate(data), which))["model-index"][0]["name"] == f"{BAD}-{which}"
