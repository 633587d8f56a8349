"""The loss of `labels` is the task's output's; what the labels are is what that loss takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_lab import make_teacher

from textkd import Match, tasks
from textkd.errors import TextkdError
from textkd.models.taps import anatomy
from textkd.objective.bind import bind
from textkd.objective.match_checks import check_words
from textkd.tasks.outputs import Classes, LabelSets, Scores, Tokens

LOSSES = {"cross_entropy": "ids", "mse": "numbers", "bce": "flags"}


@pytest.mark.parametrize("loss", LOSSES)
def test_labels_take_the_loss_of_the_task(loss: str) -> None:
    models = {"student": anatomy(make_teacher(2))}
    for match in (Match("labels"), Match("labels", loss=loss)):
        assert [pair.name for pair in bind([match], models, {}, loss)] == [f"labels/{loss}"]
    for other in LOSSES.keys() - {loss}:
        with pytest.raises(TextkdError, match=f"and the labels of this task are {LOSSES[loss]}"):
            check_words([Match("labels", loss=other)], loss)
        check_words([Match("labels", loss=other)], None)  # a task that cannot be read


def test_the_loss_of_every_output(tmp_path: Path) -> None:
    found = [output.label_loss for output in (Classes, Scores, LabelSets, Tokens, tasks.ocr(eval="x").output)]
    assert found == ["cross_entropy", "mse", "bce", "cross_entropy", "cross_entropy"]
