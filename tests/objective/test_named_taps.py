"""Which models a match means, and what its pairs are called."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_lab import Tiny, make_teacher

from textkd import Match, TextkdError, wire
from textkd.config import build
from textkd.models.taps import anatomy
from textkd.objective.bind import bind
from textkd.objective.combine import Combination
from textkd.objective.objective import Objective

CLASSES = "cross_entropy"
SMALL, LARGE = anatomy(make_teacher(2)), anatomy(make_teacher(4))
# (the models that learn, the models that are only read)
ONE = ({"student": SMALL}, {"teacher": LARGE})
NO_TEACHER: Any = ({"student": LARGE}, {})
TEACHERS = ({"student": SMALL}, {"big": LARGE, "other": LARGE})
PEERS: Any = ({"peer_1": SMALL, "peer_2": SMALL}, {})
TAUGHT_PEERS = ({"peer_1": SMALL, "peer_2": SMALL}, {"teacher": LARGE})
THREE: Any = ({name: SMALL for name in ("peer_1", "peer_2", "peer_3")}, {})
LABELS = Match("labels")


def names(models: Any, *matches: Match) -> list[str]:
    return [pair.name for pair in bind(matches, *models, CLASSES)]


@pytest.mark.parametrize(
    ("models", "match", "expected"),
    [
        # one teacher: nobody is named
        (ONE, Match("logits"), ["logits/kl"]),
        (ONE, Match("logits", from_="teacher"), ["logits/kl"]),
        (ONE, Match(student="student/hidden:1", teacher="teacher/hidden:3"), ["hidden:1<-3/mse"]),
        (ONE, Match("hidden", layers={1: 3}), ["hidden:1<-3/mse"]),
        # a model that learns from itself is named, for it is not the one that would be meant
        (ONE, Match(student="hidden:1", teacher="student/hidden:2"), ["hidden:1<-student/hidden:2/mse"]),
        (NO_TEACHER, Match("hidden", layers={1: 4}, from_="student"), ["hidden:1<-student/hidden:4/mse"]),
        # several teachers
        (TEACHERS, Match("labels"), ["labels/cross_entropy"]),
        (TEACHERS, Match("logits", from_="other"), ["logits<-other/kl"]),
        (TEACHERS, Match(student="logits", teacher="other/logits"), ["logits<-other/kl"]),
        (TEACHERS, Match("hidden", from_="big"), ["hidden:1<-big/hidden:2/mse", "hidden:2<-big/hidden:4/mse"]),
        (TEACHERS, Match(student="hidden:1", teacher="big/ffn:3"), ["hidden:1<-big/ffn:3/mse"]),
        (TEACHERS, Match("logits", from_=["big", "other"], combine="gate"), ["logits<-big+other/kl"]),
        (TEACHERS, Match(["query", "key", "value"], loss="relation", from_="big", layers={2: 4}),
         ["query:2<-big/query:4/relation", "key:2<-big/key:4/relation", "value:2<-big/value:4/relation"]),
        (TEACHERS, Match("hidden", loss="mgskd_tokens", from_="big", layers={2: 4}),
         ["hidden:2<-big/hidden:4/mgskd_tokens"]),
        # peers: all learn, but for the one that is learnt from
        (PEERS, Match(student="peer_2/logits", teacher="peer_1/logits"), ["peer_2/logits<-peer_1/kl"]),
        (PEERS, Match("logits", from_="peer_2"), ["peer_1/logits<-peer_2/kl"]),
        (PEERS, Match("hidden:1", from_="peer_1"), ["peer_2/hidden:1<-peer_1/hidden:1/mse"]),
        (THREE, Match("logits", from_="peer_2"), ["peer_1/logits<-peer_2/kl", "peer_3/logits<-peer_2/kl"]),
        (THREE, Match("logits", from_=["peer_1", "peer_2"], combine="mean_logits"),
         ["peer_3/logits<-peer_1+peer_2/kl"]),
        # from the mean of all of them each learns
        (PEERS, Match("logits", from_=["peer_1", "peer_2"], combine="mean_probabilities"),
         ["peer_1/logits<-peer_1+peer_2/kl", "peer_2/logits<-peer_1+peer_2/kl"]),
        (TAUGHT_PEERS, Match("logits"), ["peer_1/logits<-teacher/kl", "peer_2/logits<-teacher/kl"]),
        (TAUGHT_PEERS, Match("hidden:-1"),
         ["peer_1/hidden:2<-teacher/hidden:4/mse", "peer_2/hidden:2<-teacher/hidden:4/mse"]),
    ],
)  # fmt: skip
def test_a_match_means_models_and_its_pairs_say_which(models: Any, match: Match, expected: list[str]) -> None:
    labels = [name for name in names(models, LABELS) if match != LABELS]
    assert names(models, *([] if match == LABELS else [LABELS]), match) == [*labels, *expected]


def test_the_names_of_all_pairs_differ() -> None:
    """Also where they differ in the model alone."""
    matches = [LABELS, Match("hidden", from_="big"), Match("hidden", from_="other"), Match("logits", from_="big"),
               Match("logits", from_="other"), Match(student="hidden:1", teacher="student/hidden:2"),
               Match("logits", from_=["other", "big"], combine="mean_logits")]  # fmt: skip
    found = names(TEACHERS, *matches)
    assert len(set(found)) == len(found) == 9


def test_a_pair_says_whose_taps_it_reads() -> None:
    pairs = bind([LABELS, Match("hidden", from_="other"), Match("logits", from_=["big", "other"], combine="gate")],
                 *TEACHERS, CLASSES)  # fmt: skip
    one = Objective(pairs)
    assert one.reads("student") == ["logits", "hidden:1", "hidden:2"]
    assert one.reads("big") == ["logits"]
    assert one.reads("other") == ["hidden:2", "hidden:4", "logits"]
    assert [pair.models for pair in pairs] == [(), ("other",), ("other",), ("big", "other")]
    assert one.learning == {"student"}
    assert [pair.blocks for pair in pairs] == [[], [(1, 2)], [(2, 4)], []]


def test_each_peer_has_an_objective_of_its_own() -> None:
    pairs = bind([LABELS, Match("logits", from_="peer_1"), Match("logits", from_="peer_2")], *PEERS, CLASSES)
    own = Objective(pairs).by_source(["peer_1", "peer_2"])
    assert [[pair.name for pair in one.pairs] for one in own] == [
        ["peer_1/labels/cross_entropy", "peer_1/logits<-peer_2/kl"],
        ["peer_2/labels/cross_entropy", "peer_2/logits<-peer_1/kl"],
    ]
    assert [one.learning for one in own] == [{"peer_1"}, {"peer_2"}]


@pytest.mark.parametrize(
    ("models", "match", "said"),
    [
        (TEACHERS, Match("logits"),
         ["[0].from: asked: a teacher's logits", "there are several teachers: big, other",
          "fix: add from: big to the match"]),
        (TEACHERS, Match("logits", from_="bigg"), ["[0].from: asked: the model \"bigg\"", "nearest: big"]),
        (TEACHERS, Match(student="hidden:1", teacher="othr/hidden:1"), ['[0].teacher: asked: the model "othr"',
                                                                         "nearest: other"]),
        (TEACHERS, Match(student="studnt/hidden:1", teacher="big/hidden:1"), ['[0].student: asked: the model "studnt"',
                                                                               "nearest: student"]),
        (TEACHERS, Match(student="big/hidden:1", teacher="student/hidden:1"),
         ["big as the one that learns", "it is only read", "fix: a tap of student"]),
        (TEACHERS, Match("logits", from_=["big", "other"]), ["[0].combine", "combine is missing"]),
        (TEACHERS, Match("big/logits"), ["a tap of both sides cannot be of one model", "with from: MODEL"]),
        (TEACHERS, Match(student="logits", teacher="big/logits", from_="big"), ["both name a model"]),
        (TEACHERS, Match("labels", from_="big"), ["[0].from", "labels are those of the data"]),
        (TEACHERS, Match("pooled", from_="big", target_gradient=True),
         ["[0].target_gradient", "big is frozen here", "fix: leave target_gradient out"]),
        (ONE, Match("labels", target_gradient=True), ["[0].target_gradient"]),
        (ONE, Match("logits", from_="student"), ["student/logits <- student/logits", "learns from itself"]),
        (NO_TEACHER, Match("logits"), ["there is no teacher", "only {tap: labels}"]),
        (PEERS, Match("logits"), ["none of peer_1, peer_2 is named", "fix: from: peer_2"]),
        (PEERS, Match(student="peer_1/logits", teacher="logits"), ["none of peer_2 is named", "fix: from: peer_2"]),
        (PEERS, Match(student="peer_1/logits", teacher="peer_1/logits"), ["learns from itself"]),
        (PEERS, Match("logits", from_="teacher"), ["this training has peer_1, peer_2"]),
        (TAUGHT_PEERS, Match(student=["peer_1/query:1", "peer_2/key:1"], teacher=["query:1", "key:1"]),
         ["taps of different kinds or sides in one list"]),
    ],
)  # fmt: skip
def test_what_nobody_could_mean_is_refused_with_the_fix(models: Any, match: Match, said: list[str]) -> None:
    with pytest.raises(TextkdError) as raised:
        names(models, match)
    assert all(words in str(raised.value) for words in said), str(raised.value)
    assert len(raised.value.problems) == 1


def test_a_model_that_nobody_teaches_is_told() -> None:
    with pytest.raises(TextkdError, match=r"peer_2 as a model that learns\n.*no match teaches it"):
        names(PEERS, Match("logits", from_="peer_2"))
    assert names(PEERS, Match("logits", from_="peer_2", target_gradient=True)) == ["peer_1/logits<-peer_2/kl"]


@pytest.mark.parametrize(
    ("trained", "frozen", "said"),
    [
        (["a"], ["a"], 'a model called "a"\n  found: one that learns and one that is only read'),
        (["a/b"], ["c"], 'a model called "a/b"\n  found: no name of a model'),
        (["a"], [""], 'a model called ""'),
        (["a", "b.c"], [], 'a model called "b.c"'),
    ],
)
def test_names_that_cannot_be(trained: list[str], frozen: list[str], said: str) -> None:
    with pytest.raises(TextkdError) as raised:
        names(({name: SMALL for name in trained}, {name: LARGE for name in frozen}), LABELS)
    assert said in str(raised.value)


IDS = torch.arange(4 * 6).view(4, 6) % 16 + 5
BATCH = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "labels": IDS[:, 0] % 2}


def test_a_teacher_that_nobody_asks_is_not_run() -> None:
    teachers = {"big": make_teacher(), "other": make_teacher(2)}
    runs: list[str] = []
    for name, model in teachers.items():
        model.register_forward_pre_hook(lambda *_, name=name: runs.append(name))
    wired = wire(make_teacher(2), teachers, [LABELS, Match("logits", from_="other")], BATCH)
    assert list(wired.frozen.teachers) == ["other"]
    wired.loss(wired.learners.module, BATCH)
    assert set(runs) == {"other"}
    wired.close()


def test_columns_of_its_own_are_what_a_model_reads_and_is_masked_by() -> None:
    """A model with a vocabulary of its own has ids and masks of its own, of another length."""
    ids = torch.arange(4 * 9).view(4, 9) % 16 + 5
    mask = (torch.arange(9) < torch.tensor([[9], [4], [7], [2]])).long()
    batch = {**BATCH, "student/input_ids": ids, "student/attention_mask": mask}
    student, teacher = make_teacher(2), make_teacher(4)
    wired = wire(student, teacher, [Match("logits"), Match(student="hidden:2", teacher="student/hidden:1")], batch)
    assert wired.objective.items(batch).tolist() == [4, 22]
    _, parts, _ = wired.loss(student, batch)
    wired.close()
    with torch.no_grad():
        own = student(ids, mask, output_hidden_states=True)
        other = teacher(IDS, BATCH["attention_mask"])
    p, q = (logits.softmax(-1) for logits in (other.logits, own.logits))
    assert parts["logits/kl"].item() == pytest.approx((p * (p / q).log()).sum(-1).mean().item(), rel=1e-4)
    difference = (own.hidden_states[2] - own.hidden_states[1])[mask.bool()]
    assert parts["hidden:2<-student/hidden:1/mse"].item() == pytest.approx(difference.square().mean().item(), rel=1e-4)


@pytest.mark.long
def test_a_recipe_writes_the_same(tiny: Tiny) -> None:
    values = tiny.recipe
    teacher = values.pop("teacher")
    values["teachers"] = {"big": teacher, "other": teacher}
    values["matches"] = [
        {"tap": "labels"},
        {"tap": "logits", "from": ["big", "other"], "combine": "mean_probabilities", "weights": [3, 1]},
        {"tap": "hidden", "from": "big", "layers": {1: 2}},
        {"student": "hidden:2", "teacher": "other/hidden:4"},
    ]
    made = build.from_recipe(tiny.write(values))
    made.check()
    pairs = made.bound[0].pairs
    assert [pair.name for pair in pairs] == [
        "labels/cross_entropy", "logits<-big+other/kl", "hidden:1<-big/hidden:2/mse", "hidden:2<-other/hidden:4/mse",
    ]  # fmt: skip
    assert pairs[1].combine == Combination("mean_probabilities", (0.75, 0.25))
    values["matches"][2]["from"] = "bigg"
    with pytest.raises(TextkdError, match=r"matches\[2\].from: asked: the model \"bigg\""):
        build.from_recipe(tiny.write(values)).check()
    del values["matches"][2]["from"]
    with pytest.raises(TextkdError, match=r"matches\[2\].from: asked: a teacher's hidden"):
        build.from_recipe(tiny.write(values)).check()
