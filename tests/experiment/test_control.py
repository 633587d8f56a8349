"""What the control leaves as it is is its own: not what the stages of its student freeze."""

from __future__ import annotations

import pytest
import torch
from tiny_lab import Tiny
from transformers import AutoModelForSequenceClassification

from textkd.config import build


@pytest.mark.long
def test_a_control_freezes_what_its_own_block_says(tiny: Tiny) -> None:
    recipe = tiny.recipe
    recipe["stages"] = [{"matches": recipe.pop("matches"), "frozen": ["bert.embeddings"]}]
    recipe["control"] = {"frozen": ["bert.encoder.layer.0"]}
    recipe["training"]["max_steps"] = 1
    result = build.from_recipe(tiny.write(recipe)).run()
    folders = {
        "teacher": tiny.folder / "teacher",
        "student": result.student,
        "control": result.student.with_name("control"),
    }
    models = {name: AutoModelForSequenceClassification.from_pretrained(folder).bert for name, folder in folders.items()}
    words = {name: model.embeddings.word_embeddings.weight for name, model in models.items()}
    assert torch.equal(words["student"], words["teacher"])
    assert not torch.equal(words["control"], words["teacher"])
    query = {name: model.encoder.layer[0].attention.self.query.weight for name, model in models.items()}
    start = models["teacher"].encoder.layer[1].attention.self.query.weight  # the student's first block is the second
    assert torch.equal(query["control"], start)
    assert not torch.equal(query["student"], start)
    assert "without a teacher, frozen bert.encoder.layer.0" in (tiny.folder / "run" / "results.json").read_text()
