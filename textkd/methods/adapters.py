"""What stands between a student's tap and a teacher's of another width or another grid of patches."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from textkd import projections
from textkd.errors import Collector, fail
from textkd.losses import check_shapes
from textkd.matches import Pair
from textkd.projections import Grid, grid_of, teacher_pool
from textkd.taps import Address

log = logging.getLogger("textkd")
Adapters = dict[str, tuple[str, nn.Module]]


def adapt(
    student: nn.Module, teacher: nn.Module | None, pairs: list[Pair], mine: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
) -> tuple[list[Pair], Adapters]:  # fmt: skip
    """(pairs, adapters): the projections that the pairs need, attached to the student, by pair name with the tap that
    each reads. mine, theirs: the taps of a real batch. Raises one `TextkdError` with every pair that does not fit."""
    found, out, adapters = Collector(), list[Pair](), Adapters()
    for pair in pairs:
        if pair.teacher is None or teacher is None:
            out.append(replace(pair, projection=None))
            continue
        s, t = mine[str(pair.student)], theirs[str(pair.teacher)]
        with found.collecting(pair.name):
            grids = _grids(pair, student, teacher)
            kind = _kind(pair, s, t, grids)
            pool = None if kind != "grid" or grids is None else teacher_pool(*grids)
            if kind is not None:
                adapter = projections.build(kind, s.shape[-1], t.shape[-1], grids=grids)
                if pair.name not in projections.names(student):
                    log.info("%s: %s", pair.name, _say(kind, s, t, grids))
                adapters[pair.name] = (str(pair.student), projections.attach(student, pair.name, adapter))
            shapes = _shape(s, t, pool), tuple(t.shape) if pool is None else tuple(pool(t).shape)
            found.add(*check_shapes(pair.loss, shapes[0] if kind is not None else tuple(s.shape), shapes[1]))
            out.append(replace(pair, projection=kind, teacher_pool=pool))
    found.raise_any()
    return out, adapters


def _shape(s: Tensor, t: Tensor, pool: nn.Module | None) -> tuple[int, ...]:
    """What a projected student tap will be."""
    if pool is None:
        return (*s.shape[:-1], t.shape[-1])
    return (s.shape[0], *pool(t).shape[1:])


def _kind(pair: Pair, s: Tensor, t: Tensor, grids: tuple[Grid, Grid] | None) -> str | None:
    if pair.projection == "grid" and grids is None:
        raise fail("projection grid", f"{pair.student} has no grid of patches", fix="match hidden states of an encoder")
    if pair.projection != "auto":
        return None if pair.projection == "none" else pair.projection
    if pair.student.family != "hidden":
        return None
    if grids is not None and grids[0] != grids[1]:
        return "grid"
    return "linear" if s.shape[-1] != t.shape[-1] else None


def _grids(pair: Pair, student: nn.Module, teacher: nn.Module) -> tuple[Grid, Grid] | None:
    """The patch grids of both taps, where both are patch maps of image encoders."""
    assert pair.teacher is not None
    if not (_is_patch_map(pair.student, student) and _is_patch_map(pair.teacher, teacher)):
        return None
    return grid_of(student.config), grid_of(teacher.config)


def _is_patch_map(address: Address, model: nn.Module) -> bool:
    config = getattr(model, "config", None)
    kind = getattr(getattr(config, "encoder", config), "model_type", "")
    has_side = hasattr(config, "encoder")
    inside = address.side == "encoder" if has_side else address.side == ""
    return inside and address.kind in ("hidden", "embeddings", "ffn") and kind in projections.SPECIAL_TOKENS


def _say(kind: str, s: Tensor, t: Tensor, grids: tuple[Grid, Grid] | None) -> str:
    if kind == "grid" and grids is not None:
        return f"{grids[0]}, the teacher {grids[1]}: both are pooled to the coarser grid, special tokens left out"
    widths = f"{s.shape[-1]} wide, the teacher {t.shape[-1]}"
    return f"{widths}: a {kind} projection is trained on the student's side"
