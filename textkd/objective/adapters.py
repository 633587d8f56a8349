"""What stands between a student's tap and a teacher's of another width or another grid of patches, and the weights that
a loss owns itself. Both live on the student."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from textkd.errors import Collector, fail
from textkd.losses import check_shapes
from textkd.models.taps import Address, Tap
from textkd.models.taps.address import CROSS_KINDS, SELF_KINDS
from textkd.objective import projections
from textkd.objective.pair import Pair
from textkd.objective.projections import Grid, grid_of, teacher_pool

log = logging.getLogger("textkd")
Adapters = dict[str, tuple[Tap, nn.Module]]  # the whole name of a projection -> what it reads, and the module


def adapt(
    models: Mapping[str, nn.Module], pairs: list[Pair], taps: Mapping[str, Tensor], rows: int = 0
) -> tuple[list[Pair], Adapters]:
    """The projections that the pairs need and the weights of their losses, attached to the models that learn.

    Args:
        models: all models of the training, by name.
        taps: of a real batch, by their whole names.
        rows: of the training data, for losses that remember each row.

    Returns:
        The pairs, and the projections: name -> (the tap that it reads, the module).

    Raises:
        TextkdError: every pair that does not fit.
    """
    found, out, adapters = Collector(), list[Pair](), Adapters()
    for pair in pairs:
        learner = models[pair.source.model]
        sources, targets = pair.read
        if not pair.targets:
            with found.collecting(pair.place):
                out.append(_with_state(learner, replace(pair, projection=None), [taps[sources[0]].shape], [], rows))
            continue
        with found.collecting(pair.place):
            own, its, made = list[tuple[int, ...]](), list[tuple[int, ...]](), pair
            for i, key in enumerate(sources):
                other = pair.target_of(i)
                s, t = taps[key], taps[targets[min(i, len(targets) - 1)]]
                made, shapes = _adapt_tap(learner, models[other.model], made, i, s, t, adapters)
                own.append(shapes[0])
                its.append(shapes[1])
            its += [tuple(taps[key].shape) for key in targets[len(sources) :]]
            compared = zip(own * len(its) if pair.combine else own, its, strict=False)
            problems = [p for s, t in compared for p in check_shapes(pair.loss, s, t, pair.options)]
            found.add(*dict.fromkeys(problems))
            if not problems:
                made = _with_state(learner, made, own, its[: len(pair.targets)], rows)
            out.append(replace(made, projection=None if made.projection in ("auto", "none") else made.projection))
    found.raise_once()
    return out, adapters


def _adapt_tap(
    learner: nn.Module, other: nn.Module, pair: Pair, number: int, s: Tensor, t: Tensor, adapters: Adapters
) -> tuple[Pair, tuple[tuple[int, ...], tuple[int, ...]]]:
    """One source beside its target: the pair with what it needs, and both shapes as compared."""
    source, target = pair.sources[number], pair.target_of(number)
    _refuse_other_places(source.address, target.address, learner, other)
    grids = _grids(source.address, target.address, learner, other)
    kind = _kind(pair, s, t, grids)
    if kind is None:
        return pair, (tuple(s.shape), tuple(t.shape))
    pool, name = None if kind != "grid" or grids is None else teacher_pool(*grids), pair.projected(number)
    adapter = projections.build(kind, s.shape[-1], t.shape[-1], grids=grids)
    if name not in projections.names(learner):
        log.info("%s: %s", name, _say(kind, s, t, grids))
    adapters[f"{source.model}/{name}"] = (source, projections.attach(learner, name, adapter))
    shapes = _shape(s, t, pool), tuple(t.shape) if pool is None else tuple(pool(t).shape)
    return replace(pair, projection=kind, target_pool=pool), shapes


def _with_state(
    learner: nn.Module, pair: Pair, own: Sequence[Sequence[int]], its: Sequence[Sequence[int]], rows: int
) -> Pair:
    """A loss that owns weights is built for these shapes and lives on the model that learns, beside projections."""
    if not pair.loss.state:
        return pair
    options = dict(pair.options)
    if pair.temperature is not None:
        options["temperature"] = pair.temperature(0.0)
    source, target = (own, its) if pair.loss.arity else (own[0], (its or own)[0])
    grid = grid_of(learner.config) if _sees_patches(pair.source.address, learner) else None
    built = pair.loss.build(source, target, options, rows, vocabulary=_vocabulary(learner), grid=grid)
    module = projections.attach(learner, f"{pair.name} (loss)", built)
    return replace(pair, loss=replace(pair.loss, fn=module, state=False), options={}, temperature=None, inside=True)


def _vocabulary(model: nn.Module) -> int | None:
    """How many tokens the model writes, or else reads; None where it has none."""
    config = getattr(model, "config", None)
    size = getattr(getattr(config, "decoder", config), "vocab_size", None)
    return None if size is None else int(size)


def _shape(s: Tensor, t: Tensor, pool: nn.Module | None) -> tuple[int, ...]:
    """What a projected student tap will be."""
    if pool is None:
        return (*s.shape[:-1], t.shape[-1])
    return (s.shape[0], *pool(t).shape[1:])


def _kind(pair: Pair, s: Tensor, t: Tensor, grids: tuple[Grid, Grid] | None) -> str | None:
    if pair.projection == "grid" and grids is None:
        raise fail(
            "projection grid",
            f"{pair.source.at(None).address} has no grid of patches",
            fix="match hidden states of an encoder",
        )
    if pair.projection != "auto":
        return None if pair.projection == "none" else pair.projection
    if pair.source.address.family != "hidden" or pair.loss.fits_any_width(pair.options):
        return None
    if grids is not None and grids[0] != grids[1]:
        return "grid"
    return "linear" if s.shape[-1] != t.shape[-1] else None


def _grids(source: Address, target: Address, student: nn.Module, teacher: nn.Module) -> tuple[Grid, Grid] | None:
    """The patch grids of both taps, where both are patch maps of image encoders."""
    if not (_is_patch_map(source, student) and _is_patch_map(target, teacher)):
        return None
    return grid_of(student.config), grid_of(teacher.config)


def _refuse_other_places(source: Address, target: Address, student: nn.Module, teacher: nn.Module) -> None:
    """Maps over patches of two grids have other places in the same row and column, even where they have as many."""
    if not (_maps_patches(source, student) and _maps_patches(target, teacher)):
        return
    grids = grid_of(student.config), grid_of(teacher.config)
    if grids[0] != grids[1]:
        fix = "give both encoders one patch_size, or match encoder.hidden, which is pooled to the coarser grid"
        raise fail(
            f"{source} beside {target}",
            f"{grids[0]}; the other side has {grids[1]}: other places of the image",
            fix=fix,
        )


def _maps_patches(address: Address, model: nn.Module) -> bool:
    """Whether an axis of the tap, of attention, runs over the patches of an image."""
    inside = address.side == "encoder" if hasattr(getattr(model, "config", None), "encoder") else address.side == ""
    crossing = address.kind in CROSS_KINDS and address.kind != "cross_query"
    return (crossing or (inside and address.kind in SELF_KINDS)) and _has_patches(model)


def _sees_patches(address: Address, model: nn.Module) -> bool:
    """Whether the tap holds patches, or looks at them."""
    return _is_patch_map(address, model) or (address.kind in CROSS_KINDS and _has_patches(model))


def _is_patch_map(address: Address, model: nn.Module) -> bool:
    has_side = hasattr(getattr(model, "config", None), "encoder")
    inside = address.side == "encoder" if has_side else address.side == ""
    return inside and address.kind in ("hidden", "embeddings", "ffn") and _has_patches(model)


def _has_patches(model: nn.Module) -> bool:
    config = getattr(model, "config", None)
    return getattr(getattr(config, "encoder", config), "model_type", "") in projections.SPECIAL_TOKENS


def _say(kind: str, s: Tensor, t: Tensor, grids: tuple[Grid, Grid] | None) -> str:
    if kind == "grid" and grids is not None:
        return f"{grids[0]}, the teacher {grids[1]}: both are pooled to the coarser grid, special tokens left out"
    widths = f"{s.shape[-1]} wide, the teacher {t.shape[-1]}"
    return f"{widths}: a {kind} projection is trained on the student's side"
