"""What a loss asks of the training around it, and what is said where it does not get it."""

from __future__ import annotations

from typing import Any

import pytest
from every_loss import ENTRIES, given, key, taps_of
from tiny_lab import Tiny

from textkd import Match, losses
from textkd.config import build
from textkd.errors import TextkdError
from textkd.losses import Loss, engine_problems
from textkd.objective.match_checks import check_words

CLASSES = "cross_entropy"


def told(name: str, family: str = "logits", options: Any = None, **given: Any) -> list[Any]:
    return engine_problems(losses.get(name, family), options or {}, **given)


@pytest.mark.parametrize(
    ("name", "options", "fix"),
    [
        ("rocket", {}, "a loss that trains the student only"),
        ("rocket", {"block": False}, "a loss that trains the student only"),
        ("apprentice", {}, "options: {detach: true, alpha: 0.0}"),
        ("apprentice", {"alpha": 0, "detach": False}, "options: {detach: true, alpha: 0.0}"),
        ("peer_kl", {"detach": False}, "options: {detach: true}"),
    ],
)
def test_a_target_that_should_learn_needs_the_gradient(name: str, options: dict[str, Any], fix: str) -> None:
    (problem,) = told(name, options=options)
    assert "it also trains the model that gives the target" in problem.found
    assert "target_gradient: true" in problem.fix
    assert fix in problem.fix
    assert problem.where == "loss"
    assert told(name, options=options, target_gradient=True) == []


@pytest.mark.parametrize(
    ("name", "options", "fix"),
    [
        ("peer_kl", {}, "options: {detach: false}"),
        ("apprentice", {"alpha": 0}, "options: {detach: false}"),
        ("bounded_mse", {}, "another loss"),
    ],
)
def test_a_gradient_that_the_loss_stops_itself_is_no_promise(name: str, options: dict[str, Any], fix: str) -> None:
    (problem,) = told(name, options=options, target_gradient=True)
    assert "sends no gradient into its target" in problem.found
    assert fix in problem.fix
    assert problem.where == "target_gradient"
    assert told(name, options=options) == []


def test_most_losses_leave_it_to_the_match() -> None:
    for given_ in (True, False):
        assert told("kl", target_gradient=given_) == told("mse", "hidden", target_gradient=given_) == []


def test_two_vocabularies_need_two_encodings() -> None:
    (problem,) = told("uld")
    assert "different tokenizers" in problem.found
    assert told("uld", own_encoding=True) == []


LISTS = [entry for entry in ENTRIES if entry.arity]


@pytest.mark.parametrize("entry", LISTS, ids=key)
def test_taps_have_to_differ_where_one_alone_says_nothing(entry: Loss) -> None:
    """Of layers: where a single one is refused. A list of kinds is one of different kinds."""
    twice = engine_problems(entry, {}, sides=[("tap", ["logits", "logits"]), ("teacher", ["hidden:1", "hidden:2"])])
    repeated = [p for p in twice if "2 times" in p.asked]
    assert [p.where for p in repeated] == (["tap"] if entry.distinct else [])
    assert engine_problems(entry, {}, sides=[("tap", ["hidden:1", "hidden:2"])]) == []
    if entry.arity == "kinds":
        assert entry.distinct
        return
    at = given(entry)
    one = [[taps_of(side)[0]] for side in (at.student, at.teacher)]
    try:
        run = entry.build(*[[tuple(x.shape) for x in side] for side in one], {}) if entry.state else entry
        run(*one, mask=at.mask, **at.needs)
        refused = False
    except TextkdError:
        refused = True
    assert entry.distinct == refused


@pytest.mark.parametrize(
    ("match", "said"),
    [
        (Match("logits", loss="rocket", options={"block": False}), "it also trains the model that gives the target"),
        (Match("logits", loss="apprentice"), "it also trains the model that gives the target"),
        (Match("logits", loss="peer_kl", options={"detach": False}), "it also trains the model that gives the target"),
        (Match("logits", loss="uld"), "different tokenizers"),
        (Match(["logits", "logits"], loss="multi_exit"), "logits 2 times"),
        (Match(["query", "query"], loss="minilmv2"), "query 2 times"),
    ],
    ids=lambda value: value.loss if isinstance(value, Match) else "",
)
def test_a_match_that_promises_too_much_is_refused_by_its_words(match: Match, said: str) -> None:
    with pytest.raises(TextkdError, match=said) as caught:
        check_words([match], CLASSES)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].where.startswith("[0].")


def test_the_same_block_twice_is_found_where_the_models_are_known(tiny: Tiny) -> None:
    values = tiny.recipe | {"matches": [{"tap": "hidden", "loss": "kdsvd", "layers": {1: 4, 2: 4}}]}
    with pytest.raises(TextkdError, match="hidden:4 2 times"):
        build.from_recipe(tiny.write(values)).check()
