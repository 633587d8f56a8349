"""What is told about students, or sides of them, that start from random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from textkd.models.own.rebuilding import is_random
from textkd.models.own.rebuilt_words import word_problems, words_of

RANDOM_INIT_WARNING = (
    "the student starts from random weights: it knows no language yet and needs far more data and steps than a student "
    "that was pretrained (a TextBrewer user ended at 0.14 accuracy). Prefer student: {shrink: ...} or {path: ...}; "
    "otherwise pretrain it on plain text first"
)

RANDOM_LAYERS = (
    "start from random weights, as in Moonshine: they learn more by matches of attention and hidden states and by more "
    "steps than a student of the teacher's own weights needs; layers of low_rank start from these"
)


def random_init_warning(spec: Mapping[str, Any]) -> str | None:
    """The warning that belongs to a recipe's block `student`.

    Args:
        spec: the block, as of `textkd.models.students.build`.

    Returns:
        `RANDOM_INIT_WARNING`, or of an encoder-decoder which sides, of `cheap` which layers start random; None where
        nothing does.

    Example:
        >>> random_init_warning({"config": {"hidden_size": 128}}) == RANDOM_INIT_WARNING
        True
        >>> random_init_warning({"shrink": {"layers": [2, 4, 6]}}) is None
        True
    """
    config = spec.get("config")
    if not isinstance(config, Mapping):
        words = words_of(spec)
        layers = [] if not words or word_problems(words) else is_random(words)
        return f"the student's {' and '.join(layers)} layers {RANDOM_LAYERS}" if layers else None
    sides = [side for side in ("encoder", "decoder") if side in config]
    return sides_warning(sides) if sides else RANDOM_INIT_WARNING


def sides_warning(sides: Sequence[str], links: Sequence[str] = ()) -> str:
    """Which sides of an encoder-decoder start random, and which weights between the two sides."""
    named = " and ".join(f"the student's {side}" for side in sides)
    verb = "starts" if len(sides) == 1 else "start"
    rest = f" ({'; '.join(links)} too)" if links else ""
    prefer = ", ".join(f"{side}_layers" for side in sides)
    return (
        f"{named} {verb} from random weights{rest}: it has seen no image and no text yet and needs far more data and "
        f"steps than blocks copied from the teacher. Where the teacher's width will do, prefer student: {{shrink: "
        f"{{{prefer}: ...}}}}"
    )
