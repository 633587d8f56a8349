"""The fixes of messages about graphs and readers work, as those of `test_fixes`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import test_graph_recipes
import test_ocr_refusals
from ocr_lab import HEIGHT, TRAIN, WIDTH, Reading, save_teacher
from second_proofs import but_few
from test_fixes import OUT, filled, problems_of, put_at
from tiny_lab import Tiny

from textkd.tasks.ocr.processor import line_processor

pytestmark = pytest.mark.long  # each tries many recipes or trains readers

GRAPHS: dict[str, tuple[str, dict[str, Any]]] = {
    "several teachers without from": ("add from: big", {"matches[0].from": "big", "matches[1].from": "big"}),
    "from nobody": ("nearest: big", {"matches[0].from": "big"}),
    "no way to combine": ("combine: mean_probabilities", {"matches[0].combine": "mean_probabilities"}),
    "an unknown way": ("nearest: mean_logits", {"matches[0].combine": "mean_logits"}),
    "teacher and teachers": ("keep one", {"teacher": OUT}),
    "student from nobody": ("nearest: other", {"student.from": "other"}),
    "a link of one that is made later": ("leave from out", {"chain[0].student.from": OUT}),
    "two links of one name": ("another name", {"chain[1].name": "b"}),
    "a link of no blocks": ("use 1 to 2", {"chain[1].student.shrink.layers": [1]}),
    "chain and student": ("keep one", {"student": OUT}),
    "chain and cohort": ("keep one", {"cohort": OUT}),
    "a cohort of one": ("", {"cohort.size": 2}),
    "size and students": ("keep one", {"cohort.size": OUT}),
    "an unknown update": ("nearest: in_turn", {"cohort.update": "in_turn"}),
    "peers of nothing": ("add from: FOLDER_OR_HUB_ID", {"student.from": "DIR/teacher"}),
    "a bad peer": ("nearest: shrink", {"cohort.students.b.shrnk": OUT}),
}
ENCODER, DECODER = "teacher.config.encoder", "teacher.config.decoder"
READERS: dict[str, tuple[str, dict[str, Any]]] = {
    "kind of lines": ("nearest: digits", {"task.train": {"digits": TRAIN}}),
    "option of digits": ("nearest: height", {"task.train.digits.hight": OUT}),
    "task option": ("nearest: augment", {"task.augmnt": OUT, "task.augment": True}),
    "generation": ("nearest: num_beams", {"task.generation": {"num_beams": 2}}),
    "no lines": ("eval: {fraction: 0.1, seed: 0}", {"task.eval": {"fraction": 0.1, "seed": 0}}),
    "not fine-tuned": ("finetune: {num_train_epochs: 30}", {"teacher.finetune": {"num_train_epochs": 30}}),
    "config and path": ("keep one", {"teacher.path": OUT}),
    "encoder field": ("nearest: num_hidden_layers", {f"{ENCODER}.num_hidden_layer": OUT}),
    "decoder field": ("nearest: decoder_layers", {f"{DECODER}.decoder_layer": OUT}),
    "encoder block": ("use 1 to 4", {"student.shrink.encoder_layers": [2, 4]}),
    "decoder blocks": ("use 1 to 2", {"student.shrink.decoder_layers": 1}),
    "plain layers": ("encoder_layers", {"student.shrink": {"encoder_layers": [2, 4], "decoder_layers": 1}}),
    "shared and shrunk": ("give one of them", {"student.share_encoder": OUT}),
    "no side": ("encoder.hidden", {"matches[0].tap": "encoder.hidden"}),
    "teacher block": ("", {"matches[1].layers": {1: 2}}),
    "length": ("4 to 16", {"max_length": 16}),
    "best by": ("nearest: cer", {"training.metric_for_best_model": "cer", "training.load_best_model_at_end": True}),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readers")
    save_teacher(folder / "teacher")
    line_processor(["0123456789"], height=HEIGHT, width=2 * WIDTH).save_pretrained(folder / "wide")
    return folder


def tried(recipe: dict[str, Any], tiny: Tiny, offered: str, fix: dict[str, Any]) -> None:
    before = problems_of(recipe, tiny)
    assert before
    assert offered in "\n".join(map(str, before))
    for place, value in fix.items():
        put_at(recipe, place, filled(value, tiny.folder))
    assert problems_of(recipe, tiny) == []


@pytest.mark.parametrize("name", but_few(GRAPHS, "several teachers without from", "peers of nothing"))
def test_of_a_graph(name: str, tiny: Tiny) -> None:
    tried(test_graph_recipes.RECIPES[name][0](tiny), tiny, *GRAPHS[name])


@pytest.mark.parametrize("name", but_few(READERS, "task option", "no side"))
def test_of_a_reader(name: str, shared: Path, tmp_path: Path) -> None:
    reading = Reading(tmp_path, shared / "teacher")
    recipe = reading.recipe
    test_ocr_refusals.RECIPES[name][0](recipe, shared)
    tried(recipe, reading, *READERS[name])
