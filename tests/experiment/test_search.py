"""A search under a budget: what does not fit is not trained, the best of the short trainings go on, the chosen one ends
in a run of its own; what was tried is not tried again; a budget that nothing meets names the nearest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_lab import Tiny

import textkd
from textkd.errors import TextkdError
from textkd.experiment import search
from textkd.experiment.candidates import Budget, Candidate
from textkd.experiment.measured import Cost
from textkd.report.evidence import Point
from textkd.report.frontier import best
from textkd.report.results import load

OVER = {"student.shrink.n_layers": [1, 2, 3], "training.learning_rate": [1e-3, 1e-7]}


def searching(tiny: Tiny, **block: Any) -> Any:
    recipe = tiny.recipe
    recipe["student"] = {"shrink": {"layers": "uniform", "n_layers": 1}}
    recipe["search"] = {"budget": {"size_mb": 1}, "over": OVER, "steps": 2, **block}
    return textkd.from_recipe(tiny.write({**recipe, "control": False}))


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Costs are blocks, metrics better with blocks and a higher rate; the trainings that were asked for."""
    seen: list[tuple[str, int]] = []

    def cost(run: Any, place: Path, threads: int | None = None) -> Cost:
        blocks = run.start("student").config.num_hidden_layers
        return Cost(float(blocks), float(blocks))

    def train(self: Any, one: Candidate, rung: int, steps: int) -> float:
        seen.append((one.name, steps))
        return one.choice["student.shrink.n_layers"] / 10 + one.choice["training.learning_rate"] + steps / 1e4

    monkeypatch.setattr(search, "cost_of", cost)
    monkeypatch.setattr(search.Search, "_try", train)
    return seen


def explored(made: Any) -> None:
    made._read()
    made._explore()
    made._halve()


def test_what_fits_is_halved_until_one_is_left(tiny: Tiny, tried: list[tuple[str, int]]) -> None:
    made = searching(tiny, budget={"size_mb": 2, "threads": 1})
    explored(made)
    assert len(tried) == 4
    assert {steps for _, steps in tried} == {2}
    assert not any("n_layers 3" in name for name, _ in tried)
    assert made._best().choice == {"student.shrink.n_layers": 2, "training.learning_rate": 1e-3}
    again = searching(tiny, budget={"size_mb": 2, "threads": 1})
    explored(again)  # all is known
    assert len(tried) == 4
    wider = searching(tiny, budget={"latency_ms": 9})
    explored(wider)  # another budget: the costs are known, the third size is trained now, two are trained longer
    assert [name for name, steps in tried[4:] if steps == 2] == [
        "n_layers 3, learning_rate 0.001",
        "n_layers 3, learning_rate 1e-07",
    ]
    assert {steps for _, steps in tried[6:]} == {6}
    assert wider._best().choice["student.shrink.n_layers"] == 3


def test_what_is_wrong_with_the_first_candidate_names_the_search(tiny: Tiny) -> None:
    made = searching(tiny, over={"student.shrink.n_layers": [9, 2]})
    with pytest.raises(TextkdError, match=r"first candidate, which has student\.shrink\.n_layers: 9 of search\.over"):
        made.check()


@pytest.mark.long
def test_a_candidate_that_cannot_be_trained_stops_nothing(tiny: Tiny, tried: list[tuple[str, int]]) -> None:
    """Only its check sees it; a search that goes on looks at it again, for the reason may be gone."""
    recipe = {**tiny.recipe, "control": False, "student": {"shrink": {"layers": "uniform", "n_layers": 1}}}
    recipe["matches"] = [{"tap": "hidden", "loss": "mse", "layers": "uniform"}]
    over = {
        "student.shrink.n_layers": [1, 2],
        "training.learning_rate": [1e-3],
        "matches.0.layers": ["uniform", {"1": 9}],
    }
    recipe["search"] = {"budget": {"size_mb": 5}, "over": over, "steps": 2}
    for _ in range(2):
        made = textkd.from_recipe(tiny.write(recipe))
        explored(made)
        assert [one.choice["matches.0.layers"] == "uniform" for one in made.found.values() if one.refused] == [
            False
        ] * 2
        assert len(tried) == 2
    for one in made.found.values():
        one.fits, one.refused = False, "a full disk"
    made._explore()
    assert [one.refused for one in made.found.values()].count("") == 2
    recipe["search"]["over"] = {**over, "matches.0.layers": [{1: 9}], "student.shrink.n_layers": [3]}
    with pytest.raises(TextkdError, match=r"none of 1 candidates can be trained[\s\S]*9"):
        explored(searching_in(tiny, recipe))


def searching_in(tiny: Tiny, recipe: dict[str, Any]) -> Any:
    """The recipe beside another run folder."""
    recipe["training"] = {**recipe["training"], "output_dir": str(tiny.folder / "other")}
    return textkd.from_recipe(tiny.write(recipe))


