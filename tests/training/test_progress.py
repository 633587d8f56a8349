"""What a training tells where there is no terminal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from textkd.training import callbacks
from textkd.training.callbacks import Bar


def test_lines_between_evaluations_tell_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: clock.now))
    args: Any = None
    state = SimpleNamespace(is_world_process_zero=True, global_step=40, max_steps=400)  # resumed at step 40
    bar = Bar("student", "cer")
    with bar:
        bar.on_train_begin(args, state, None)
        for _ in range(7):  # 20 s a step
            clock.now, state.global_step = clock.now + 20, state.global_step + 1
            bar.on_step_end(args, state, None)
        bar.on_log(args, state, None, {"loss": 0.5})
        bar.on_log(args, state, None, {"eval_cer": 0.25})
        for _ in range(3):
            clock.now, state.global_step = clock.now + 20, state.global_step + 1
            bar.on_step_end(args, state, None)
    assert capsys.readouterr().err.splitlines() == [
        "student: step 43 of 400, about 2.0 h left",
        "student: step 46 of 400, about 2.0 h left",
        "student: step 47 of 400, loss 0.5000, cer 0.2500",
        "student: step 50 of 400, loss 0.5000, cer 0.2500, about 1.9 h left",
    ]


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0 s"), (59, "59 s"), (61, "1 min"), (5340, "89 min"), (5400, "1.5 h")]
)
def test_durations_are_told_in_words(seconds: float, told: str) -> None:
    assert callbacks._duration(seconds) == told
