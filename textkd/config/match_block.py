"""From the lines of `matches:` and `stages:` to matches and stages."""

from __future__ import annotations

from textkd.config.schema import MatchBlock, StageBlock
from textkd.objective.match import Match
from textkd.training.stages import Stage


def match_of(block: MatchBlock) -> Match:
    """A line of `matches:`."""
    return Match(**{name: getattr(block, name) for name in type(block).model_fields})


def stage_of(block: StageBlock) -> Stage:
    """A block of `stages:`."""
    return Stage([match_of(match) for match in block.matches], block.training, block.frozen, block.name)
