"""The series behind the plots."""

from __future__ import annotations

import math

import pytest
from report_fakes import results, run

from textkd.report import curves
from textkd.report.model_result import Run


def made(rows: list[dict[str, object]]) -> Run:
    return Run.model_validate({**run(1, 0.5), "history": rows})


def test_stages_that_count_from_zero_follow_each_other():
    one = made(
        [
            {"step": 10, "stage": 1, "loss": 3.0},
            {"step": 20, "stage": 1, "loss": 2.0},
            {"step": 10, "stage": 2, "loss": 1.0},
        ]
    )
    assert curves.total_loss(one) == [(10, 3.0), (20, 2.0), (30, 1.0)]
    assert curves.timeline(one).stage_starts == [20]


def test_stages_that_go_on_counting_are_left_alone():
    one = made(
        [
            {"step": 10, "stage": 1, "loss": 3.0},
            {"step": 20, "stage": 2, "loss": 2.0},
            {"step": 30, "stage": 2, "loss": 1.0},
        ]
    )
    assert curves.total_loss(one) == [(10, 3.0), (20, 2.0), (30, 1.0)]
    assert curves.timeline(one).stage_starts == [10]


def test_every_named_part_is_drawn_in_its_family():
    families = curves.loss_parts(results().models["student"].runs[0])
    assert {name: len(parts) for name, parts in families.items()} == {
        "hidden/mse": 4, "attention/mse": 3, "hidden/cosine": 3, "labels/cross_entropy": 1, "logits/kl": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("part", "family", "short"),
    [
        ("hidden:1<-2/mse", "hidden/mse", "1 ← 2"),
        ("logits/kl", "logits/kl", "logits"),
        ("odd", "odd", "odd"),
        ("module:encoder.layer.1.output.dense<-hidden:6/mine", "module/mine", "…ayer.1.output.dense ← hidden:6"[-26:]),
    ],
)
def test_names_of_parts(part, family, short):
    assert curves.family(part) == family
    shown = curves.short(part)
    assert len(shown) <= 26
    assert shown[1:] == short[1:]


def test_evaluations_with_and_without_the_trainers_prefix():
    one = made([{"step": 1, "eval": {"eval_mcc": 0.1}}, {"step": 2, "loss": 1.0}, {"step": 3, "eval": {"mcc": 0.3}}])
    assert curves.evaluations(one, "mcc") == [(1, 0.1), (3, 0.3)]


def test_the_mean_stands_only_where_every_seed_was_evaluated():
    model = results().models["student"]
    first = made([{"step": 1, "eval": {"a": 0.2}}, {"step": 2, "eval": {"a": 0.4}}])
    second = made([{"step": 2, "eval": {"a": 0.8}}])
    assert curves.mean_evaluations(model.model_copy(update={"runs": [first, second]}), "a") == [(2, pytest.approx(0.6))]


def test_long_series_are_averaged_not_sampled():
    series = [(float(i), 100.0 if i == 777 else 0.0) for i in range(2000)]
    short = curves.thinned(series)
    assert len(short) <= curves.POINTS
    assert sum(y for _, y in short) == pytest.approx(100 / 7)
    assert curves.thinned(series[:300]) == series[:300]


def test_values_that_are_not_numbers_are_left_out_of_the_lines():
    one = made([{"step": 1, "loss": math.nan, "parts": {"logits/kl": math.inf}}, {"step": 2, "loss": 1.0}])
    assert curves.total_loss(one) == [(2, 1.0)]
    assert curves.loss_parts(one) == {}


def test_logarithmic_only_for_wide_ranges_above_zero():
    assert curves.wide([[(0, 0.1), (1, 2.1)]])
    assert not curves.wide([[(0, 0.1), (1, 1.9)]])
    assert not curves.wide([[(0, 0.0), (1, 50.0)]])
    assert not curves.wide([])
