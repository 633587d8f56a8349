"""Layer maps, and how matches become pairs of taps of two models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_lab import Tiny, make_teacher
from torch import Tensor
from transformers import AutoModelForSequenceClassification, TrainingArguments

from textkd import Distiller, Match, TextkdError, shrink, tasks
from textkd.models.taps import anatomy
from textkd.objective.bind import bind
from textkd.objective.layer_maps import layer_map
from textkd.objective.match_checks import check_words
from textkd.objective.pair import Pair
from textkd.training.dry_run import check

CLASSES = "cross_entropy"


@pytest.mark.parametrize(
    ("spec", "student", "teacher", "pairs"),
    [
        ("uniform", 3, 12, [(1, 4), (2, 8), (3, 12)]),
        ("uniform", 4, 6, [(1, 2), (2, 3), (3, 4), (4, 6)]),
        ("uniform", 3, 6, [(1, 2), (2, 4), (3, 6)]),
        ("uniform", 2, 2, [(1, 1), (2, 2)]),
        ("first", 3, 12, [(1, 1), (2, 2), (3, 3)]),
        ("last", 3, 12, [(1, 10), (2, 11), (3, 12)]),
        ("skip", 3, 12, [(1, 4), (2, 8)]),
        ("middle", 3, 12, [(2, 8)]),
        ("middle", 1, 4, [(1, 4)]),
        ({1: 2, 3: 6}, 3, 6, [(1, 2), (3, 6)]),
        ([[1, 2], (1, 3)], 3, 6, [(1, 2), (1, 3)]),
        ({0: 0, -1: -1}, 3, 6, [(0, 0), (-1, -1)]),
    ],
)
def test_layer_maps(spec: Any, student: int, teacher: int, pairs: list[tuple[int, int]]) -> None:
    assert layer_map(spec, student, teacher) == pairs


@pytest.mark.parametrize(
    ("spec", "student", "words"),
    [
        ("unifrom", 3, "nearest: uniform"),
        ("uniform", 7, "7 blocks and a teacher of 6"),
        ("skip", 1, "no pair"),
        ({}, 3, "no pair"),
        ([[1, 2, 3]], 3, "not a pair"),
        (["12"], 3, "not a pair"),
        ([1], 3, "not a pair"),
        ({True: 2}, 3, "not a pair"),
        ({1: "2"}, 3, "not a pair"),
    ],
)
def test_bad_layer_maps(spec: Any, student: int, words: str) -> None:
    with pytest.raises(TextkdError, match=words):
        layer_map(spec, student, 6)


@pytest.fixture(scope="module")
def models() -> tuple[Any, Any]:
    """A student of 2 and a teacher of 4 blocks."""
    teacher = make_teacher()
    return {"student": anatomy(shrink(teacher, layers=[2, 4]))}, {"teacher": anatomy(teacher)}


def names(models: tuple[Any, Any], *matches: Match, label_loss: str = CLASSES) -> list[str]:
    return [pair.name for pair in bind(matches, *models, label_loss)]


@pytest.mark.parametrize(
    ("match", "pairs"),
    [
        (Match("labels"), ["labels/cross_entropy"]),
        (Match("logits"), ["logits/kl"]),
        (Match("hidden"), ["hidden:1<-2/mse", "hidden:2<-4/mse"]),
        (Match("hidden", layers={2: 3}), ["hidden:2<-3/mse"]),
        (Match("hidden", layers={0: 0, -1: -1}), ["hidden:0<-0/mse", "hidden:2<-4/mse"]),
        (Match("hidden:-1"), ["hidden:2<-4/mse"]),
        (Match("hidden:1", loss="cosine"), ["hidden:1<-1/cosine"]),
        (Match("attention", layers="last"), ["attention:1<-3/mse", "attention:2<-4/mse"]),
        (Match("scores:2"), ["scores:2<-2/mse"]),
        (Match("embeddings"), ["embeddings/mse"]),
        (Match("pooled"), ["pooled/mse"]),
        (Match(student="hidden:1", teacher="hidden:4"), ["hidden:1<-4/mse"]),
        (Match(student="hidden", teacher="ffn", layers="first"), ["hidden:1<-ffn:1/mse", "hidden:2<-ffn:2/mse"]),
        (
            Match(student="module:bert.encoder.layer.1.output.dense", teacher="hidden:4"),
            ["module:bert.encoder.layer.1.output.dense<-hidden:4/mse"],
        ),
    ],
)
def test_names_say_what_learns_from_what(models: tuple[Any, Any], match: Match, pairs: list[str]) -> None:
    assert names(models, match) == pairs


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "bce"])
def test_labels_take_the_loss_of_the_task(models: tuple[Any, Any], loss: str) -> None:
    assert names(models, Match("labels"), label_loss=loss) == [f"labels/{loss}"]
    assert names(models, Match("labels", loss=loss), label_loss=loss) == [f"labels/{loss}"]


def test_pairs_carry_weight_schedule_temperature_and_blocks(models: tuple[Any, Any]) -> None:
    schedule = {"kind": "linear", "start": 2, "end": 0}
    hidden, _, logits = bind(
        [Match("hidden", weight=3, schedule=schedule), Match("logits", temperature=4)], *models, CLASSES
    )
    assert (hidden.weight, hidden.schedule(0.5), hidden.blocks) == (3.0, 1.0, [(1, 2)])
    assert logits.temperature is not None
    assert (logits.temperature(0.3), logits.blocks, logits.schedule(0.9)) == (4.0, [], 1.0)


@pytest.mark.parametrize(
    ("matches", "words"),
    [
        ([], "nothing to learn from"),
        ([Match("logits"), Match("logits", weight=2)], '"logits/kl" twice'),
        ([Match("hidden", layers=[[1, 2], [1, 2]])], '"hidden:1<-2/mse" twice'),
        ([Match("hidden"), Match(student="hidden:-1", teacher="hidden:-1")], '"hidden:2<-4/mse" twice'),
        ([Match()], "neither `tap` nor"),
        ([Match("hidden:1", student="hidden:1", teacher="hidden:1")], "`tap` beside"),
        ([Match(student="hidden:1")], "only `student`"),
        ([Match(student="hidden:1", teacher="attention:1")], "hidden beside attention"),
        ([Match("hidden:1", layers={1: 2})], "names its block already"),
        ([Match("logits", layers="uniform")], "not one per block"),
        ([Match("labels", layers="uniform")], "not one per block"),
        ([Match(student="hidden", teacher="hidden:4", layers={1: 2})], "hidden has no block number"),
        ([Match(student="hidden:1", teacher="hidden")], "hidden has no block number"),
        ([Match(student="hidden", teacher="pooled", layers={1: 2})], "hidden has no block number"),
        ([Match("labels", loss="mse")], "the labels of this task are ids"),
        ([Match("hidden", temperature=2)], "has no temperature"),
        ([Match("logits", temperature=2, options={"temperature": 2})], "options.temperature"),
        ([Match("attention", projection="linear")], "no width"),
        ([Match("hidden", weight=float("nan"))], "not a positive number"),
        ([Match("hidden", weight=True)], "not a positive number"),
        ([Match("hidden", weight=1e39)], "float32 holds no gradient of such a size"),
        ([Match("hidden", weight=1e-300)], "a number from 1e-20 to 1e+20"),
    ],
)
def test_what_cannot_be_bound(models: tuple[Any, Any], matches: list[Match], words: str) -> None:
    with pytest.raises(TextkdError) as raised:
        bind(matches, *models, CLASSES)
    assert len(raised.value.problems) == 1
    assert words in str(raised.value)


def test_every_problem_of_every_match_at_once(models: tuple[Any, Any]) -> None:
    bad = [
        Match("hidden", loss="ms", weight=0, layers={1: 9}, schedule={"kind": "linaer"}, projection="liner"),
        Match("logits", loss="kll", temperature=0),
    ]
    with pytest.raises(TextkdError) as raised:
        bind(bad, *models, CLASSES)
    places = [p.where for p in raised.value.problems]
    assert len(places) == 7
    assert {place.partition(".")[0] for place in places} == {"[0]", "[1]"}
    with pytest.raises(TextkdError) as raised:
        check_words(bad, CLASSES)
    assert len(raised.value.problems) == 6  # whether block 9 is there only the models know


def test_without_a_teacher_only_labels_can_be_matched(models: tuple[Any, Any]) -> None:
    assert [p.name for p in bind([Match("labels")], models[0], {}, CLASSES)] == ["labels/cross_entropy"]
    with pytest.raises(TextkdError, match="there is no teacher"):
        bind([Match("logits")], models[0], {}, CLASSES)


def bound(student_width: int, *matches: Match) -> list[Pair]:
    ids = torch.randint(5, 20, (2, 6))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.zeros(2, dtype=torch.long)}
    return check(make_teacher(layers=2, hidden=student_width), make_teacher(), matches, batch, CLASSES)


def test_projections_come_where_widths_differ() -> None:
    assert {p.projection for p in bound(16, Match("hidden"))} == {None}
    assert {p.projection for p in bound(8, Match("hidden"))} == {"linear"}
    assert {p.projection for p in bound(16, Match("hidden", projection="tanh"))} == {"tanh"}
    assert {p.projection for p in bound(8, Match("attention"), Match("logits"))} == {None}
    with pytest.raises(TextkdError, match=r"\[2, 6, 8\]"):
        bound(8, Match("hidden", projection="none"))


def half_distance(student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, scale: float = 1.0) -> Tensor:
    """A user's own loss."""
    assert mask is not None
    return scale * ((student - teacher).abs().mean(-1) * mask).sum() / mask.sum()


