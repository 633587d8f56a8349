"""The block `prune`: what its words mean, and what is wrong with them, each told once."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_lab import Tiny

from textkd.config.prune_block import prune_problems, pruning_of
from textkd.config.schema import PruneBlock
from textkd.config.validate import validate

HALF = {"parameters": 0.5}
BAD: list[tuple[dict[str, Any], str, str]] = [
    *(({"target": {"parameters": value}}, "target.parameters", "a share between 0 and 1")
      for value in (0, 0.0, 1, 1.0, 1.5, -3, -0.5, float("nan"), float("inf"), "50", "0%", "100%", "x")),
    ({"target": {"milliseconds": 0}}, "target.milliseconds", "50%"),
    ({"target": {"parameters": 0.5, "macs": 0.5}}, "target", "parameters and macs together"),
    ({"target": {}}, "target", "none is given"),
    ({"target": {"length": 5}}, "target", "none is given"),
    ({"target": {"paramters": 0.5}}, "target.paramters", "nearest: parameters"),
    ({"target": {"macs": 0.5, "length": 0}}, "target.length", "tokens"),
    ({"target": {"parameters": 0.5, "length": 9}}, "target.length", "leave it out"),
    ({"target": HALF, "kind": ["head"]}, "kind", "nearest: heads"),
    ({"target": HALF, "kind": "fnn"}, "kind", "nearest: ffn"),
    ({"target": HALF, "kind": []}, "kind", "nothing would be pruned"),
    ({"target": HALF, "kind": ["ffn", "ffn"]}, "kind", "twice"),
    ({"target": HALF, "kind": ["heads", "hidden"]}, "kind", "keep one"),
    ({"target": HALF, "kind": ["encoder_heads", "hidden"]}, "kind", "keep one"),
    *(({"target": HALF, "rounds": rounds}, "rounds", "rounds: 4") for rounds in (0, -1, 21)),
    ({"target": HALF, "schedule": "one_shot", "rounds": 3}, "rounds", "it prunes once"),
    ({"target": HALF, "schedule": "cubc"}, "schedule", "nearest: cubic"),
    ({"target": HALF, "recover": 0}, "recover", "recover: 1"),
    ({"target": HALF, "recover": float("inf")}, "recover", "recover: 1"),
    ({"target": HALF, "rounds": 1, "recover": 1}, "recover", "leave it out"),
    ({"target": HALF, "by": "fischer"}, "by", "nearest: fisher"),
    ({"target": HALF, "by": "magnitude", "rows": 5}, "rows", "by: fisher"),
    ({"target": HALF, "rows": 0}, "rows", "256"),
]  # fmt: skip


@pytest.mark.parametrize(("block", "where", "said"), BAD)
def test_a_bad_block_is_one_message(block: dict[str, Any], where: str, said: str) -> None:
    found = list(prune_problems(PruneBlock(**block), False))
    assert [one.where for one in found] == [where]
    assert said in str(found[0])
    assert found[0].fix


def test_words_of_a_target() -> None:
    targets = [HALF, {"macs": "25%"}, {"milliseconds": 0.5}, {"milliseconds": "50%"}, {"parameters": 8_000_000}]
    told = [str(pruning_of(PruneBlock(target=target)).target) for target in targets]
    assert told == ["50% of the parameters", "25% of the macs", "0.5 milliseconds", "50% of the milliseconds",
                    "8,000,000 parameters"]  # fmt: skip
    assert pruning_of(PruneBlock(target=HALF)).rounds == 4
    assert pruning_of(PruneBlock(target=HALF, schedule="one_shot")).rounds == 1
    assert pruning_of(PruneBlock(target=HALF, recover=0.5)).recover == 0.5


LINK = [{"name": "a", "student": {"shrink": {"layers": [1]}}}]
SEARCH = {"budget": {"size_mb": 1}, "over": {"training.learning_rate": [1e-3]}}


@pytest.mark.parametrize(("beside", "where"), [
    ({"chain": LINK}, "prune"), ({"cohort": {"size": 2}}, "prune"), ({"search": SEARCH}, "prune"),
    ({"pseudo": {}}, "pseudo"), ({"student": {"shrink": {}, "share_encoder": True}}, "student.share_encoder"),
])  # fmt: skip
def test_another_procedure_beside_it_is_refused(beside: dict[str, Any], where: str, tiny: Tiny) -> None:
    values = {key: value for key, value in tiny.recipe.items() if key != "student"}
    _, found = validate(values | {"prune": {"target": HALF}} | beside)
    assert [one.where for one in found] == [where]
