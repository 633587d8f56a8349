"""A source of models whose layers are replaced: `factorise` and `cheap` of a student."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from textkd.experiment.plan import Source
from textkd.models.own.rebuilding import BEST, CUT
from textkd.models.own.rebuilt import change
from textkd.models.randomness import random_from


def other_layers(source: Source, words: Mapping[str, Any]) -> Source:
    """The same models, with other layers.

    Args:
        source: of the models with their own; each call of it gives a new one.
        words: `factorise` and `cheap`.
    """

    def changed(model: Any, seed: int, start: str = BEST) -> Any:
        with random_from(seed):  # a control begins as its student does, whatever was drawn before
            change(model, words, start)
        return model.eval()

    def make(models: Mapping[str, Any], seed: int) -> Any:
        return changed(source.make(models, seed), seed)

    def glance(models: Mapping[str, Any], readable: bool) -> Any:
        """Decompositions of a large model take minutes."""
        made = source.make(models, 0) if source.glance is None else source.glance(models, readable)
        return changed(made, 0, CUT)

    return replace(source, make=make, glance=glance, told={"made": source.told, **words})