@pytest.mark.long
def test_a_function_of_ones_own_distils_from_python(tiny: Tiny) -> None:
    teacher = AutoModelForSequenceClassification.from_pretrained(tiny.folder / "teacher")

    def distiller(folder: str = "run") -> Distiller:
        arguments = TrainingArguments(
            output_dir=str(tiny.folder / folder), num_train_epochs=1, per_device_train_batch_size=16, logging_steps=1
        )
        return Distiller(
            teacher,
            shrink(teacher, layers=[2, 4]),
            tasks.glue("sst2", path=tiny.folder / "data"),
            matches=[Match("labels"), Match("hidden", loss=half_distance, options={"scale": 0.5})],
            args=arguments,
            control=False,
        )

    result = distiller().run()
    assert result.report.is_file()
    history = result.summary, (tiny.folder / "run" / "results.json").read_text()
    assert "hidden:2<-4/half_distance" in history[1]
    assert set(result.metrics) == {"teacher", "student"}
    assert distiller().run().metrics == result.metrics  # the folder is known again as this run's
    both = {"student": anatomy(teacher)}, {"teacher": anatomy(teacher)}
    with pytest.raises(TextkdError, match="no such option"):
        bind([Match("hidden", loss=half_distance, options={"scal": 1})], *both, CLASSES)