def test_a_search_that_was_stopped_goes_on(
    tiny: Tiny, tried: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, train = searching(tiny), search.Search._try
    monkeypatch.setattr(search.Search, "_try", lambda *given: train(*given) if len(tried) < 3 else 1 / 0)
    made.budget = Budget(size_mb=3)
    with pytest.raises(ZeroDivisionError):
        explored(made)
    monkeypatch.setattr(search.Search, "_try", train)
    explored(searching(tiny, budget={"size_mb": 3}))
    assert len(tried) == len(set(tried))  # nothing twice
    assert len({name for name, _ in tried}) == 6


@pytest.mark.long
def test_of_a_large_space_optuna_asks_for_some(tiny: Tiny, tried: list[tuple[str, int]]) -> None:
    made = searching(tiny, trials=3, budget={"size_mb": 9})
    explored(made)
    assert len(made.found) == 3


@pytest.mark.long
def test_a_budget_that_nothing_meets_names_the_nearest(tiny: Tiny, tried: list[tuple[str, int]]) -> None:
    made = searching(tiny, budget={"latency_ms": 0.5})
    with pytest.raises(TextkdError, match=r"of 6 candidates none meets it; the nearest, n_layers 1.*, has 1\.00 ms"):
        explored(made)
    assert tried == []


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no budget": ({"budget": {}}, "search.budget"),
    "another budget": ({"budget": {"size_mb": 1, "flops": 5}}, "search.budget.flops"),
    "a budget of nothing": ({"budget": {"latency_ms": 0}}, "search.budget.latency_ms"),
    "half a thread": ({"budget": {"latency_ms": 1, "threads": 0.5}}, "search.budget.threads"),
    "more threads than cores": ({"budget": {"latency_ms": 1, "threads": 100_000}}, "search.budget.threads"),
    "artifacts that are not there": ({"over": {"artifacts.0.int8": ["", "dynamic"]}}, "search.over.artifacts.0.int8"),
    "nothing to choose": ({"over": {}}, "search.over"),
    "no values": ({"over": {"student.shrink.n_layers": []}}, "search.over.student.shrink.n_layers"),
    "a value twice": ({"over": {"training.weight_decay": [0.1, 0.1]}}, "search.over.training.weight_decay"),
    "the task": ({"over": {"task.subset": ["sst2"]}}, "search.over.task.subset"),
    "the teacher": ({"over": {"teacher.path": ["a"]}}, "search.over.teacher.path"),
    "a preset": ({"over": {"preset": ["hinton", "pkd"]}}, "search.over.preset"),
    "the seeds": ({"over": {"seeds": [[1]]}}, "search.over.seeds"),
    "a match that is not there": ({"over": {"matches.9.weight": [1]}}, "search.over.matches.9.weight"),
    "no trials": ({"trials": 0}, "search.trials"),
    "no steps": ({"steps": 0}, "search.steps"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_told_with_its_place(tiny: Tiny, what: str) -> None:
    block, where = BAD[what]
    with pytest.raises(TextkdError) as told:
        searching(tiny, **block)
    assert [one.where for one in told.value.problems] == [where]


def test_the_frontier_is_what_nothing_beats_in_both() -> None:
    def point(name: str, latency: float, metric: float | None) -> Point:
        return Point(name=name, latency_ms=latency, size_mb=1, metric=metric, steps=1, fits=True, chosen=False)

    points = [point("a", 1, 0.5), point("b", 2, 0.4), point("c", 3, 0.9), point("d", 3, 0.8), point("e", 0.5, None)]
    assert [one.name for one in best(points, rises=True)] == ["a", "c"]
    assert [one.name for one in best(points, rises=False)] == ["a", "b"]


@pytest.mark.long
def test_a_search_ends_in_a_run_with_its_frontier(tiny: Tiny) -> None:
    made = searching(tiny, over={"student.shrink.n_layers": [1, 2]}, budget={"latency_ms": 1e6})
    made.check()
    assert any("2 of 2 candidates" in line for line in made.plan())
    result = made.run()
    results = load(tiny.folder / "run")
    assert results.search is not None
    (chosen,) = [one for one in results.search.points if one.chosen]
    blocks = json.loads((result.student / "config.json").read_text())["num_hidden_layers"]
    assert chosen.name == f"n_layers {blocks}"
    assert "The search" in (tiny.folder / "run" / "report.html").read_text()
    assert not list(tiny.folder.glob("run-search-*"))
    trained = (result.student / "model.safetensors").stat().st_mtime_ns
    again = searching(tiny, over={"student.shrink.n_layers": [1, 2]}, budget={"latency_ms": 1e6})
    again.check()
    again.run()
    assert (result.student / "model.safetensors").stat().st_mtime_ns == trained
