"""Schedules: values by formula, and every wrong spec told with a fix."""

import math
import pickle

import pytest

from textkd.errors import TextkdError
from textkd.objective.schedules import NAMES, Schedule, jump_at_step, linear_per_step


def at(spec, *points):
    schedule = Schedule.parse(spec)
    return [schedule(point) for point in points]


def problems(spec, **arguments):
    with pytest.raises(TextkdError) as caught:
        Schedule.parse(spec, **arguments)
    return caught.value.problems


@pytest.mark.parametrize("spec", [3, 3.0, {"kind": "constant", "value": 3}])
def test_constant(spec):
    assert at(spec, 0, 0.5, 1) == [3.0, 3.0, 3.0]


def test_linear():
    assert at({"kind": "linear"}, 0, 0.25, 1) == [1.0, 0.75, 0.0]
    assert at({"kind": "linear", "start": 4, "end": 1}, 0, 0.5, 1) == [4.0, 2.5, 1.0]  # FitNets
    assert at({"kind": "linear", "begin": 0.2, "until": 0.6}, 0.1, 0.2, 0.4, 0.6, 0.9) == pytest.approx(
        [1, 1, 0.5, 0, 0]
    )


def test_cosine():
    assert at({"kind": "cosine"}, 0, 0.25, 0.5, 1) == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, 0])


def test_ramps():
    assert at({"kind": "ramp_up", "until": 0.5}, 0, 0.25, 0.5, 1) == pytest.approx(
        [math.exp(-5), math.exp(-1.25), 1, 1]
    )
    assert at({"kind": "ramp_up", "begin": 0.5}, 0.4) == [0.0]
    assert at({"kind": "ramp_down"}, 0, 0.5, 1) == pytest.approx([1, math.exp(-3.125), math.exp(-12.5)])


def test_step():
    assert at({"kind": "step"}, 0.49, 0.5) == [1.0, 0.0]
    assert at({"kind": "step", "values": [4, 2, 1], "at": [0.3, 0.6]}, 0, 0.3, 0.59, 0.6, 1) == [4, 2, 2, 1, 1]
    assert at({"kind": "step", "values": [4, 2], "at": 0.3}, 0.2, 0.4) == [4, 2]


def test_stop_at():
    assert at({"kind": "stop_at", "at": 0.7}, 0, 0.699, 0.7, 1) == [1, 1, 0, 0]
    assert at({"kind": "stop_at", "at": 0.7, "end": 0.1}, 1) == [0.1]


FULL = [
    {"kind": k, **({"value": 2.0} if k == "constant" else {}), **({"at": 0.5} if k == "stop_at" else {})} for k in NAMES
]


@pytest.mark.parametrize("spec", FULL, ids=lambda spec: spec["kind"])
def test_every_kind_stays_within_its_values_and_survives_spec_and_pickle(spec):
    schedule = Schedule.parse(spec)
    seen = [schedule(i / 50) for i in range(51)]
    assert min(schedule.values) <= min(seen) <= max(seen) <= max(schedule.values)
    assert spec["kind"] in (("constant",) if len(set(seen)) == 1 else set(NAMES) - {"constant"})
    assert Schedule.parse(schedule.spec()) == schedule == pickle.loads(pickle.dumps(schedule))
    assert Schedule.parse(schedule) is schedule


@pytest.mark.parametrize("spec", FULL, ids=lambda spec: spec["kind"])
def test_progress_outside_of_the_training_is_its_nearer_end(spec):
    assert at(spec, -3, 7) == at(spec, 0, 1)


def test_kinds_that_start_full_and_kinds_that_start_empty():
    for spec in FULL[1:]:
        first, last = at(spec, 0.0, 1.0)
        assert (first < last) == (spec["kind"] == "ramp_up")


@pytest.mark.parametrize(
    ("spec", "where", "word"),
    [
        ({"kind": "liner"}, "kind", "linear"),
        ({"start": 1}, "kind", "has no kind"),
        ({"kind": ["linear"]}, "kind", "no such kind"),
        ({"kind": "linear", "strat": 1}, "strat", "nearest: start"),
        ({"kind": "linear", "end": "0"}, "end", "takes a number"),
        ({"kind": "linear", "end": True}, "end", "takes a number"),
        ({"kind": "linear", "end": float("nan")}, "end", "finite"),
        ({"kind": "step", "at": []}, "at", "takes numbers"),
        ({"kind": "stop_at"}, "at", "missing"),
        ({"kind": "constant"}, "value", "missing"),
        ({"kind": "stop_at", "at": 1.5}, "", "from 0 to 1"),
        ({"kind": "linear", "begin": 0.5, "until": 0.5}, "", "must grow"),
        ({"kind": "step", "values": [3, 2, 1], "at": [0.6, 0.3]}, "", "must grow"),
        ({"kind": "step", "values": [1]}, "", "one value more"),
        ({"kind": "linear", "start": -1}, "", "0 or more"),
        ("liner", "kind", "linear"),
        (None, "", "neither a number nor a mapping"),
        (True, "", "neither a number nor a mapping"),
        (float("inf"), "value", "finite"),
    ],
)
def test_wrong_specs(spec, where, word):
    (problem,) = problems(spec)
    assert problem.where == where
    assert word in str(problem)


def test_all_problems_at_once():
    assert {p.where for p in problems({"kind": "linear", "strat": 1, "end": "0"})} == {"strat", "end"}
    assert len(problems({"kind": "linear", "start": -1, "begin": 0.8, "until": 0.2})) == 2


def test_a_temperature_must_stay_above_zero():
    assert "above 0" in str(problems({"kind": "linear", "start": 4}, positive=True)[0])
    assert "above 0" in str(problems(0, positive=True)[0])
    assert Schedule.parse({"kind": "linear", "start": 4, "end": 1}, positive=True)(1.0) == 1.0
    assert Schedule.parse(0)(0.3) == 0.0


@pytest.mark.parametrize(
    ("base", "slope", "steps"), [(0.3, 0.0006, 100), (0.3, 0.02, 100), (0.5, 0.0, 10), (1.0, 0.1, 9)]
)
def test_a_rate_that_grows_per_step_up_to_one(base, slope, steps):
    schedule = linear_per_step(base, slope, steps)
    due = [min(base + slope * t, 1.0) for t in range(steps + 1)]
    assert [schedule(t / steps) for t in range(steps + 1)] == pytest.approx(due)


@pytest.mark.parametrize(("step", "due"), [(3, [0.5, 0.5, 0.5, 1, 1]), (None, [0.5] * 5), (5, [0.5] * 5), (0, [1] * 5)])
def test_a_rate_that_jumps_to_one_at_a_step(step, due):
    schedule = jump_at_step(0.5, step, 4)
    assert [schedule(t / 4) for t in range(5)] == due
