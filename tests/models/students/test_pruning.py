"""From a target to widths: counts that plain transformers makes, too, a schedule by its formula, what cannot be met."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import transformers as hf
from second_proofs import but_few
from tiny_readers import reader
from tiny_teachers import LABELS, TEXT, make
from torch.utils.flop_counter import FlopCounterMode

from textkd.errors import TextkdError
from textkd.models.students import shrink
from textkd.models.students.cost import macs, parameters, skeleton
from textkd.models.students.pruning import kinds_of, sparsity, widths_of

TEXTS = ("bert", "roberta", "distilbert", "electra")
LARGE = {"num_attention_heads": 4, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
DISTIL = {"n_heads": 4, "dim": 64, "hidden_dim": 128, "n_layers": 2}
HEADS = {"bert": LARGE, "roberta": LARGE, "electra": LARGE, "distilbert": DISTIL}


def count(model: Any, config: Any) -> float:
    return parameters(skeleton(model, config))


def half(whole: float) -> float:
    return whole / 2


def test_the_cubic_schedule_is_that_of_the_paper() -> None:
    """s_t = s_f + (s_i - s_f) (1 - t / n)^3, written out."""
    for rounds in (1, 2, 4, 7):
        for t in range(rounds + 1):
            gone = 3 * (t / rounds) - 3 * (t / rounds) ** 2 + (t / rounds) ** 3
            assert sparsity("cubic", t, rounds) == pytest.approx(gone, abs=1e-12)
            assert sparsity("linear", t, rounds) == pytest.approx(t / rounds)
            assert sparsity("one_shot", t, rounds) == (t > 0)


@pytest.mark.parametrize("kind", but_few(TEXTS, "bert"))
def test_parameters_of_a_target_are_those_of_the_student(kind: str) -> None:
    """The sizes are those of the schedule, every round is narrower, and the next larger sizes would miss the target."""
    teacher = make(kind, **HEADS[kind])
    found = widths_of(teacher, ["ffn", "heads"], half, partial(count, teacher), "cubic", 3)
    assert found.before == teacher.num_parameters()
    wanted = found.before / 2
    for widths, cost in zip(found.widths, found.costs, strict=True):
        assert shrink(teacher, by="magnitude", **widths).num_parameters() == cost
    last = found.widths[-1]
    larger = shrink(teacher, by="magnitude", **{**last, "ffn": last["ffn"] + 8}).num_parameters()
    assert found.costs[-1] <= wanted < larger
    for before, after in zip(found.widths, found.widths[1:], strict=False):
        assert all(after[name] <= width for name, width in before.items())
    for number, cost in enumerate(found.costs, 1):
        assert found.before - cost >= (found.before - found.costs[-1]) * sparsity("cubic", number, 3)


HEADED = [
    (hf.AutoModelForSequenceClassification, "bert"), (hf.AutoModelForTokenClassification, "bert"),
    *((hf.AutoModelForSequenceClassification, kind) for kind in TEXTS[1:]), (hf.AutoModel, "electra"),
    (hf.AutoModelForTokenClassification, "distilbert"), (hf.AutoModel, "roberta"), (hf.AutoModelForMaskedLM, "bert"),
]  # fmt: skip


@pytest.mark.parametrize(("auto", "kind"), but_few(HEADED, HEADED[0], HEADED[1], HEADED[4]))
def test_macs_are_half_of_what_torch_counts(auto: Any, kind: str) -> None:
    model = make(kind, auto)
    model.set_attn_implementation("eager")  # of which torch counts all products
    for length in (1, 9):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(input_ids=torch.full((1, length), 5))
        assert macs(model, length) == counter.get_total_flops() / 2


def test_a_target_of_macs_is_met() -> None:
    teacher = make("bert", **LARGE)
    found = widths_of(teacher, ["ffn", "heads"], half, lambda config: macs(skeleton(teacher, config), 12))
    student = shrink(teacher, by="magnitude", **found.widths[0])
    student.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        student(input_ids=torch.full((1, 12), 5))
    assert counter.get_total_flops() / 2 == found.costs[0] <= macs(teacher, 12) / 2


@pytest.mark.long
@pytest.mark.parametrize("kinds", ["ffn", "encoder_ffn", "ffn encoder_heads"])
def test_sides_of_a_reader_are_pruned_alike(kinds: str) -> None:
    teacher = reader("untied")
    whole = teacher.num_parameters()
    found = widths_of(teacher, kinds.split(), whole * 0.95, partial(count, teacher))
    student = shrink(teacher, by="magnitude", **found.widths[0])
    assert student.num_parameters() == found.costs[0] <= whole * 0.95
    assert set(found.widths[0]) == set(kinds_of(teacher, kinds.split()))
    assert ("decoder_ffn" in found.widths[0]) == ("ffn" in kinds.split())


def test_one_at_a_time_is_as_fine_as_its_steps() -> None:
    teacher = make("bert", **LARGE)
    for kind, step in (("heads", 1), ("hidden", 8), ("ffn", 8)):
        found = widths_of(teacher, [kind], lambda whole: whole * 0.8, partial(count, teacher))
        more = {kind: found.widths[0][kind] + step}
        assert found.costs[0] <= found.before * 0.8 < shrink(teacher, by="magnitude", **more).num_parameters()


@pytest.mark.parametrize(("kind", "kinds", "target", "said"), [
    ("bert", ["ffn"], 10**9, ["the student has", "less than"]),
    ("bert", ["ffn"], 100, ["the least that pruning reaches is", "(ffn 8)", "kind: [ffn, heads]", "fewer blocks"]),
    ("bert", ["ffn", "heads"], 100, ["(ffn 8, heads 1)", "fewer words"]),
    ("albert", ["ffn"], 100, ["albert", "pruned can be: bert"]),
    ("modernbert", ["heads"], 100, ["modernbert"]),
    ("bert", ["decoder_ffn"], 100, ["no sides", "fix: ffn"]),
])  # fmt: skip
def test_what_cannot_be_met_says_the_best_that_can(kind: str, kinds: list[str], target: int, said: list[str]) -> None:
    model = make(kind)
    with pytest.raises(TextkdError) as caught:
        widths_of(model, kinds, target, partial(count, model), more=", or fewer words")
    assert len(caught.value.problems) == 1
    assert [text for text in said if text not in str(caught.value)] == []
    if "least" in said[0]:
        least = int(str(caught.value).split("reaches is ")[1].split(" ")[0].replace(",", ""))
        assert shrink(model, ffn=8).num_parameters() == least


@pytest.mark.long
def test_a_width_that_this_architecture_cannot_have_is_passed_over() -> None:
    """ELECTRA without a projection behind its embeddings: a stream as wide as these."""
    config = hf.ElectraConfig(**{**TEXT, **LARGE}, **LABELS, embedding_size=48)
    model = hf.ElectraForSequenceClassification(config)
    whole = model.num_parameters()
    for share in (0.9, 0.8, 0.7, 0.6, 0.5):
        widths = widths_of(model, ["hidden"], whole * share, partial(count, model)).widths[0]
        assert widths["hidden"] != 48
