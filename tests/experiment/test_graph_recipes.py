"""Recipes of several teachers, chains and cohorts that cannot be: all told at once, exit code 2, nothing written."""

from __future__ import annotations

from typing import Any

import pytest
from command_line import inside, textkd
from graph_lab import save_teacher, short
from tiny_lab import Tiny

MNLI = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
NAMED = {"id2label": {0: "positive", 1: "negative"}, "label2id": {"positive": 0, "negative": 1}}
SHRINK = {"shrink": {"layers": [2, 4]}}
MEAN = {"tap": "logits", "from": ["big", "other"], "combine": "mean_probabilities"}


def here(tiny: Tiny) -> dict[str, Any]:
    return {"path": str(tiny.folder / "teacher")}


def link(name: str, *layers: int) -> dict[str, Any]:
    return {"name": name, "student": {"shrink": {"layers": list(layers)}}}


def several(tiny: Tiny, *matches: dict[str, Any], **words: Any) -> dict[str, Any]:
    """A recipe of two teachers."""
    teachers = {
        "teachers": {"big": here(tiny), "other": here(tiny)},
        "matches": list(matches) or [{"tap": "labels"}, MEAN],
    }
    return short(tiny, "teacher", "matches", **{**teachers, **words})


def chained(tiny: Tiny, *links: dict[str, Any], **words: Any) -> dict[str, Any]:
    return short(tiny, "student", chain=list(links), **words)


def peers(tiny: Tiny, cohort: dict[str, Any], *without: str, **words: Any) -> dict[str, Any]:
    return short(tiny, "matches", *without, cohort=cohort, **words)


def unfit(tiny: Tiny) -> dict[str, Any]:
    """Three labels in one teacher, another order in the other."""
    places = {
        "big": save_teacher(tiny.folder / "big", 1, **MNLI),
        "other": save_teacher(tiny.folder / "other", 2, **NAMED),
    }
    return several(tiny, teachers={name: {"path": str(place)} for name, place in places.items()})


def wrong_everywhere(tiny: Tiny) -> dict[str, Any]:
    wrong = chained(tiny, link("control", 1, 9), link("teacher", 1), link("teacher", 1), seeds=[1, 1])
    wrong["training"]["learning_rat"] = 1
    wrong["matches"][1]["loss"] = "kll"
    wrong["task"]["pth"] = "x"
    return wrong


