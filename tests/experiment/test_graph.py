"""A graph of trainings as plain data: its order, what each training needs, and what cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from textkd import Match, Stage, TextkdError
from textkd.experiment.plan import Compared, Experiment, ModelSpec, Source, Training
from textkd.experiment.shorthand import Common, Link, Teacher, chain, classic, cohort

LABELS = (Stage([Match("labels")]),)
NOTHING = Source(lambda models, seed: None)


def model(name: str, *made_from: str) -> ModelSpec:
    return ModelSpec(name, Source(lambda models, seed: None, made_from))


def training(name: str, *reads: str, trains: Sequence[str] = (), **more: Any) -> Training:
    return Training(name, tuple(trains) or (name,), LABELS, reads, **more)


def graph(
    models: Sequence[ModelSpec], trainings: Sequence[Training], rows: Sequence[str] = (), **more: Any
) -> Experiment:
    named = {one.name: one for one in models}
    return Experiment("graph", {}, named, tuple(trainings), Compared(tuple(rows or named), next(iter(named))), **more)


def told(experiment: Experiment) -> str:
    return " | ".join(map(str, experiment.problems()))


def test_each_comes_after_what_it_needs_else_as_it_stands() -> None:
    models = [model("student", "assistant"), model("control", "assistant"), model("teacher"), model("assistant")]
    trainings = [
        training("control"),
        training("student", "assistant", "teacher"),
        training("apart", trains=["other"]),
        training("teacher"),
        training("assistant", "teacher"),
    ]
    made = graph([*models, model("other")], trainings)
    assert [one.name for one in made.order()] == ["apart", "teacher", "assistant", "control", "student"]
    assert made.problems() == []


def test_a_training_needs_what_it_reads_what_it_is_made_from_and_whose_steps_it_makes() -> None:
    models = [model("student", "body"), model("teacher"), model("body"), model("given"), model("control", "body")]
    control = training("control", steps_of="student")
    trainings = [training("student", "teacher", "given"), training("teacher"), training("body"), control]
    made = graph(models, trainings)
    assert made.needs(made.training("student")) == ["teacher", "body"]  # nobody trains `given`
    assert made.needs(control) == ["body", "student"]
    assert made.needs(made.training("teacher")) == []
    assert made.trainer_of("given") is None
    assert made.trainer_of("student") is trainings[0]


def test_nodes_are_trainings_seed_by_seed_and_one_of_a_seed_of_its_own_is_there_once() -> None:
    made = graph(
        [model("teacher"), model("student")],
        [training("teacher", seed=7), training("student", "teacher")],
        seeds=(1, 2),
    )
    assert [(node.name, node.seed) for node in made.nodes()] == [("teacher", 7), ("student", 1), ("student", 2)]


def test_a_circle_is_told_whole() -> None:
    names = ["a", "b", "c"]
    trainings = [training("a", "c"), training("b", "a"), training("c", "b"), training("apart", trains=["d"])]
    made = graph([model(name) for name in [*names, "d"]], trainings)
    with pytest.raises(TextkdError, match="a circle: ") as caught:
        made.order()
    found = str(caught.value)
    shown = found.partition("a circle: ")[2].splitlines()[0].split(" <- ")
    assert set(shown) == set(names)
    assert shown[0] == shown[-1]
    assert len(shown) == 4
    assert "a circle: " in told(made)


def test_models_made_from_each_other_are_a_circle() -> None:
    made = graph([model("a", "b"), model("b", "a")], [training("a"), training("b")])
    assert "a circle: " in told(made)


def test_a_name_that_nobody_makes_is_told_with_the_nearest() -> None:
    cases = {
        "the training student reads techer": graph(
            [model("student"), model("teacher")], [training("student", "techer")]
        ),
        "the training x trains studnt": graph([model("student"), model("teacher")], [training("x", trains=["studnt"])]),
        "student is made from techer": graph([model("student", "techer"), model("teacher")], [training("student")]),
        "the report shows studnet": graph([model("student"), model("teacher")], [training("student")], ["studnet"]),
    }
    for asked, made in cases.items():
        (found,) = made.problems()
        assert found.asked == asked
        assert "nobody makes it; the models are student, teacher" in found.found
        assert found.nearest[0] in ("student", "teacher"), asked


def test_a_model_trained_twice() -> None:
    made = graph([model("student")], [training("one", trains=["student"]), training("two", trains=["student"])])
    assert "the model student" in told(made)
    assert "trained by one and by two" in told(made)


def test_two_trainings_of_one_name() -> None:
    made = graph([model("a"), model("b")], [training("one", trains=["a"]), training("one", trains=["b"])])
    assert "the training one" in told(made)
    assert "another training has this name" in told(made)


def test_a_training_that_reads_what_it_trains() -> None:
    made = graph([model("a"), model("b")], [training("both", "b", trains=["a", "b"])])
    assert "both reads b, which it trains" in told(made)


def test_a_training_that_trains_nothing() -> None:
    made = graph([model("a")], [Training("empty", (), LABELS)])
    assert "no model learns in it" in told(made)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    trainings = [training("one", "nobody", trains=["a"]), training("two", "a", trains=["a"])]
    assert len(graph([model("a")], trainings, ["a", "neither"]).problems()) == 4


# -- shorthands ------------------------------------------------------------------------------------------------------

COMMON = Common("name", None, {}, LABELS)
TEACHERS = {"teacher": Teacher(NOTHING)}


def links(*names: str) -> list[Link]:
    return [Link(name, lambda before: Source(lambda models, seed: None, (before,))) for name in names]


@pytest.mark.parametrize(
    ("names", "place", "said"),
    [
        ([], "chain", "no link"),
        (["a", "teacher"], "chain[1].name", "the chain would end where it began"),
        (["a", "b", "a"], "chain[2].name", "another link has this name"),
        (["control"], "chain[0].name", "the report keeps this name for the student that is trained without a teacher"),
        (["a/b"], "chain[0].name", "letters, digits"),
    ],
)
def test_a_chain_that_cannot_be(names: list[str], place: str, said: str) -> None:
    with pytest.raises(TextkdError, match=said) as caught:
        chain(COMMON, TEACHERS, links(*names), Path("kept"))
    assert [problem.where for problem in caught.value.problems] == [place]


def test_a_chain_teaches_link_by_link() -> None:
    made = chain(COMMON, TEACHERS, links("four", "two"), Path("kept"))
    assert made.problems() == []
    assert [(one.name, one.reads) for one in made.order()] == [
        ("four", ("teacher",)),
        ("two", ("four",)),
        ("control", ()),
    ]
    assert made.needs(made.training("control")) == ["four"]  # made of the same blocks as its student
    assert made.report == Compared(("teacher", "four", "two", "control"), "two", "teacher", "control")
    assert [one.kept for one in made.trainings] == [Path("kept"), None, None]


@pytest.mark.parametrize("count", [0, 1])
def test_a_cohort_of_one(count: int) -> None:
    with pytest.raises(TextkdError, match=f"a cohort of {count}(.|\n)*nobody to learn from(.|\n)*size: 2"):
        cohort(COMMON, {f"peer_{i}": NOTHING for i in range(count)})


def test_a_cohort_is_one_training_and_its_control_is_one_of_them_alone() -> None:
    made = cohort(COMMON, {"a": NOTHING, "b": NOTHING, "c": NOTHING}, "in_turn")
    together, control = made.trainings
    assert (together.trains, together.reads, together.update) == (("a", "b", "c"), (), "in_turn")
    assert (control.trains, control.reads, control.update) == (("control",), (), "together")
    assert made.report == Compared(("a", "b", "c", "control"), "a", "", "control")


@pytest.mark.parametrize("name", ["student", "control"])
def test_a_teacher_with_the_name_of_another_model(name: str) -> None:
    with pytest.raises(TextkdError, match=f"a teacher named {name}"):
        classic(COMMON, {name: Teacher(NOTHING)}, NOTHING)


@pytest.mark.parametrize("name", ["teacher", "control"])
def test_a_peer_with_the_name_of_another_model(name: str) -> None:
    with pytest.raises(TextkdError, match=f"a student named {name}"):
        cohort(COMMON, {name: NOTHING, "b": NOTHING}, teachers=TEACHERS)
