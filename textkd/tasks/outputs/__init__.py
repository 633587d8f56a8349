"""What models answer, one class each: a class, a score, a set of labels, a tag for each word."""

from __future__ import annotations

from textkd.tasks.outputs.classes import Classes
from textkd.tasks.outputs.label_sets import LabelSets
from textkd.tasks.outputs.scores import Scores
from textkd.tasks.outputs.tokens import Tokens

__all__ = ["Classes", "LabelSets", "Scores", "Tokens"]