RECIPES: dict[str, tuple[Any, dict[str, str]]] = {
    "several teachers without from": (
        lambda tiny: several(tiny, {"tap": "logits"}, {"tap": "hidden"}),
        {"matches[0].from": "there are several teachers: big, other", "matches[1].from": "add from: big to the match"},
    ),
    "from nobody": (
        lambda tiny: several(tiny, {"tap": "logits", "from": "bigg"}), {"matches[0].from": "nearest: big"},
    ),
    "no way to combine": (
        lambda tiny: several(tiny, {"tap": "logits", "from": ["big", "other"]}), {"matches[0].combine": "combine: me"},
    ),
    "an unknown way": (
        lambda tiny: several(tiny, MEAN | {"combine": "mean"}), {"matches[0].combine": "nearest: mean_"},
    ),
    "a teacher twice": (
        lambda tiny: several(tiny, MEAN | {"from": ["big", "big"]}), {"matches[0].combine": "the match has 1"},
    ),
    "labels that do not fit": (
        unfit,
        {"teachers.big": "a head of 3 outputs", "teachers.other": "in the order ['positive', 'negative']"},
    ),
    "one teacher is not there": (
        lambda tiny: several(tiny, teachers={"big": {"path": "nowhere"}, "other": here(tiny)}),
        {"teachers.big": "no folder nowhere"},
    ),
    "no teachers": (lambda tiny: several(tiny, teachers={}), {"teacher": "not given"}),
    "teacher and teachers": (
        lambda tiny: several(tiny, teacher=here(tiny)), {"teachers": "both are given"},
    ),
    "a teacher named student": (
        lambda tiny: several(tiny, teachers={"student": here(tiny)}),
        {"teachers.student": "the report keeps this name for the student"},
    ),
    "student from nobody": (
        lambda tiny: several(tiny, student=SHRINK | {"from": "othr"}), {"student.from": "nearest: other"},
    ),
    "a link of one that is made later": (
        lambda tiny: chained(tiny, link("a", 1, 3) | {"student": SHRINK | {"from": "b"}}, link("b", 1)),
        {"chain[0].student.from": "it is not there yet"},
    ),
    "a peer of a peer": (
        lambda tiny: peers(tiny, {"students": {"a": SHRINK, "b": SHRINK | {"from": "a"}}}, "student"),
        {"cohort.students.b.from": "a student of this run"},
    ),
    "a peer of one without a name": (
        lambda tiny: peers(tiny, {"size": 2}, student=SHRINK | {"from": "peer_2"}), {"student.from": "of this run"},
    ),
    "from beside a path": (
        lambda tiny: several(tiny, student=here(tiny) | {"from": "big"}), {"student.from": "leave one of them out"},
    ),
    "no link": (lambda tiny: chained(tiny), {"chain": "no link"}),
    "a chain that ends where it began": (
        lambda tiny: chained(tiny, link("a", 1, 3), link("teacher", 1)), {"chain[1].name": "would end where it began"},
    ),
    "two links of one name": (
        lambda tiny: chained(tiny, link("a", 1, 3), link("a", 1)), {"chain[1].name": "another link has this name"},
    ),
    "a link called control": (lambda tiny: chained(tiny, link("control", 1)), {"chain[0].name": "without a teacher"}),
    "a link of no blocks": (
        lambda tiny: chained(tiny, link("a", 1, 3), link("b", 4)),
        {"chain[1].student.shrink.layers": "has 2 blocks, not 4"},
    ),
    "chain and student": (
        lambda tiny: short(tiny, chain=[link("a", 1, 3)]), {"chain": "both are given"},
    ),
    "chain and cohort": (
        lambda tiny: chained(tiny, link("a", 1, 3), cohort={"size": 2}), {"cohort": "both are given"},
    ),
    "texts for a cohort": (
        lambda tiny: peers(tiny, {"size": 2}) | {"pseudo": {"min_confidence": 0.9}},
        {"pseudo": "leave one of them out"},
    ),
    "a black box for a cohort": (
        lambda tiny: peers(tiny, {"size": 2}) | {"teacher": {"recogniser": "lines.onnx"}},
        {"teacher": "a cohort learns from what models say of each row"},
    ),
    "a block for a new teacher of texts": (
        lambda tiny: short(tiny) | {"teacher": {"config": {"num_hidden_layers": 2}, "finetune": {"max_steps": 1}}},
        {"teacher.config": "not made anew"},
    ),
    "a cohort of one": (lambda tiny: peers(tiny, {"size": 1}), {"cohort": "nobody to learn from"}),
    "a cohort of one by name": (
        lambda tiny: peers(tiny, {"students": {"a": SHRINK}}, "student"), {"cohort": "nobody to learn from"},
    ),
    "size and students": (
        lambda tiny: peers(tiny, {"size": 2, "students": {"a": SHRINK, "b": SHRINK}}, "student"),
        {"cohort.size": "both are given"},
    ),
    "an unknown update": (
        lambda tiny: peers(tiny, {"size": 2, "update": "in_turns"}), {"cohort.update": "nearest: in_turn"},
    ),
    "a peer named teacher": (
        lambda tiny: peers(tiny, {"students": {"teacher": SHRINK, "b": SHRINK}}, "student"),
        {"cohort.students.teacher": "that is the name of a teacher"},
    ),
    "peers of nothing": (lambda tiny: peers(tiny, {"size": 2}, "teacher"), {"student": "no model to start from"}),
    "a peer of no blocks": (
        lambda tiny: peers(tiny, {"students": {"a": SHRINK, "b": {"shrink": {"layers": [5]}}}}, "student"),
        {"cohort.students.b.shrink.layers": "has 4 blocks, not 5"},
    ),
    "a bad peer": (
        lambda tiny: peers(tiny, {"students": {"a": SHRINK, "b": SHRINK | {"shrnk": 1}}}, "student"),
        {"cohort.students.b.shrnk": "nearest: shrink"},
    ),
    "everything": (
        wrong_everywhere,
        {"chain[0].name": "without a teacher", "chain[1].name": "end where it began",
         "chain[2].name": "end where it began", "seeds": "1 more than once", "training.learning_rat": "learning_rate",
         "chain[0].student.shrink.layers": "has 4 blocks, not 9", "matches[1].loss": "nearest: kl",
         "task.pth": "nearest: path"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", RECIPES)
def test_a_bad_graph(
    what: str, tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, due = RECIPES[what][0](tiny), RECIPES[what][1]
    file, before = tiny.write(recipe), inside(tiny.folder)
    code, said = textkd(capsys, monkeypatch, "run", str(file))
    assert code == 2, said
    count = f"{len(due)} problems" if len(due) > 1 else ""
    assert count in said, said
    assert said.count("asked: ") == len(due), said
    for place, words in due.items():
        assert f"{place}: asked: " in said, said
        assert words in said.partition(f"{place}: asked: ")[2], said
    assert inside(tiny.folder) == before
